"""Jobs as their owner sees them: look, cancel, try again."""

from __future__ import annotations

from uuid import UUID

from memos.errors import NotFound
from memos.rules.access import Principal, Scope
from memos.services.attempt import tell
from memos.services.cursors import id_of
from memos.services.views import Page, page
from memos.store import jobs
from memos.store.jobs import Job
from memos.store.transaction import Transaction


def get_job(tx: Transaction, who: Principal, job_id: UUID) -> Job:
    who.require(Scope.READ)
    job = jobs.get(tx, job_id)
    if job.cube_id is not None and not who.may_reach(job.cube_id):
        raise NotFound("no such job")
    return job


def list_jobs(
    tx: Transaction, who: Principal, *, state: str | None, kind: str | None, limit: int, cursor: str | None
) -> Page[Job]:
    """Newest first; a key bound to cubes sees theirs only."""
    who.require(Scope.READ)
    only = None if who.cube_ids is None else sorted(who.cube_ids)
    return page(jobs.list_page(tx, state, kind, limit + 1, id_of(cursor), only), limit, lambda job: job.id)


def cancel_job(tx: Transaction, who: Principal, job_id: UUID) -> Job:
    who.require(Scope.WRITE)
    before = get_job(tx, who, job_id)
    job = jobs.cancel(tx, job_id)
    if before.state != job.state:
        tell(tx, job, "job.cancelled")
    return job


def retry_job(tx: Transaction, who: Principal, job_id: UUID) -> Job:
    who.require(Scope.WRITE)
    get_job(tx, who, job_id)
    return jobs.retry(tx, job_id)
