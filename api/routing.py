"""How a route is declared, and what happens before its function runs.

In this order, so that a stranger costs nothing and learns nothing: the key (401), its scope (403), the query's names
(422), the body's size (413), a repeat of an earlier write (its answer), the body's form (422). Then the function.

Resource files declare routes on a `Routes`; `create_app` installs them. Routers are not nested: FastAPI resolves an
included router per request, which shows in a service that answers in milliseconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.types import Scope as AsgiScope

from api.call import Call, Repeatable, Replay
from api.schemas.limits import Limits, apply_limits
from memos.errors import Invalid, MemosError, TooLarge, Unauthenticated
from memos.rules.access import Principal, Scope
from memos.wiring import App

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_JSON_TYPE = re.compile(r"\s*application/([a-z0-9.-]+\+)?json\s*(;.*)?", re.IGNORECASE)
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

Endpoint = Callable[..., Response | Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Declared:
    """A route as data: where it is, what it runs, and what FastAPI should say of it."""

    method: str
    path: str
    function: Endpoint
    options: dict[str, Any]


class Routes:
    """The routes of one resource."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.declared: list[Declared] = []

    def add(
        self,
        method: str,
        path: str,
        *,
        scope: Scope | None,
        summary: str,
        answer: type[BaseModel] | None,
        status: int = 200,
        fails: tuple[int, ...] = (),
        repeatable: bool = True,
        listed: bool = True,
        response: type[Response] = JSONResponse,
        answer_description: str = "Done",
        responses: dict[int | str, dict[str, Any]] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare a route. `fails` are the refusals particular to it; the usual ones are added from what it takes.

        `scope` of None makes it public. `repeatable` is whether a write keeps its answer under an Idempotency-Key;
        `listed`, whether the OpenAPI document shows it.
        """

        def declare(function: Endpoint) -> Endpoint:
            writes = scope not in (None, Scope.READ) and method in WRITES
            options = {
                "response_model": answer,
                "response_class": response,
                "status_code": status,
                "summary": summary,
                "response_description": answer_description,
                "responses": responses,
                "operation_id": function.__name__,
                "tags": [self.tag],
                "include_in_schema": listed,
                "openapi_extra": {
                    **(extra or {}),
                    **({"x-scope": scope.value} if scope else {}),
                    "x-fails": sorted(fails),
                    "x-repeatable": writes and repeatable,
                },
            }
            self.declared.append(Declared(method, path, function, options))
            return function

        return declare

    def install(self, api: FastAPI) -> None:
        for route in self.declared:
            api.router.add_api_route(route.path, route.function, methods=[route.method], **route.options)


class GuardedRoute(APIRoute):
    """A route that lets nobody in before it knows who they are."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        run = super().get_route_handler()
        extra = self.openapi_extra or {}
        scope = Scope(extra["x-scope"]) if "x-scope" in extra else None
        repeatable = bool(extra.get("x-repeatable"))
        known = frozenset(field.alias for field in self.dependant.query_params)
        takes_json = self.body_field is not None

        async def handle(request: Request) -> Response:
            app: App = request.app.state.memos
            limits: Limits = request.app.state.limits
            apply_limits(limits)
            who = request.scope["who"] = None if scope is None else await authenticate(app, request, scope)
            _check_query(request, known)
            body = b""
            if request.method in WRITES:
                body = await _read(request, limits.body_bytes)
                if takes_json:
                    _check_type(request, body)
            if who is not None:
                call = Call.begin(
                    app,
                    who,
                    request.headers.get("if-match"),
                    _repeatable(request, body) if repeatable else None,
                )
                request.scope["call"] = call
                if call.repeatable and (earlier := await run_in_threadpool(call.earlier_answer)) is not None:
                    return earlier
            try:
                return await run(_BodyRequest(request.scope, body))
            except Replay as replay:
                return replay.response()
            except MemosError:
                # Two at once under one key: the slower may fail on what the faster did (a name taken, a state passed).
                if who is not None and call.repeatable:
                    earlier = await run_in_threadpool(call.earlier_answer)
                    if earlier is not None:
                        return earlier
                raise

        return handle


async def authenticate(app: App, request: Request, scope: Scope) -> Principal:
    """Who is calling. Raises `Unauthenticated` or `Forbidden`."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        raise Unauthenticated
    # Nearly always known already, and then not worth a thread.
    who = app.database.recognise(key.strip())
    if who is None:
        who = await run_in_threadpool(app.database.authenticate, key.strip())
    who.require(scope)
    return who


class _BodyRequest(Request):
    """A request whose body was read already, and is parsed more strictly than Python's parser would."""

    def __init__(self, scope: AsgiScope, body: bytes) -> None:
        super().__init__(scope)
        self._body = body

    async def body(self) -> bytes:
        return self._body

    async def json(self) -> Any:
        """Refuses lone surrogates, NaN, bytes that are not UTF-8, and nesting that would exhaust the stack."""
        try:
            return from_json(self._body, allow_inf_nan=False)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from None


async def _read(request: Request, most: int) -> bytes:
    """The body, never more than `most` bytes of it, whether or not a length was announced."""
    announced = request.headers.get("content-length", "")
    refusal = TooLarge(f"a request body may hold {most:,} bytes; send several requests", where=["body"])
    if announced.isdigit() and int(announced) > most:
        raise refusal
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise refusal
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _check_query(request: Request, known: frozenset[str]) -> None:
    query = request.scope["query_string"]
    if not query:
        return
    seen: set[str] = set()
    for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in known:
            raise Invalid(
                "an unknown query parameter; this route takes " + (", ".join(sorted(known)) or "none"),
                where=["query"],
            )
        if name in seen:
            raise Invalid("given twice", where=["query", name])
        seen.add(name)


def _check_type(request: Request, body: bytes) -> None:
    if body and not _JSON_TYPE.fullmatch(request.headers.get("content-type", "")):
        raise Invalid("send the body as JSON, with 'Content-Type: application/json'", where=["header", "content-type"])


def _repeatable(request: Request, body: bytes) -> Repeatable | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise Invalid(
            "an Idempotency-Key is 1 to 200 printable ASCII characters without spaces",
            where=["header", "idempotency-key"],
        )
    target = request.scope["path"].encode() + b"?" + request.scope["query_string"]
    return Repeatable.of(key, request.method, target, body)
