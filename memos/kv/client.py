"""The calls an engine makes, one method each."""

from __future__ import annotations

import hashlib
import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

from memos.encoders.kv_codecs import StoredChunk
from memos.errors import KVRejected, Unavailable
from memos.kv.bundle import bundle_bytes_max, bundled, checked_refs
from memos.kv.transfer import Transfer
from memos.kv.wire import ActivationPlan, ChunkRef, Lookup, Outcome
from memos.rules.kv_address import tokens_digest
from memos.rules.kv_layout import KVSpec

_ANSWER_MAX: Final = 32 * 2**20
"""A plan of 32,768 tokens and as many items is 10 MB of JSON."""
_SLOT_FILE_MAX: Final = 4 * 2**30
_BUILD_WITHIN_S: Final = 600.0


class KVClient:
    """A service's activation tier. Threads may share one. `tls` replaces the system's certificates.

    Every method raises an error of `memos.errors` that names what the service said, and `Unavailable` when it said
    nothing or nonsense.
    """

    def __init__(self, base_url: str, key: str, *, timeout_s: float = 30.0, tls: ssl.SSLContext | None = None) -> None:
        self._transfer = Transfer(base_url, key, timeout_s=timeout_s, tls=tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._transfer.close()

    def plan(self, cube: str, model: str, *, branch: str = "main", budget_tokens: int | None = None) -> ActivationPlan:
        """The cube's memory as a prefix for a model, by the model's name at the service or its model key."""
        query = {"model": model, "branch": branch}
        if budget_tokens is not None:
            query["budget_tokens"] = str(budget_tokens)
        return ActivationPlan.of_json(
            self.ask("GET", f"/v1/cubes/{quote(cube, safe='')}/activation-plan?{urlencode(query)}")
        )

    def lookup(
        self,
        cube: str,
        model: str,
        *,
        plan_id: str | None = None,
        token_ids: Sequence[int] | None = None,
        codecs: Sequence[str] | None = None,
        branch: str = "main",
    ) -> Lookup:
        """The longest stored prefix of a plan, or of any tokens. `codecs` in order of preference."""
        body: dict[str, Any] = {"cube": cube, "model": model, "branch": branch}
        if plan_id is not None:
            body["plan_id"] = plan_id
        if token_ids is not None:
            body["token_ids"] = list(token_ids)
        if codecs is not None:
            body["codecs"] = list(codecs)
        return Lookup.of_json(self.ask("POST", "/v1/kv/lookup", body))

    def fetch(self, refs: Sequence[ChunkRef], spec: KVSpec) -> Iterator[StoredChunk]:
        """Chunks in the order asked for, in one stream, each as soon as it has arrived.

        Sizes are checked against the model before the first byte is asked for. Digests are not: decoding does that.

        Raises:
            KVRejected: a chunk claims more bytes than it can need, or the stream is not what was asked for.
        """
        checked_refs(refs, spec)
        body = {"chunks": [ref.request() for ref in refs]}
        with self._transfer.open("POST", "/v1/kv/bundles", at_most=bundle_bytes_max(refs), body=body) as read:
            yield from bundled(read, refs)

    def fetch_one(self, ref: ChunkRef, spec: KVSpec) -> StoredChunk:
        """One chunk by its own address, which caches in between may hold. Raises as `fetch` does."""
        checked_refs([ref], spec)
        return self._transfer.chunk(ref)

    def report(self, outcome: Outcome) -> float:
        """Tell what came of a request. Needs the scope `kv`. Returns the milliseconds the service counts as saved."""
        saved = self.ask("POST", "/v1/kv/outcomes", outcome.as_json()).get("saved_ms")
        return float(saved) if isinstance(saved, int | float) else 0.0

    def promote(
        self,
        cube: str,
        model: str,
        *,
        codecs: Sequence[str] | None = None,
        pin: bool = False,
        branch: str = "main",
        budget_tokens: int | None = None,
    ) -> dict[str, Any]:
        """Have the cube's present plan built and stored. Returns the job; see `finished`."""
        body: dict[str, Any] = {"cube": cube, "model": model, "pin": pin, "branch": branch}
        if codecs is not None:
            body["codecs"] = list(codecs)
        if budget_tokens is not None:
            body["budget_tokens"] = budget_tokens
        return self.ask("POST", "/v1/kv/promotions", body)

    def finished(self, job: Mapping[str, Any], *, within_s: float = _BUILD_WITHIN_S) -> dict[str, Any]:
        """Wait for a job; its result. Raises Unavailable when it fails or takes longer."""
        job_id, deadline = str(job.get("id")), time.monotonic() + within_s
        while time.monotonic() < deadline:
            now = self.ask("GET", f"/v1/jobs/{quote(job_id, safe='')}")
            if now.get("state") == "succeeded":
                result = now.get("result")
                return result if isinstance(result, dict) else {}
            if now.get("state") in {"failed", "cancelled"}:
                raise Unavailable(f"job {job_id} {now['state']}: {now.get('error') or 'no reason given'}")
            time.sleep(0.1)
        raise Unavailable(f"job {job_id} was not done after {within_s:.0f} s")

    def hand_in(self, path: str, data: bytes) -> dict[str, Any]:
        """PUT bytes; what the service says of them."""
        return self._read("PUT", path, self._transfer.ask("PUT", path, at_most=_ANSWER_MAX, body=data))

    def slot_file(self, file: Mapping[str, Any], token_ids: Sequence[int]) -> bytes:
        """The bytes of a slot file, as `GET /v1/kv/slot-files` describes it.

        Raises:
            KVRejected: it holds other tokens than these, or what came is not the file.
        """
        size, digest = file.get("bytes"), file.get("sha256")
        if not isinstance(size, int) or not 0 < size <= _SLOT_FILE_MAX:
            raise KVRejected(f"a slot file is said to have {size} bytes")
        if file.get("tokens_sha256") != tokens_digest(token_ids):
            raise KVRejected("the slot file holds other tokens")
        path = f"/v1/kv/slot-files/{quote(str(file.get('id')), safe='')}"
        with self._transfer.open("GET", path, at_most=size) as read:
            data = read(size)
        if hashlib.sha256(data).hexdigest() != digest:
            raise KVRejected("the slot file does not have the digest it was kept with")
        return data

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Any JSON call, with its answer bounded in size."""
        return self._read(method, path, self._transfer.ask(method, path, at_most=_ANSWER_MAX, body=body))

    def _read(self, method: str, path: str, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Unavailable(f"{method} {path.partition('?')[0]} was not answered with JSON") from error
        if not isinstance(found, dict):
            raise Unavailable(f"{method} {path.partition('?')[0]} was not answered with a JSON object")
        return found
