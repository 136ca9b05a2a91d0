"""Cubes: named containers of memory."""

from __future__ import annotations

from starlette.responses import Response

from api.call import answer
from api.dependencies import AsOfQuery, AtQuery, BranchQuery, Caller, CubeRef, CursorQuery, LimitQuery
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.cubes import CubeChange, CubeIn, CubeOut
from memos.rules.access import Scope
from memos.services import administer

routes = Routes("Cubes")


@routes.add("POST", "/v1/cubes", scope=Scope.WRITE, summary="Create a cube", answer=CubeOut, status=201, fails=(409,))
def create_cube(call: Caller, body: CubeIn) -> Response:
    """A cube begins with the branch `main` at revision 0. Its name is unique within the tenant."""
    with call.writing() as tx:
        cube = administer.create_cube(
            tx, call.who, name=body.name, description=body.description, policy=body.policy, now=call.now
        )
        return call.keep(tx, 201, CubeOut, cube, etag=cube.revision, location=f"/v1/cubes/{cube.id}")


@routes.add("GET", "/v1/cubes", scope=Scope.READ, summary="List cubes", answer=Page[CubeOut])
def list_cubes(call: Caller, limit: LimitQuery = 50, cursor: CursorQuery = None) -> Response:
    """Every cube the key may touch, oldest first."""
    with call.reading() as tx:
        found = administer.list_cubes(tx, call.who, limit=limit, cursor=cursor)
    return answer(Page[CubeOut], found)


@routes.add("GET", "/v1/cubes/{cube}", scope=Scope.READ, summary="Read a cube", answer=CubeOut, fails=(404,))
def get_cube(
    call: Caller, cube: CubeRef, branch: BranchQuery = "main", at: AtQuery = None, as_of: AsOfQuery = None
) -> Response:
    """Revision, counts and ETag are those of the branch, now or at an earlier moment."""
    with call.reading() as tx:
        found = administer.get_cube(tx, call.who, cube, branch, at=at, as_of=as_of)
    return answer(CubeOut, found, etag=found.revision)


@routes.add(
    "PATCH",
    "/v1/cubes/{cube}",
    scope=Scope.WRITE,
    summary="Change a cube's name, description or policy",
    answer=CubeOut,
    fails=(404, 409, 412),
)
def update_cube(call: Caller, cube: CubeRef, body: CubeChange) -> Response:
    """Counts as a revision of `main`."""
    with call.writing() as tx:
        changed = administer.update_cube(
            tx,
            call.who,
            cube,
            name=body.name,
            description=body.description,
            policy=body.policy,
            now=call.now,
            if_match=call.if_match,
        )
        return call.keep(tx, 200, CubeOut, changed, etag=changed.revision)


@routes.add(
    "DELETE",
    "/v1/cubes/{cube}",
    scope=Scope.ERASE,
    summary="Delete a cube for good",
    answer=None,
    status=204,
    fails=(404, 409, 412),
)
def delete_cube(call: Caller, cube: CubeRef) -> Response:
    """Everything in it goes, history included. Refused while a memory in it is frozen."""
    with call.writing() as tx:
        administer.delete_cube(tx, call.who, cube, now=call.now, if_match=call.if_match)
        return call.keep(tx, 204)
