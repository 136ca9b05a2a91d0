"""The audit trail: who did what, and proof that nobody changed the record since."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from api.admin.oversight import CubeQuery
from api.call import answer
from api.dependencies import Caller, CursorQuery, LimitQuery
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.fields import Storable
from api.schemas.oversight import ActOut, VerifiedOut
from memos.rules.access import Scope
from memos.services import oversee

routes = Routes("Admin")


@routes.add(
    "GET", "/admin/v1/audit", scope=Scope.ADMIN, summary="Read the audit trail", answer=Page[ActOut], fails=(404,)
)
def list_audit(
    call: Caller,
    action: Annotated[
        Storable | None, Query(max_length=100, description="`cube.create`, or `cube` for all acts on cubes.")
    ] = None,
    key_id: UUID | None = None,
    cube: CubeQuery = None,
    memory_id: UUID | None = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """With `memory_id`: what was done to that memory, and who was given it to read. Newest first, without memory content."""
    with call.reading() as tx:
        found = oversee.list_acts(
            tx, call.who, action=action, key_id=key_id, cube=cube, memory_id=memory_id, limit=limit, cursor=cursor
        )
    return answer(Page[ActOut], found)


@routes.add("GET", "/admin/v1/audit/verify", scope=Scope.ADMIN, summary="Verify the audit trail", answer=VerifiedOut)
def verify_audit(call: Caller) -> Response:
    """Every hash is computed anew, from the first act to the last. Takes about a second for fifty thousand acts."""
    with call.reading() as tx:
        found = oversee.verify_audit(tx, call.who)
    return answer(VerifiedOut, found)
