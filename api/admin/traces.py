"""Traces: how a question was answered, and whether it would be answered so again."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path, Query
from starlette.responses import Response

from api.admin.oversight import CubeQuery
from api.call import answer
from api.dependencies import Caller, CursorQuery, LimitQuery
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.fields import Storable
from api.schemas.traces import ReplayOut, TraceOut
from memos.rules.access import Scope
from memos.services import oversee, trace
from memos.services.views import Page as Found

routes = Routes("Admin")

Door = Literal["search", "context"]
TraceId = Annotated[UUID, Path(description="`trace_id` of a search or context.")]


@routes.add("GET", "/admin/v1/traces", scope=Scope.ADMIN, summary="List traces", answer=Page[TraceOut], fails=(404,))
def list_traces(
    call: Caller,
    cube: CubeQuery = None,
    door: Door | None = None,
    memory_id: UUID | None = None,
    find: Annotated[
        Storable | None, Query(max_length=200, description="A trace's id, a `context_hash`, or words of the question.")
    ] = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """Answered questions, newest first. With `memory_id`: those in whose answers that memory came up."""
    call.app.traces.flush()
    with call.reading() as tx:
        found = oversee.list_traces(
            tx, call.who, cube=cube, door=door, memory_id=memory_id, find=find, limit=limit, cursor=cursor
        )
    return answer(Page[TraceOut], Found([trace.shown(one) for one in found.items], found.next_cursor))


@routes.add(
    "GET", "/admin/v1/traces/{trace_id}", scope=Scope.ADMIN, summary="See a trace", answer=TraceOut, fails=(404,)
)
def get_trace(call: Caller, trace_id: TraceId) -> Response:
    """What was asked, the route taken and the evidence of each memory. Kept for a week, as far as `trace_sample` of the
    cube's policy keeps any."""
    call.app.traces.flush()
    with call.reading() as tx:
        found = trace.get(call.who, tx, trace_id)
    return answer(TraceOut, trace.shown(found))


@routes.add(
    "POST",
    "/admin/v1/traces/{trace_id}/replay",
    scope=Scope.ADMIN,
    summary="Ask again",
    answer=ReplayOut,
    fails=(404,),
    repeatable=False,
)
def replay_trace(call: Caller, trace_id: TraceId) -> Response:
    """The same question to the same revisions at the same time, compared with what was answered then. It writes
    nothing, so it takes no `Idempotency-Key`."""
    call.app.traces.flush()
    with call.reading() as tx:
        found = trace.get(call.who, tx, trace_id)
    return answer(ReplayOut, trace.replay(call.app.recall, call.who, found, clock=call.now))
