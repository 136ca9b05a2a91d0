"""Background work: what was promised, and what became of it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Path, Query
from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller, CursorQuery, LimitQuery
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.fields import Storable
from api.schemas.jobs import JobOut, JobState
from memos.rules.access import Scope
from memos.services import jobs

routes = Routes("Jobs")

JobId = Annotated[UUID, Path()]


@routes.add("GET", "/v1/jobs", scope=Scope.READ, summary="List jobs", answer=Page[JobOut])
def list_jobs(
    call: Caller,
    state: JobState | None = None,
    kind: Annotated[Storable | None, Query(max_length=100)] = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """Newest first."""
    with call.reading() as tx:
        found = jobs.list_jobs(tx, call.who, state=state, kind=kind, limit=limit, cursor=cursor)
    return answer(Page[JobOut], found)


@routes.add("GET", "/v1/jobs/{job_id}", scope=Scope.READ, summary="Read a job", answer=JobOut, fails=(404,))
def get_job(call: Caller, job_id: JobId) -> Response:
    """Its state, and its error when it failed."""
    with call.reading() as tx:
        found = jobs.get_job(tx, call.who, job_id)
    return answer(JobOut, found)


@routes.add(
    "POST", "/v1/jobs/{job_id}/cancel", scope=Scope.WRITE, summary="Cancel a job", answer=JobOut, fails=(404, 409)
)
def cancel_job(call: Caller, job_id: JobId) -> Response:
    """A job that runs or has ended cannot be cancelled."""
    with call.writing() as tx:
        job = jobs.cancel_job(tx, call.who, job_id)
        return call.keep(tx, 200, JobOut, job)


@routes.add(
    "POST", "/v1/jobs/{job_id}/retry", scope=Scope.WRITE, summary="Retry a job", answer=JobOut, fails=(404, 409)
)
def retry_job(call: Caller, job_id: JobId) -> Response:
    """A failed or cancelled job waits in the queue again."""
    with call.writing() as tx:
        job = jobs.retry_job(tx, call.who, job_id)
        return call.keep(tx, 200, JobOut, job)
