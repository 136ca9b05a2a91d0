"""Single memories: listed, read, edited, put away, brought back, and traced to where they come from."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.call import answer
from api.dependencies import (
    AnyBranchQuery,
    AsOfQuery,
    AtQuery,
    BranchQuery,
    Caller,
    CubeRef,
    CursorQuery,
    LimitQuery,
    MemoryId,
    ReasonQuery,
)
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.fields import Label, Tag
from api.schemas.memories import MemoryChange, MemoryOut, ProvenanceOut, RestoreIn, StateIn
from memos.rules.access import Scope
from memos.rules.header import Kind
from memos.rules.lifecycle import State
from memos.services import read, revise

routes = Routes("Memories")


@routes.add(
    "GET",
    "/v1/cubes/{cube}/memories",
    scope=Scope.READ,
    summary="List memories",
    answer=Page[MemoryOut],
    fails=(404,),
)
def list_memories(
    call: Caller,
    cube: CubeRef,
    kind: Kind | None = None,
    state: State | None = None,
    tag: Annotated[Tag | None, Query()] = None,
    session_id: Annotated[Label | None, Query()] = None,
    external_id: Annotated[Label | None, Query()] = None,
    branch: BranchQuery = "main",
    at: AtQuery = None,
    as_of: AsOfQuery = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """In order of writing, in every state unless one is asked for."""
    with call.reading() as tx:
        found = read.list_memories(
            tx,
            call.who,
            cube,
            kind=kind,
            state=state,
            tag=tag,
            session_id=session_id,
            external_id=external_id,
            branch=branch,
            at=at,
            as_of=as_of,
            limit=limit,
            cursor=cursor,
        )
    return answer(Page[MemoryOut], found)


@routes.add(
    "GET",
    "/v1/cubes/{cube}/memories/{memory_id}",
    scope=Scope.READ,
    summary="Read a memory",
    answer=MemoryOut,
    fails=(404,),
)
def get_memory(
    call: Caller,
    cube: CubeRef,
    memory_id: MemoryId,
    branch: BranchQuery = "main",
    at: AtQuery = None,
    as_of: AsOfQuery = None,
) -> Response:
    """The version that the branch shows, now or at an earlier moment."""
    with call.reading() as tx:
        found = read.get_memory(tx, call.who, cube, memory_id, branch=branch, at=at, as_of=as_of)
    return answer(MemoryOut, found, etag=found.version)


@routes.add(
    "PATCH",
    "/v1/cubes/{cube}/memories/{memory_id}",
    scope=Scope.WRITE,
    summary="Edit a memory",
    answer=MemoryOut,
    fails=(404, 409, 412, 413),
)
def change_memory(call: Caller, cube: CubeRef, memory_id: MemoryId, body: MemoryChange) -> Response:
    """Writes a new version; the earlier ones stay readable."""
    app = call.app
    prepared = revise.prepare_change(
        app.database, call.embedder(cube), call.who, cube, memory_id, body.changes(), body.branch
    )
    with call.writing() as tx:
        changed = revise.change(tx, call.who, prepared, now=call.now, reason=body.reason, if_match=call.if_match)
        return call.keep(tx, 200, MemoryOut, changed, etag=changed.version)


@routes.add(
    "DELETE",
    "/v1/cubes/{cube}/memories/{memory_id}",
    scope=Scope.WRITE,
    summary="Archive a memory",
    answer=MemoryOut,
    fails=(404, 409, 412),
)
def archive_memory(
    call: Caller, cube: CubeRef, memory_id: MemoryId, branch: BranchQuery = "main", reason: ReasonQuery = ""
) -> Response:
    """Put away, not erased: it is no longer recalled, and can be restored."""
    with call.writing() as tx:
        archived = revise.archive(
            tx, call.who, cube, memory_id, branch=branch, now=call.now, reason=reason, if_match=call.if_match
        )
        return call.keep(tx, 200, MemoryOut, archived, etag=archived.version)


@routes.add(
    "GET",
    "/v1/cubes/{cube}/memories/{memory_id}/history",
    scope=Scope.READ,
    summary="List a memory's versions",
    answer=Page[MemoryOut],
    fails=(404,),
)
def list_history(
    call: Caller,
    cube: CubeRef,
    memory_id: MemoryId,
    branch: AnyBranchQuery = None,
    at: AtQuery = None,
    as_of: AsOfQuery = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """Every version, newest first: on every branch, or of one with what it inherited."""
    with call.reading() as tx:
        found = read.history(
            tx, call.who, cube, memory_id, branch=branch, at=at, as_of=as_of, limit=limit, cursor=cursor
        )
    return answer(Page[MemoryOut], found)


@routes.add(
    "POST",
    "/v1/cubes/{cube}/memories/{memory_id}/restore",
    scope=Scope.WRITE,
    summary="Bring back an earlier version",
    answer=MemoryOut,
    fails=(404, 409, 412),
)
def restore_memory(call: Caller, cube: CubeRef, memory_id: MemoryId, body: RestoreIn) -> Response:
    """The earlier version becomes the newest one. Also brings back what was archived, expired or merged away."""
    with call.writing() as tx:
        restored = revise.restore(
            tx,
            call.who,
            cube,
            memory_id,
            version=body.version,
            branch=body.branch,
            now=call.now,
            reason=body.reason,
            if_match=call.if_match,
        )
        return call.keep(tx, 200, MemoryOut, restored, etag=restored.version)


@routes.add(
    "POST",
    "/v1/cubes/{cube}/memories/{memory_id}/state",
    scope=Scope.WRITE,
    summary="Move a memory along its life cycle",
    answer=MemoryOut,
    fails=(404, 409, 412),
)
def set_memory_state(call: Caller, cube: CubeRef, memory_id: MemoryId, body: StateIn) -> Response:
    """Freezing and unfreezing also need the `freeze` scope. A step the life cycle does not know is 409."""
    with call.writing() as tx:
        moved = revise.set_state(
            tx,
            call.who,
            cube,
            memory_id,
            to=body.to,
            branch=body.branch,
            now=call.now,
            reason=body.reason,
            if_match=call.if_match,
        )
        return call.keep(tx, 200, MemoryOut, moved, etag=moved.version)


@routes.add(
    "GET",
    "/v1/cubes/{cube}/memories/{memory_id}/provenance",
    scope=Scope.READ,
    summary="Trace a memory",
    answer=ProvenanceOut,
    fails=(404,),
)
def get_provenance(
    call: Caller,
    cube: CubeRef,
    memory_id: MemoryId,
    branch: BranchQuery = "main",
    at: AtQuery = None,
    as_of: AsOfQuery = None,
) -> Response:
    """The memories it was made from, and those that were made from it."""
    with call.reading() as tx:
        found = read.provenance(tx, call.who, cube, memory_id, branch=branch, at=at, as_of=as_of)
    return answer(ProvenanceOut, found)
