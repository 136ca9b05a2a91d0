"""Legal holds."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Path, Query
from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller, CursorQuery, LimitQuery
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.fields import Reason, Reference
from api.schemas.governance import HoldIn, HoldOut
from memos.rules.access import Scope
from memos.services import holds

routes = Routes("Admin")

OfCube = Annotated[Reference | None, Query(description="Only of this cube.")]
Why = Annotated[Reason, Query(description="Why it may go.")]
Active = Annotated[bool | None, Query(description="Only those that stand, or only those that were released.")]


@routes.add(
    "POST", "/admin/v1/holds", scope=Scope.ADMIN, summary="Place a hold", answer=HoldOut, status=201, fails=(404,)
)
def place_hold(call: Caller, body: HoldIn) -> Response:
    """While it stands, what it holds is not erased, expired, archived or deleted (409 `held`), by anybody or any
    policy."""
    with call.writing() as tx:
        made = holds.place(tx, call.who, cube=body.cube, memory_id=body.memory_id, reason=body.reason, now=call.now)
        return call.keep(tx, 201, HoldOut, made)


@routes.add("GET", "/admin/v1/holds", scope=Scope.ADMIN, summary="List holds", answer=Page[HoldOut], fails=(404,))
def list_holds(
    call: Caller, cube: OfCube = None, active: Active = None, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> Response:
    """Oldest first; those that were released stay listed."""
    with call.reading() as tx:
        found = holds.list_holds(tx, call.who, cube=cube, active=active, limit=limit, cursor=cursor)
    return answer(Page[HoldOut], found)


@routes.add(
    "DELETE",
    "/admin/v1/holds/{hold_id}",
    scope=Scope.ADMIN,
    summary="Release a hold",
    answer=None,
    status=204,
    fails=(404,),
)
def release_hold(call: Caller, hold_id: Annotated[UUID, Path()], reason: Why = "") -> Response:
    """What it held is free again, as far as no other hold stands. The reason is kept in the audit trail."""
    with call.writing() as tx:
        holds.release(tx, call.who, hold_id, now=call.now, reason=reason)
        return call.keep(tx, 204)
