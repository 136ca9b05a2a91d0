"""What surrounds every request: an id, a log line, a measurement, and an answer to the unforeseen.

One plain ASGI layer, because each layer costs every search. The log line names no memory content: neither the body nor
the query string, which may hold session ids and tags.
"""

from __future__ import annotations

import re
import time

import structlog
import uuid_utils
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.problems import unexpected
from api.readiness import Probe
from memos.tracing import request_span

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger("memos.access")


class Envelope:
    """Outermost of our layers; the app inside sees `scope["request_id"]`."""

    def __init__(self, app: ASGIApp, metrics: Metrics, probe: Probe) -> None:
        self.app = app
        self.metrics = metrics
        self.probe = probe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 0
        echo = (b"x-request-id", request_id.encode())

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = [*message.get("headers", ()), echo]
                if self.probe.draining:
                    headers.append((b"connection", b"close"))  # the next request goes to who stays
            await send(message)

        self.metrics.in_flight.inc()
        try:
            with request_span("request", scope["headers"]) as span:
                try:
                    await self.app(scope, receive, send_with_id)
                finally:
                    if span is not None:
                        span.set_attributes(_traced(scope, request_id, status))
        except ClientDisconnect:
            log.debug("the caller hung up")
        except Exception as error:  # noqa: BLE001 - the last edge: the caller gets an answer, the log the traceback
            response = unexpected(error, request_id)
            if status == 0:
                await response(scope, receive, send_with_id)
        finally:
            self.metrics.in_flight.dec()
            self._account(scope, status or 499, time.perf_counter() - started)  # 499: the caller hung up

    def _account(self, scope: Scope, status: int, elapsed_s: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        if not scope.get("streams"):
            self.metrics.observe(method, route, status, elapsed_s)
        who = scope.get("who")
        log.info(
            "request",
            method=method,
            route=route,
            path=scope["path"] if route != "unmatched" else None,
            status=status,
            took_ms=round(elapsed_s * 1_000, 2),
            tenant=str(who.tenant_id) if who else None,
            key=str(who.key_id) if who else None,
        )


def _traced(scope: Scope, request_id: str, status: int) -> dict[str, str | int]:
    """What a trace says of a request: no path, which names cubes, and no query."""
    route = getattr(scope.get("route"), "path", "unmatched")
    method = scope["method"] if scope["method"] in _METHODS else "other"
    return {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
        "memos.request_id": request_id,
    }


def _request_id(scope: Scope) -> str:
    """The caller's own id when it is fit for a header and a log, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return str(uuid_utils.uuid7())
