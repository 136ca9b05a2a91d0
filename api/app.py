"""The FastAPI app, made from the parts that `memos.wiring` built. Importing this module builds nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import structlog
from fastapi import FastAPI

from api import pages, problems
from api.admin import audit, audit_export, holds, keys, oversight, overview, quarantine, quotas, spaces, tenants, traces
from api.admin import memories as dossiers
from api.feeds import Feeds
from api.metrics import Metrics
from api.middleware import Envelope
from api.readiness import Probe
from api.routes import (
    branches,
    cubes,
    derived,
    events,
    grants,
    graph,
    jobs,
    kv,
    kv_slots,
    lifecycle,
    memories,
    operations,
    packages,
    reading,
    versions,
    webhooks,
    writing,
)
from api.routing import GuardedRoute
from api.schemas.limits import Limits
from memos.wiring import App

# In the order in which paths are tried: the hottest come first.
RESOURCES = (
    reading, writing, memories, cubes, versions, branches, graph, derived, lifecycle, jobs, kv, kv_slots, overview, tenants,
    keys, traces, oversight, audit, dossiers, events, webhooks, packages, spaces, operations, grants, quarantine, holds, quotas,
    audit_export,
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
    api.state.feeds = feeds = Feeds(app, most=app.settings.max_feeds)
    api.state.metrics = metrics = Metrics(app.database)
    metrics.watch(feeds, app.database)
    api.router.route_class = GuardedRoute
    for resource in RESOURCES:
        resource.routes.install(api)
    pages.install(api)
    problems.install(api)
    api.add_middleware(Envelope, metrics=metrics, probe=api.state.probe)
    return api


def begin_draining(api: FastAPI) -> None:
    """The process is about to stop: `/readyz` says so, feeds end, and callers are told to connect anew."""
    probe: Probe = api.state.probe
    probe.draining = True
    opened: Feeds = api.state.feeds
    opened.end()


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
    app.reads.start()
    log.info("serving", routes=len(api.routes))
    yield
    await api.state.feeds.close()
    await anyio.to_thread.run_sync(app.recalls.stop)
    await anyio.to_thread.run_sync(app.traces.stop)
    await anyio.to_thread.run_sync(app.reads.stop)
