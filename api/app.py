"""The FastAPI app, made from the parts that `memos.wiring` built. Importing this module builds nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import structlog
from fastapi import FastAPI

from api import problems
from api.admin import keys, overview, tenants, traces
from api.metrics import Metrics
from api.middleware import Envelope
from api.readiness import Probe
from api.routes import (
    branches,
    cubes,
    derived,
    graph,
    jobs,
    kv,
    lifecycle,
    memories,
    operations,
    reading,
    versions,
    writing,
)
from api.routing import GuardedRoute
from api.schemas.limits import Limits
from memos.wiring import App

# In the order in which paths are tried: the hottest come first.
RESOURCES = (
    reading, writing, memories, cubes, versions, branches, graph, derived, lifecycle, jobs, kv, overview, tenants, keys, traces,
    operations,
)  # fmt: skip
API_VERSION = "1"
SPARE_CONNECTIONS = 2
"""For the flusher of recall counts, and for an operator's key that is made in another tenant."""

log = structlog.get_logger("memos.api")


def create_app(app: App) -> FastAPI:
    """An ASGI app over `app`, which stays the caller's to close."""
    api = FastAPI(
        title="memos",
        version=API_VERSION,
        lifespan=_lifespan,
        openapi_url=None,  # `routes.operations` serves it, and a page that needs no internet
        redirect_slashes=False,
        strict_content_type=False,  # `GuardedRoute` says what is wrong with a content type
    )
    api.state.memos = app
    api.state.limits = Limits.of(app.settings)
    api.state.probe = Probe(app)
    api.state.metrics = metrics = Metrics(app.database.engine.pool)
    api.router.route_class = GuardedRoute
    for resource in RESOURCES:
        resource.routes.install(api)
    problems.install(api)
    api.add_middleware(Envelope, metrics=metrics)
    return api


@asynccontextmanager
async def _lifespan(api: FastAPI) -> AsyncIterator[None]:
    app: App = api.state.memos
    # A request holds one connection at a time, so with fewer threads than connections the pool cannot run dry:
    # further requests wait for a thread, in order, instead of for a connection that may never come.
    anyio.to_thread.current_default_thread_limiter().total_tokens = max(1, app.settings.pool_size - SPARE_CONNECTIONS)
    # The first search must not be the one that loads the model.
    await anyio.to_thread.run_sync(app.embedder.embed, ["ready"])
    app.recalls.start()
    app.traces.start()
    log.info("serving", routes=len(api.routes))
    yield
    await anyio.to_thread.run_sync(app.recalls.stop)
    await anyio.to_thread.run_sync(app.traces.stop)
