"""Keys: principals with scopes, perhaps bound to cubes."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Body, Path
from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller, CursorQuery, LimitQuery
from api.routing import Routes
from api.schemas.admin import KeyIn, KeyOut, NewKeyOut
from api.schemas.base import Page
from api.schemas.governance import RotateIn
from memos.rules.access import Scope
from memos.services import administer

routes = Routes("Admin")


@routes.add(
    "POST",
    "/admin/v1/keys",
    scope=Scope.ADMIN,
    summary="Create a key",
    answer=NewKeyOut,
    status=201,
    fails=(404,),
    # The answer holds the secret, which is never stored: so it cannot be given twice.
    repeatable=False,
)
def create_key(call: Caller, body: KeyIn) -> Response:
    """The secret is shown in this answer and never again; an `Idempotency-Key` is therefore not honoured. A key gives at
    most the scopes of the key that made it."""
    with call.writing() as tx:
        made = administer.create_key(
            call.app.database,
            tx,
            call.who,
            tenant=body.tenant,
            scopes=body.scopes,
            cube_refs=body.cubes,
            name=body.name,
            expires_at=body.expires_at,
            now=call.now,
            clearance=body.clearance,
        )
    return answer(NewKeyOut, made, status=201)


@routes.add("GET", "/admin/v1/keys", scope=Scope.ADMIN, summary="List keys", answer=Page[KeyOut])
def list_keys(call: Caller, limit: LimitQuery = 50, cursor: CursorQuery = None) -> Response:
    """The keys of one's own tenant, without their secrets."""
    with call.reading() as tx:
        found = administer.list_keys(tx, call.who, limit=limit, cursor=cursor)
    return answer(Page[KeyOut], found)


@routes.add(
    "DELETE",
    "/admin/v1/keys/{key_id}",
    scope=Scope.ADMIN,
    summary="Revoke a key",
    answer=None,
    status=204,
    fails=(404,),
)
def revoke_key(call: Caller, key_id: Annotated[UUID, Path()]) -> Response:
    """Stops at once here, and within `MEMOS_KEY_CACHE_TTL` on other replicas."""
    with call.writing() as tx:
        administer.revoke_key(call.app.database, tx, call.who, key_id, now=call.now)
        return call.keep(tx, 204)


@routes.add(
    "POST",
    "/admin/v1/keys/{key_id}/rotate",
    scope=Scope.ADMIN,
    summary="Give a key a new secret",
    answer=NewKeyOut,
    fails=(404,),
    # As with a new key: the secret is not stored, so the answer cannot be given twice.
    repeatable=False,
)
def rotate_key(
    call: Caller, key_id: Annotated[UUID, Path()], body: Annotated[RotateIn, Body(default_factory=RotateIn)]
) -> Response:
    """The key stays the same key, with its id, grants and trail. The secret before works for `overlap_s` longer, so that
    every client can change over. An `Idempotency-Key` is not honoured: the secret is shown once."""
    with call.writing() as tx:
        made = administer.rotate_key(
            call.app.database, tx, call.who, key_id, overlap=timedelta(seconds=body.overlap_s), now=call.now
        )
    return answer(NewKeyOut, made)
