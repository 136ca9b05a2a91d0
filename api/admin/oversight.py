"""Lists of everything: cubes, jobs, queues, decisions, storage, erasures."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller, CursorQuery, LimitQuery
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.fields import Reference, Storable
from api.schemas.jobs import JobState
from api.schemas.oversight import (
    AdminDecisionOut,
    AdminJobOut,
    CubeRowOut,
    QueuesOut,
    ReceiptRowOut,
    StorageOut,
)
from memos.rules.access import Scope
from memos.services import oversee

routes = Routes("Admin")

Word = Annotated[Storable | None, Query(max_length=100)]
CubeQuery = Annotated[Reference | None, Query(description="Only this cube, by id or name.")]


@routes.add("GET", "/admin/v1/cubes", scope=Scope.ADMIN, summary="Look over all cubes", answer=Page[CubeRowOut])
def oversee_cubes(
    call: Caller,
    q: Annotated[Storable | None, Query(max_length=200, description="A piece of a name.")] = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """By counters alone, so that large cubes cost no more than small ones."""
    with call.reading() as tx:
        found = oversee.list_cubes(tx, call.who, part=q, limit=limit, cursor=cursor)
    return answer(Page[CubeRowOut], found)


@routes.add("GET", "/admin/v1/jobs", scope=Scope.ADMIN, summary="Look over all jobs", answer=Page[AdminJobOut])
def oversee_jobs(
    call: Caller,
    state: JobState | None = None,
    kind: Word = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """Newest first, with what each was given. `POST /v1/jobs/{id}/cancel` and `retry` act on one."""
    with call.reading() as tx:
        found = oversee.list_jobs(tx, call.who, state=state, kind=kind, limit=limit, cursor=cursor)
    return answer(Page[AdminJobOut], found)


@routes.add("GET", "/admin/v1/queues", scope=Scope.ADMIN, summary="See what waits", answer=QueuesOut)
def get_queues(call: Caller) -> Response:
    """By kind of job: what waits, runs or has failed."""
    with call.reading() as tx:
        found = oversee.queues(tx, call.who, call.now)
    return answer(QueuesOut, {"items": found})


@routes.add(
    "GET",
    "/admin/v1/decisions",
    scope=Scope.ADMIN,
    summary="Look over all decisions",
    answer=Page[AdminDecisionOut],
    fails=(404,),
)
def oversee_decisions(
    call: Caller,
    cube: CubeQuery = None,
    job_id: UUID | None = None,
    kind: Word = None,
    outcome: Word = None,
    memory_id: UUID | None = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """What the workers decided in any cube, newest first: inputs, score, policy version, outcome."""
    with call.reading() as tx:
        found = oversee.list_decisions(
            tx,
            call.who,
            cube=cube,
            job_id=job_id,
            kind=kind,
            outcome=outcome,
            memory_id=memory_id,
            limit=limit,
            cursor=cursor,
        )
    return answer(Page[AdminDecisionOut], found)


@routes.add("GET", "/admin/v1/storage", scope=Scope.ADMIN, summary="See what memory takes up", answer=StorageOut)
def get_storage(call: Caller) -> Response:
    """Bytes of one's own tenant by tier; for the operator also every table of the service."""
    with call.reading() as tx:
        found = oversee.stored(tx, call.who)
    return answer(StorageOut, found)


@routes.add("GET", "/admin/v1/receipts", scope=Scope.ADMIN, summary="List erasures", answer=Page[ReceiptRowOut])
def list_receipts(call: Caller, limit: LimitQuery = 50, cursor: CursorQuery = None) -> Response:
    """Newest first, those that were promised and have not happened yet included."""
    with call.reading() as tx:
        found = oversee.list_receipts(tx, call.who, limit=limit, cursor=cursor)
    return answer(Page[ReceiptRowOut], found)
