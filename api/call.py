"""One call: who asks, in what words it is answered, and how a repeated write gets its first answer again.

A write keeps its answer under the caller's `Idempotency-Key` in the same transaction as the work, so either both exist
or neither does. A repeat is answered before its body is even validated; one that runs beside the first loses at the
insert, rolls back, and gives the winner's answer. Only successes are kept: a refused request did nothing, and may be
sent again under its key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from memos.encoders.embedder import Embedder
from memos.rules.access import Principal
from memos.services.remember import utc_now
from memos.store import idempotency
from memos.store.transaction import Transaction
from memos.wiring import App

JSON = "application/json"


class Replay(Exception):
    """No error, but the way out of a transaction whose work was done before; here is its answer."""

    def __init__(self, stored: idempotency.Stored) -> None:
        super().__init__()
        self.stored = stored

    def response(self) -> Response:
        body = b"" if self.stored.body is None else json.dumps(self.stored.body, ensure_ascii=False).encode()
        return _response(self.stored.status, body, {**self.stored.headers, "Idempotent-Replayed": "true"})


@dataclass(frozen=True, slots=True)
class Repeatable:
    """What makes two requests the same: the caller's key, and a digest of method, path, query and body."""

    key: str
    request: bytes

    @classmethod
    def of(cls, key: str, method: str, target: bytes, body: bytes) -> Repeatable:
        digest = hashlib.sha256()
        for part in (method.encode(), target, body):
            digest.update(len(part).to_bytes(8) + part)
        return cls(key, digest.digest())


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request. `now` is its one reading of the clock."""

    app: App
    who: Principal
    now: datetime
    if_match: str | None = None
    repeatable: Repeatable | None = None

    @classmethod
    def begin(cls, app: App, who: Principal, if_match: str | None, repeatable: Repeatable | None) -> Call:
        return cls(app, who, utc_now(), if_match, repeatable)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """One snapshot of the tenant's data."""
        with self.app.database.transaction(self.who.tenant_id, read_only=True) as tx:
            yield tx

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """All of it or nothing; committed before the answer leaves."""
        with self.app.database.transaction(self.who.tenant_id) as tx:
            yield tx

    def embedder(self, cube: str) -> Embedder:
        """Of the space the cube's vectors live in."""
        return self.app.spaces.of(self.who.tenant_id, cube)

    def earlier_answer(self) -> Response | None:
        """What this request was answered when it was sent before under the same key.

        Raises `IdempotencyConflict` when the key was used for another request.
        """
        if self.repeatable is None:
            return None
        with self.reading() as tx:
            stored = idempotency.recall(tx, self.who.key_id, self.repeatable.key, self.repeatable.request)
        return None if stored is None else Replay(stored).response()

    def keep(
        self,
        tx: Transaction,
        status: int,
        shape: type[BaseModel] | None = None,
        value: object = None,
        *,
        etag: int | None = None,
        location: str | None = None,
    ) -> Response:
        """The answer to a write, kept in its transaction when the caller may repeat it."""
        headers = _headers(etag, location)
        if shape is None:
            body, stored_body = b"", None
        else:
            answer = shape.model_validate(value, from_attributes=True)
            body = answer.__pydantic_serializer__.to_json(answer)
            stored_body = answer.model_dump(mode="json") if self.repeatable else None
        if self.repeatable is not None:
            faster = idempotency.store(
                tx, self.who.key_id, self.repeatable.key, self.repeatable.request, status, headers, stored_body
            )
            if faster is not None:
                raise Replay(faster)
        return _response(status, body, headers)


def answer(shape: type[BaseModel], value: object, *, status: int = 200, etag: int | None = None) -> Response:
    """A value in its wire shape: validated once, written as JSON once."""
    shaped = shape.model_validate(value, from_attributes=True)
    return _response(status, shaped.__pydantic_serializer__.to_json(shaped), _headers(etag, None))


def _headers(etag: int | None, location: str | None) -> dict[str, str]:
    headers = {}
    if etag is not None:
        headers["ETag"] = f'"{etag}"'
    if location is not None:
        headers["Location"] = location
    return headers


def _response(status: int, body: bytes, headers: Mapping[str, Any]) -> Response:
    return Response(body, status, dict(headers), media_type=JSON if body else None)
