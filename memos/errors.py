"""The error tree: an error knows its kind, and one translator per door turns it into an answer.

    MemosError                      500 internal_error
    ├── Invalid                     422 invalid              the request makes no sense
    │   ├── TooLarge                413 too_large
    │   └── KVRejected              422 kv_rejected          a KV blob is not what it claims to be
    ├── Unauthenticated             401 unauthenticated      no key, or not one of ours
    ├── Forbidden                   403 forbidden            the key lacks a scope
    ├── NotFound                    404 not_found            absent and foreign look the same
    ├── Conflict                    409 conflict             true of the request, not of the present state
    │   ├── IdempotencyConflict     409 idempotency_conflict
    │   ├── ErasedContent           409 erased_content       it was erased here, and the policy refuses its return
    │   ├── Frozen                  409 frozen
    │   ├── Held                    409 held                 under legal hold
    │   └── MergeConflict           409 merge_conflict
    ├── Stale                       412 stale                If-Match names a state that has passed
    ├── TooBusy                     429 too_busy             comes with a time to wait
    │   └── QuotaExceeded           429 quota_exceeded       no room left in what the tenant or key may store
    ├── Unavailable                 503 unavailable          a server we depend on does not answer
    │   └── StorageFull             507 storage_full         no room for blobs; rows are unaffected
    └── Misconfigured               500 misconfigured        the operator has to act; says how

`status` is the HTTP status the kind maps to. It lives here, as in Polar and Warehouse, because a kind of failure has
exactly one meaning at every door; `code` is stable and is what clients should switch on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class MemosError(Exception):
    """The root. `detail` is a sentence for a person; `extra` goes into the problem document as it is."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str = "", *, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.extra: dict[str, Any] = dict(extra or {})


class Invalid(MemosError):
    """The request cannot mean anything. `where` is the path of the offending value, as in FastAPI's `loc`."""

    status = 422
    code = "invalid"
    title = "Invalid request"

    def __init__(self, detail: str, *, where: Sequence[str | int] = ()) -> None:
        super().__init__(detail, extra={"errors": [{"where": list(where), "detail": detail}]})


class TooLarge(Invalid):
    status = 413
    code = "too_large"
    title = "Too large"


class KVRejected(Invalid):
    """A stored or uploaded KV blob is damaged, forged, of another shape, or larger than it may be.

    On the way in it is the sender's fault; on the way out the reader falls back to prefill and the blob is dropped.
    """

    code = "kv_rejected"
    title = "The KV blob was rejected"


class Unauthenticated(MemosError):
    status = 401
    code = "unauthenticated"
    title = "Send a valid key as 'Authorization: Bearer <key>'"


class Forbidden(MemosError):
    status = 403
    code = "forbidden"
    title = "This key may not do that"


class NotFound(MemosError):
    status = 404
    code = "not_found"
    title = "Not found"


class Conflict(MemosError):
    status = 409
    code = "conflict"
    title = "Conflict with the present state"


class IdempotencyConflict(Conflict):
    code = "idempotency_conflict"
    title = "This Idempotency-Key was used for another request"


class ErasedContent(Conflict):
    code = "erased_content"
    title = "This content was erased and may not come back"


class Frozen(Conflict):
    code = "frozen"
    title = "The memory is frozen"


class Held(Conflict):
    code = "held"
    title = "Under legal hold"


class MergeConflict(Conflict):
    code = "merge_conflict"
    title = "Both sides changed the same memories"


class Stale(MemosError):
    status = 412
    code = "stale"
    title = "The state named in If-Match has passed"


class TooBusy(MemosError):
    """Back-pressure. `retry_after_s` becomes the Retry-After header."""

    status = 429
    code = "too_busy"
    title = "Too many requests"

    def __init__(self, detail: str = "", *, retry_after_s: int = 5) -> None:
        super().__init__(detail, extra={"retry_after_s": retry_after_s})
        self.retry_after_s = retry_after_s


class QuotaExceeded(TooBusy):
    """Waiting alone does not help: something has to be erased, or the quota raised."""

    code = "quota_exceeded"
    title = "The quota is used up"


class Unavailable(MemosError):
    status = 503
    code = "unavailable"
    title = "A service this one depends on does not answer"


class StorageFull(Unavailable):
    """The disk or quota that holds KV blobs is exhausted. Memories live elsewhere and are not affected."""

    status = 507
    code = "storage_full"
    title = "No room left for KV blobs"


class Misconfigured(MemosError):
    code = "misconfigured"
    title = "The service is misconfigured"
