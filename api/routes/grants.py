"""Grants: sharing a cube with a key or a tenant."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Path
from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller, CubeRef, CursorQuery, LimitQuery
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.governance import GrantIn, GrantOut
from memos.rules.access import Scope
from memos.services import grants

routes = Routes("Sharing")

GrantId = Annotated[UUID, Path()]


@routes.add(
    "POST",
    "/v1/cubes/{cube}/grants",
    scope=Scope.ADMIN,
    summary="Share a cube",
    answer=GrantOut,
    status=201,
    fails=(404,),
)
def create_grant(call: Caller, cube: CubeRef, body: GrantIn) -> Response:
    """A guest addresses the cube by its id, with its own key. What a grant does not open, has expired, is used up or was
    revoked is the same 404 as absence."""
    with call.writing() as tx:
        made = grants.create_grant(
            call.app.database,
            tx,
            call.who,
            cube,
            ability=body.ability,
            to_key=body.to_key,
            to_tenant=body.to_tenant,
            purpose=body.purpose,
            expires_at=body.expires_at,
            max_uses=body.max_uses,
            now=call.now,
        )
        return call.keep(tx, 201, GrantOut, made)


@routes.add(
    "GET",
    "/v1/cubes/{cube}/grants",
    scope=Scope.ADMIN,
    summary="List a cube's grants",
    answer=Page[GrantOut],
    fails=(404,),
)
def list_grants(call: Caller, cube: CubeRef, limit: LimitQuery = 50, cursor: CursorQuery = None) -> Response:
    """With their uses; those that have ended stay listed."""
    with call.reading() as tx:
        found = grants.list_grants(tx, call.who, cube, limit=limit, cursor=cursor)
    return answer(Page[GrantOut], found)


@routes.add(
    "DELETE",
    "/v1/cubes/{cube}/grants/{grant_id}",
    scope=Scope.ADMIN,
    summary="End a grant",
    answer=None,
    status=204,
    fails=(404,),
)
def revoke_grant(call: Caller, cube: CubeRef, grant_id: GrantId) -> Response:
    """At once, on every replica."""
    with call.writing() as tx:
        grants.revoke_grant(call.app.database, tx, call.who, cube, grant_id, now=call.now)
        return call.keep(tx, 204)


@routes.add("GET", "/v1/grants", scope=Scope.READ, summary="List what is shared with this key", answer=Page[GrantOut])
def received_grants(call: Caller, limit: LimitQuery = 50, cursor: CursorQuery = None) -> Response:
    """Cubes of others that this key may use now."""
    with call.reading() as tx:
        found = grants.received(tx, call.who, limit=limit, cursor=cursor)
    return answer(Page[GrantOut], found)


@routes.add("GET", "/admin/v1/grants", scope=Scope.ADMIN, summary="List every grant", answer=Page[GrantOut])
def all_grants(call: Caller, limit: LimitQuery = 50, cursor: CursorQuery = None) -> Response:
    """What one's own tenant shares with others."""
    with call.reading() as tx:
        found = grants.all_grants(tx, call.who, limit=limit, cursor=cursor)
    return answer(Page[GrantOut], found)
