"""Operations: is it alive, is it ready, how is it doing, and what can it be asked."""

from __future__ import annotations

from importlib.resources import files
from ipaddress import ip_address

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from api import openapi
from api.call import answer
from api.metrics import Metrics
from api.readiness import Probe
from api.routing import Routes, authenticate
from api.schemas.operations import Health, Readiness
from memos.rules.access import Scope
from memos.wiring import App

routes = Routes("Operations")

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@routes.add("GET", "/healthz", scope=None, summary="Is the process alive?", answer=Health)
async def healthz() -> Response:
    """Touches nothing, so it answers even when every worker thread is busy."""
    return JSONResponse({"status": "ok"})


@routes.add(
    "GET",
    "/readyz",
    scope=None,
    summary="Can requests be served?",
    answer=Readiness,
    responses={503: {"model": Readiness, "description": "Not now; `checks` says why."}},
)
def readyz(request: Request) -> Response:
    """Database, migrations, broker and model."""
    probe: Probe = request.app.state.probe
    found = probe.readiness()
    return answer(Readiness, found, status=200 if found.ready else 503)


@routes.add(
    "GET",
    "/metrics",
    scope=None,
    summary="Measurements, for Prometheus",
    answer=None,
    fails=(401, 403),
    response=PlainTextResponse,
)
async def metrics(request: Request) -> Response:
    """From another machine it needs an admin key of the operating tenant, unless `MEMOS_METRICS_PUBLIC` is set."""
    app: App = request.app.state.memos
    if not app.settings.metrics_public and ("authorization" in request.headers or not _asked_here(request)):
        who = await authenticate(app, request, Scope.ADMIN)
        who.require_operator()
    measured: Metrics = request.app.state.metrics
    return Response(await run_in_threadpool(measured.exposition), media_type=EXPOSITION)


_PASSED_ON = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"})


def _asked_here(request: Request) -> bool:
    """Whether the asker runs on this machine, and is no proxy that asks for somebody else."""
    peer = request.client.host if request.client else ""
    try:
        here = ip_address(peer).is_loopback
    except ValueError:
        return False
    return here and not _PASSED_ON & set(request.headers.keys())


@routes.add("GET", "/openapi.json", scope=None, summary="This interface, for machines", answer=None, listed=False)
async def openapi_json(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(openapi.document(request.app))


@routes.add("GET", "/docs", scope=None, summary="This interface, for people", answer=None, listed=False)
async def docs() -> Response:
    """A page that reads the OpenAPI document and sends requests; it loads nothing from elsewhere."""
    return HTMLResponse(files("api.pages").joinpath("docs.html").read_text("utf-8"))
