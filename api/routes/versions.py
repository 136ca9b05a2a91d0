"""Revisions and tags: the history of a cube, and going back in it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.call import answer
from api.dependencies import AtQuery, BranchQuery, Caller, CubeRef, CursorQuery, LimitQuery, PathName
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.fields import Moment
from api.schemas.versions import DiffOut, RevisionOut, RollbackIn, TagIn, TagOut
from memos.rules.access import Scope
from memos.services import branch as branches

routes = Routes("Versions")

From = Annotated[Moment, Query(alias="from", description="A revision number, a tag's name or a time.")]
To = Annotated[Moment, Query(description="A revision number, a tag's name or a time.")]


@routes.add(
    "GET",
    "/v1/cubes/{cube}/revisions",
    scope=Scope.READ,
    summary="List revisions",
    answer=Page[RevisionOut],
    fails=(404,),
)
def list_revisions(
    call: Caller,
    cube: CubeRef,
    branch: BranchQuery = "main",
    at: AtQuery = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """Newest first, with those the branch inherits from its base."""
    with call.reading() as tx:
        found = branches.list_revisions(tx, call.who, cube, branch=branch, at=at, limit=limit, cursor=cursor)
    return answer(Page[RevisionOut], found)


@routes.add(
    "GET", "/v1/cubes/{cube}/diff", scope=Scope.READ, summary="Compare two revisions", answer=DiffOut, fails=(404,)
)
def diff(call: Caller, cube: CubeRef, from_: From, to: To, branch: BranchQuery = "main") -> Response:
    """What `to` shows that `from` does not, memory by memory."""
    with call.reading() as tx:
        found = branches.diff(tx, call.who, cube, from_=from_, to=to, branch=branch)
    return answer(DiffOut, found)


@routes.add(
    "POST",
    "/v1/cubes/{cube}/rollback",
    scope=Scope.WRITE,
    summary="Restore an earlier state",
    answer=RevisionOut,
    status=201,
    fails=(404, 409, 412),
)
def rollback(call: Caller, cube: CubeRef, body: RollbackIn) -> Response:
    """Writes one revision that restores the state as of `to`; nothing since is lost."""
    with call.writing() as tx:
        revision = branches.rollback(
            tx,
            call.who,
            cube,
            to=body.to,
            branch=body.branch,
            now=call.now,
            reason=body.reason,
            if_match=call.if_match,
        )
        return call.keep(tx, 201, RevisionOut, revision, etag=revision.revision)


@routes.add(
    "POST",
    "/v1/cubes/{cube}/tags",
    scope=Scope.WRITE,
    summary="Name a revision",
    answer=TagOut,
    status=201,
    fails=(404, 409),
)
def create_tag(call: Caller, cube: CubeRef, body: TagIn) -> Response:
    """A tag never moves; delete it to use its name again."""
    with call.writing() as tx:
        tag = branches.create_tag(tx, call.who, cube, name=body.name, revision=body.revision, now=call.now)
        return call.keep(tx, 201, TagOut, tag)


@routes.add("GET", "/v1/cubes/{cube}/tags", scope=Scope.READ, summary="List tags", answer=Page[TagOut], fails=(404,))
def list_tags(call: Caller, cube: CubeRef, limit: LimitQuery = 50, cursor: CursorQuery = None) -> Response:
    """By revision."""
    with call.reading() as tx:
        found = branches.list_tags(tx, call.who, cube, limit=limit, cursor=cursor)
    return answer(Page[TagOut], found)


@routes.add(
    "DELETE",
    "/v1/cubes/{cube}/tags/{name}",
    scope=Scope.WRITE,
    summary="Delete a tag",
    answer=None,
    status=204,
    fails=(404,),
)
def delete_tag(call: Caller, cube: CubeRef, name: PathName) -> Response:
    """The revision stays."""
    with call.writing() as tx:
        branches.delete_tag(tx, call.who, cube, name, now=call.now)
        return call.keep(tx, 204)
