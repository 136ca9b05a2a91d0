"""The one error translator: whatever goes wrong becomes an RFC 9457 problem document.

No document repeats what the caller sent: the offending text may be exactly what cannot be written as JSON, and problem
documents end up in logs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import psycopg
import sqlalchemy.exc
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from memos.errors import Invalid, MemosError, NotFound, TooBusy, Unavailable

PROBLEM = "application/problem+json"
# Enough to mend a request by; a thousand bad items would not be read.
MOST_ERRORS = 20
MOST_CHARACTERS = 200
# The database restarts, or a pool drains, within seconds.
RETRY_AFTER_S = 2

log = structlog.get_logger("memos.api")


class MethodNotAllowed(MemosError):
    status = 405
    code = "method_not_allowed"
    title = "This path does not take that method"


def install(api: FastAPI) -> None:
    """Register the handlers of every expected failure. The unexpected ones meet `unexpected` in the middleware."""
    api.add_exception_handler(MemosError, _handle)
    api.add_exception_handler(RequestValidationError, _handle)
    api.add_exception_handler(HTTPException, _handle)
    api.add_exception_handler(sqlalchemy.exc.SQLAlchemyError, _handle)
    api.add_exception_handler(psycopg.Error, _handle)


def translate(error: Exception) -> MemosError | None:
    """The kind of failure behind an exception of the libraries we use; None for one nobody expected."""
    match error:
        case MemosError():
            return error
        case RequestValidationError():
            return invalid(error.errors())
        case sqlalchemy.exc.TimeoutError():
            return Unavailable("every database connection is in use; try again shortly")
        case sqlalchemy.exc.OperationalError() | sqlalchemy.exc.InterfaceError():
            return Unavailable("the database does not answer in time; try again shortly")
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return Unavailable("the database does not answer in time; try again shortly")
        case _:
            return None


def problem(error: MemosError, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """The response to a failure."""
    headers = dict(headers or {})
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="memos"'
    if isinstance(error, TooBusy):
        headers["Retry-After"] = str(error.retry_after_s)
    elif isinstance(error, Unavailable):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return Response(document(error, request_id), error.status, headers, media_type=PROBLEM)


def document(error: MemosError, request_id: str) -> bytes:
    """The problem document as JSON."""
    # What we do not want to explain to the outside is in the log, under the request's id.
    detail = error.detail if error.status < 500 or isinstance(error, Unavailable) else error.title
    body: dict[str, Any] = {
        **error.extra,
        "type": f"urn:memos:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": detail.encode("utf-8", "replace").decode(),
        "code": error.code,
        "instance": request_id,
    }
    return to_json(body, inf_nan_mode="null")


def unexpected(error: Exception, request_id: str) -> Response:
    """The answer to what nobody foresaw; its traceback goes to the log."""
    log.error("unexpected error", request_id=request_id, exc_info=error)
    return problem(MemosError("something went wrong on our side; the log has it under this request's id"), request_id)


def invalid(errors: Sequence[Mapping[str, Any]]) -> Invalid:
    """Pydantic's list as ours: the place and the sentence, without the value."""
    faults = [
        {"where": [_shortened(part) for part in e["loc"]], "detail": _shortened(_sentence(e))}
        for e in errors[:MOST_ERRORS]
    ]
    first = faults[0]
    place = ".".join(str(part) for part in first["where"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    error = Invalid(": ".join(filter(None, [place, first["detail"]])) + more)
    error.extra["errors"] = faults
    return error


async def _handle(request: Request, error: Exception) -> Response:
    request_id = request.scope.get("request_id", "")
    if isinstance(error, HTTPException):
        return _http(request, error, request_id)
    kind = translate(error)
    if kind is None:
        return unexpected(error, request_id)
    if kind.status >= 500:
        log.error("failed", code=kind.code, detail=kind.detail, request_id=request_id, exc_info=error)
    return problem(kind, request_id)


def _http(request: Request, error: HTTPException, request_id: str) -> Response:
    """Starlette's own refusals: no such path, or not with that method."""
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The router names the methods of the first route only; a path here often has several.
        methods = {m for r in request.app.router.routes for m in _methods(r, request.scope)}
        allow = ", ".join(sorted(methods))
        return problem(MethodNotAllowed(f"this path takes {allow}"), request_id, {"Allow": allow})
    if error.status_code == HTTPStatus.NOT_FOUND:
        return problem(NotFound("no such path"), request_id)
    return problem(Invalid("the request cannot be read"), request_id)


def _methods(route: BaseRoute, scope: Any) -> set[str]:
    if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
        return route.methods or set()
    return set()


def _sentence(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"not valid JSON: {error.get('ctx', {}).get('error', 'it cannot be parsed')}"
    return str(error["msg"]).removeprefix("Value error, ")


def _shortened(part: Any) -> Any:
    """Places are keys the caller chose, so they too may be long or unprintable."""
    if isinstance(part, str):
        return part[:MOST_CHARACTERS].encode("utf-8", "replace").decode()
    return part
