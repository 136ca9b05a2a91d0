"""Quarantine: what was set aside as suspicious, and its review."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Query
from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller, CursorQuery, LimitQuery, MemoryId
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.fields import Reference
from api.schemas.governance import HeldOut, ReviewIn, ReviewOut, SourcesOut
from memos.rules.access import Scope
from memos.services import quarantine

routes = Routes("Admin")

OfCube = Annotated[Reference | None, Query(description="Only of this cube.")]


@routes.add(
    "GET",
    "/admin/v1/quarantine",
    scope=Scope.ADMIN,
    summary="List what was set aside",
    answer=Page[HeldOut],
    fails=(404,),
)
def list_quarantine(call: Caller, cube: OfCube = None, limit: LimitQuery = 50, cursor: CursorQuery = None) -> Response:
    """Suspicious memories that nobody recalls before they are released, in order of writing. No other door shows their
    text."""
    with call.reading() as tx:
        found = quarantine.list_held(tx, call.who, cube=cube, limit=limit, cursor=cursor)
    return answer(Page[HeldOut], found)


@routes.add(
    "GET",
    "/admin/v1/quarantine/sources",
    scope=Scope.ADMIN,
    summary="See how far sources are believed",
    answer=SourcesOut,
)
def list_sources(call: Caller) -> Response:
    """Keys with what they relay, and the evidence for and against them, the worst first."""
    with call.reading() as tx:
        found = quarantine.list_sources(tx, call.who, now=call.now)
    return answer(SourcesOut, {"items": found})


@routes.add(
    "POST",
    "/admin/v1/quarantine/{memory_id}/release",
    scope=Scope.ADMIN,
    summary="Release a memory",
    answer=ReviewOut,
    fails=(404,),
)
def release_memory(
    call: Caller, memory_id: MemoryId, body: Annotated[ReviewIn, Body(default_factory=ReviewIn)]
) -> Response:
    """It is recalled from this revision on. Its source gains trust."""
    with call.writing() as tx:
        done = quarantine.release(tx, call.who, memory_id, now=call.now, reason=body.reason)
        return call.keep(tx, 200, ReviewOut, done)


@routes.add(
    "POST",
    "/admin/v1/quarantine/{memory_id}/reject",
    scope=Scope.ADMIN,
    summary="Reject a memory",
    answer=ReviewOut,
    fails=(404,),
)
def reject_memory(
    call: Caller, memory_id: MemoryId, body: Annotated[ReviewIn, Body(default_factory=ReviewIn)]
) -> Response:
    """It is archived and stays set aside; `forget` erases it. Its source loses trust."""
    with call.writing() as tx:
        done = quarantine.reject(tx, call.who, memory_id, now=call.now, reason=body.reason)
        return call.keep(tx, 200, ReviewOut, done)
