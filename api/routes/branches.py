"""Branches: lines of history, and bringing them together again."""

from __future__ import annotations

from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller, CubeRef, CursorQuery, LimitQuery, PathName
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.cubes import BranchOut
from api.schemas.versions import BranchIn, MergeIn, MergeOut
from memos.errors import NotFound
from memos.rules.access import Scope
from memos.services import branch as branches

routes = Routes("Versions")


@routes.add(
    "POST",
    "/v1/cubes/{cube}/branches",
    scope=Scope.WRITE,
    summary="Fork a branch",
    answer=BranchOut,
    status=201,
    fails=(404, 409),
)
def create_branch(call: Caller, cube: CubeRef, body: BranchIn) -> Response:
    """The branch starts as `branch` was at `from`, or as the branch that `from` names. Nothing is copied."""
    with call.writing() as tx:
        try:
            made = branches.create_branch(
                tx, call.who, cube, name=body.name, from_=body.from_, base=body.branch, now=call.now
            )
        except NotFound:
            if not isinstance(body.from_, str):
                raise
            # No such tag: then it is a branch, or 404.
            made = branches.create_branch(tx, call.who, cube, name=body.name, from_=None, base=body.from_, now=call.now)
        return call.keep(tx, 201, BranchOut, made, etag=made.revision)


@routes.add(
    "GET",
    "/v1/cubes/{cube}/branches",
    scope=Scope.READ,
    summary="List branches",
    answer=Page[BranchOut],
    fails=(404,),
)
def list_branches(call: Caller, cube: CubeRef, limit: LimitQuery = 50, cursor: CursorQuery = None) -> Response:
    """Oldest first."""
    with call.reading() as tx:
        found = branches.list_branches(tx, call.who, cube, limit=limit, cursor=cursor)
    return answer(Page[BranchOut], found)


@routes.add(
    "DELETE",
    "/v1/cubes/{cube}/branches/{name}",
    scope=Scope.WRITE,
    summary="Delete a branch",
    answer=None,
    status=204,
    fails=(404, 409),
)
def delete_branch(call: Caller, cube: CubeRef, name: PathName) -> Response:
    """The name becomes free; the revisions stay in the log. `main` cannot be deleted."""
    with call.writing() as tx:
        branches.delete_branch(tx, call.who, cube, name, now=call.now)
        return call.keep(tx, 204)


@routes.add(
    "POST",
    "/v1/cubes/{cube}/merge",
    scope=Scope.WRITE,
    summary="Merge a branch into another",
    answer=MergeOut,
    fails=(404, 409, 412),
)
def merge(call: Caller, cube: CubeRef, body: MergeIn) -> Response:
    """Three-way, memory by memory. With `fail`, conflicts answer 409 and are listed under `conflicts`; nothing is
    written then. Ask with `dry_run` first."""
    with call.writing() as tx:
        merged = branches.merge(
            tx,
            call.who,
            cube,
            source=body.source,
            target=body.target,
            strategy=body.strategy,
            dry_run=body.dry_run,
            now=call.now,
            reason=body.reason,
            if_match=call.if_match,
        )
        return call.keep(tx, 200, MergeOut, merged, etag=merged.revision)
