"""Jobs as rows: a promise made in the writer's transaction, kept by whoever claims it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.errors import Conflict, NotFound
from memos.rules.lanes import Lane
from memos.store.engine import Database
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    id: UUID
    cube_id: UUID | None
    kind: str
    state: str
    payload: dict[str, Any]
    attempts: int
    run_after: datetime
    error: dict[str, Any] | None
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    revision: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


_COLUMNS = ", ".join(Job.__dataclass_fields__)


def promise(
    tx: Transaction,
    kind: str,
    *,
    cube_id: UUID | None = None,
    payload: dict[str, Any] | None = None,
    dedup_key: str | None = None,
    delay_s: float = 0,
) -> UUID:
    """A job's id. One that waits already under the same kind and `dedup_key` is returned instead of a second one; it
    runs at the earlier of the two times. Raises `TooBusy` when so many jobs of the tenant wait that it may not add another.

    The workers are nudged once the transaction is committed; a job that is to wait is left to the sweeper.
    """
    job_id = uuid_utils.uuid7()
    row = tx.row(
        "INSERT INTO jobs (tenant_id, id, cube_id, kind, payload, dedup_key, run_after) VALUES (:tenant, :id, :cube, :kind, "
        "CAST(:payload AS jsonb), :dedup, now() + make_interval(secs => :delay)) "
        "ON CONFLICT (tenant_id, kind, dedup_key) WHERE state = 'queued' "
        "DO UPDATE SET run_after = least(jobs.run_after, excluded.run_after) RETURNING id",
        id=job_id,
        cube=cube_id,
        kind=kind,
        payload=json.dumps(payload or {}),
        dedup=dedup_key,
        delay=delay_s,
    )
    found = UUID(str(row["id"])) if row else job_id
    if found == job_id:
        _admit(tx)
    if delay_s <= 0:
        tx.nudge(found, kind)
    return found


def promise_after_write(tx: Transaction, cube_id: UUID, branch: str, *, extraction: bool) -> list[UUID]:
    """What a write leaves for the workers: moving fresh vectors into the graph, once enough have gathered, and reading
    what was written. Both wait a moment, so that a burst of writes is one piece of work."""
    kinds = {"index": 2.0} | ({"extract": 1.0} if extraction else {})
    return [_promise_for_branch(tx, kind, cube_id, branch, delay_s) for kind, delay_s in kinds.items()]


def promise_index(tx: Transaction, cube_id: UUID, branch: str) -> UUID:
    """The first of the two alone."""
    return _promise_for_branch(tx, "index", cube_id, branch, 2.0)


def _promise_for_branch(tx: Transaction, kind: str, cube_id: UUID, branch: str, delay_s: float) -> UUID:
    return promise(
        tx, kind, cube_id=cube_id, payload={"branch": branch}, dedup_key=f"{cube_id}/{branch}", delay_s=delay_s
    )


def promise_decisions(tx: Transaction, kind: str, cube_id: UUID, branch: str, now: datetime | None) -> UUID:
    """A run of the scheduler over a branch, as of `now` (None: whenever it runs); one per branch and moment waits."""
    moment = None if now is None else now.isoformat()
    return promise(
        tx,
        kind,
        cube_id=cube_id,
        payload={"branch": branch, "now": moment},
        dedup_key=f"{cube_id}/{branch}/{moment or ''}",
    )


def get(tx: Transaction, job_id: UUID) -> Job:
    row = tx.row(f"SELECT {_COLUMNS} FROM jobs WHERE tenant_id = :tenant AND id = :id", id=job_id)
    if row is None:
        raise NotFound("no such job")
    return Job(**row)


def list_page(
    tx: Transaction, state: str | None, kind: str | None, limit: int, before: UUID | None, only: list[UUID] | None
) -> list[Job]:
    """Newest first."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM jobs WHERE tenant_id = :tenant AND (CAST(:state AS text) IS NULL OR state = :state) "
        "AND (CAST(:kind AS text) IS NULL OR kind = :kind) AND (CAST(:before AS uuid) IS NULL OR id < :before) "
        "AND (CAST(:only AS uuid[]) IS NULL OR cube_id = ANY(:only)) "
        "ORDER BY id DESC LIMIT :limit",
        state=state,
        kind=kind,
        before=before,
        limit=limit,
        only=only,
    )
    return [Job(**row) for row in rows]


def cancel(tx: Transaction, job_id: UUID) -> Job:
    """The job will not run, or, while it runs, will not save anything more. Raises `Conflict` once it has ended."""
    done = tx.run(
        "UPDATE jobs SET state = 'cancelled', finished_at = now(), lease_until = NULL "
        "WHERE tenant_id = :tenant AND id = :id AND state IN ('queued', 'running')",
        id=job_id,
    )
    job = get(tx, job_id)
    if not done and job.state != "cancelled":
        raise Conflict(f"the job has {job.state}; only a queued or running job can be cancelled")
    return job


def retry(tx: Transaction, job_id: UUID) -> Job:
    """A failed or cancelled job waits again, with its attempts forgiven. Raises `TooBusy` as `promise` does."""
    done = tx.run(
        "UPDATE jobs SET state = 'queued', attempts = 0, error = NULL, finished_at = NULL, run_after = now(), dedup_key = NULL "
        "WHERE tenant_id = :tenant AND id = :id AND state IN ('failed', 'cancelled')",
        id=job_id,
    )
    job = get(tx, job_id)
    if not done and job.state != "queued":
        raise Conflict(f"the job is {job.state}; only a failed or cancelled job can be retried")
    if done:
        _admit(tx)
    tx.nudge(job.id, job.kind)
    return job


def _admit(tx: Transaction) -> None:
    if tx.backlog is not None:
        tx.backlog.admit(tx)


# ---------------------------------------------------------------- for the workers


@dataclass(frozen=True, slots=True)
class Due:
    """A job that somebody should run now: its time has come, or its worker has died."""

    tenant_id: UUID
    job_id: UUID
    kind: str


def due(database: Database, most: int, lane: Lane | None = None) -> list[Due]:
    """Up to `most` due jobs of all tenants, each tenant's oldest first, taking turns; of one lane, or of all."""
    asked: dict[str, object] = {"most": most} if lane is None else {"most": most, "lane": lane.value}
    return [
        Due(**r) for r in database.call(f"SELECT tenant_id, job_id, kind FROM memos_due_jobs({_named(asked)})", **asked)
    ]


def turns(database: Database, most: int, lane: Lane | None = None) -> list[UUID]:
    """Up to `most` tenants with due jobs, in the order in which they should be served next: who has least running goes
    first, and between equals the lot decides."""
    asked: dict[str, object] = {"most": most} if lane is None else {"most": most, "lane": lane.value}
    return [r["tenant_id"] for r in database.call(f"SELECT tenant_id FROM memos_job_turns({_named(asked)})", **asked)]


def _named(parameters: Mapping[str, object]) -> str:
    return ", ".join(f":{name}" for name in parameters)


@dataclass(frozen=True, slots=True)
class Depth:
    """Jobs of one kind, of all tenants, that wait, run or have failed. `oldest_s`: how long the oldest has been due (0
    while none is), has run, or has been dead."""

    kind: str
    state: str
    jobs: int
    oldest_s: float


def depths(database: Database) -> list[Depth]:
    return [Depth(**row) for row in database.call("SELECT kind, state, jobs, oldest_s FROM memos_job_depths()")]


def tenant_ids(database: Database) -> list[UUID]:
    """Every tenant, for work that is done for each in turn."""
    return [row["tenant_id"] for row in database.call("SELECT tenant_id FROM memos_tenant_ids()")]


def claim(tx: Transaction, job_id: UUID, lease_s: float) -> Job | None:
    """Take a due job, or None when somebody else has it or it is not due. The lease makes a dead worker's job due again."""
    row = tx.row(
        "UPDATE jobs SET state = 'running', attempts = attempts + 1, started_at = now(), "
        "lease_until = now() + make_interval(secs => :lease) WHERE tenant_id = :tenant AND id = ("
        "  SELECT id FROM jobs WHERE tenant_id = :tenant AND id = :id AND ((state = 'queued' AND run_after <= now()) "
        f"  OR (state = 'running' AND lease_until <= now())) FOR UPDATE SKIP LOCKED) RETURNING {_COLUMNS}",
        id=job_id,
        lease=lease_s,
    )
    return None if row is None else Job(**row)


# As the partial index jobs_turns_kv says it.
_OF_LANE = {None: "", Lane.KV: " AND kind LIKE 'kv.%'", Lane.MAIN: " AND kind NOT LIKE 'kv.%'"}


def claim_next(tx: Transaction, lease_s: float, lane: Lane | None = None) -> Job | None:
    """Take the tenant's due job that a dead worker left, or else the one that has been due longest; None without any."""
    only = _OF_LANE[lane]
    row = tx.row(
        "UPDATE jobs SET state = 'running', attempts = attempts + 1, started_at = now(), "
        "lease_until = now() + make_interval(secs => :lease) WHERE tenant_id = :tenant AND id = coalesce("
        f"(SELECT id FROM jobs WHERE tenant_id = :tenant AND state = 'running'{only} AND lease_until <= now() "
        " ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED), "
        f"(SELECT id FROM jobs WHERE tenant_id = :tenant AND state = 'queued'{only} AND run_after <= now() "
        f" ORDER BY run_after, id LIMIT 1 FOR UPDATE SKIP LOCKED)) RETURNING {_COLUMNS}",
        lease=lease_s,
    )
    return None if row is None else Job(**row)


# Who claimed a job holds it while it runs and nobody else has claimed it since; the time of the claim tells (a number of
# attempts would not: a retry forgives them). Every statement below asks for that, so one who lost the job (cancelled, or
# thought dead) cannot end it, and what it would save can be rolled back.
_OURS = "WHERE tenant_id = :tenant AND id = :id AND state = 'running' AND started_at = :claimed"


def held(tx: Transaction, job: Job, *, lock: bool = False) -> bool:
    """Whether the claim still stands. With `lock` it stands until the transaction ends."""
    suffix = " FOR UPDATE" if lock else ""
    return tx.row(f"SELECT 1 AS ours FROM jobs {_OURS}{suffix}", id=job.id, claimed=job.started_at) is not None


def renew(tx: Transaction, job: Job, lease_s: float, progress: dict[str, Any] | None) -> bool:
    """Extend the lease and note the progress; whether the claim still stands."""
    return bool(
        tx.run(
            "UPDATE jobs SET lease_until = now() + make_interval(secs => :lease), "
            f"progress = coalesce(CAST(:progress AS jsonb), progress) {_OURS}",
            id=job.id,
            claimed=job.started_at,
            lease=lease_s,
            progress=None if progress is None else json.dumps(progress),
        )
    )


def succeed(tx: Transaction, job: Job, result: dict[str, Any], revision: int | None = None) -> bool:
    """Whether the claim still stood."""
    return bool(
        tx.run(
            "UPDATE jobs SET state = 'succeeded', result = CAST(:result AS jsonb), revision = :revision, error = NULL, "
            f"finished_at = now(), lease_until = NULL {_OURS}",
            id=job.id,
            claimed=job.started_at,
            result=json.dumps(result),
            revision=revision,
        )
    )


def fail(tx: Transaction, job: Job, error: dict[str, Any], retry_in_s: float | None) -> bool:
    """Back into the queue after `retry_in_s`, or for good when that is None; whether the claim still stood."""
    return bool(
        tx.run(
            "UPDATE jobs SET state = CASE WHEN CAST(:again AS double precision) IS NULL THEN 'failed' ELSE 'queued' END, "
            "error = CAST(:error AS jsonb), lease_until = NULL, dedup_key = NULL, "
            "run_after = now() + make_interval(secs => coalesce(CAST(:again AS double precision), 0)), "
            f"finished_at = CASE WHEN CAST(:again AS double precision) IS NULL THEN now() END {_OURS}",
            id=job.id,
            claimed=job.started_at,
            error=json.dumps(error),
            again=retry_in_s,
        )
    )


def hand_back(tx: Transaction, job: Job) -> bool:
    """Due again at once, as if it had never been claimed; whether the claim still stood."""
    stood = bool(
        tx.run(
            "UPDATE jobs SET state = 'queued', attempts = attempts - 1, started_at = NULL, lease_until = NULL, "
            f"dedup_key = NULL, run_after = now() {_OURS}",
            id=job.id,
            claimed=job.started_at,
        )
    )
    if stood:
        tx.nudge(job.id, job.kind)
    return stood


def purge(tx: Transaction, before: datetime) -> int:
    """Forget jobs that ended well, or were cancelled, before that time. Failed ones stay until someone has looked."""
    return tx.run(
        "DELETE FROM jobs WHERE tenant_id = :tenant AND state IN ('succeeded', 'cancelled') AND finished_at < :before",
        before=before,
    )
