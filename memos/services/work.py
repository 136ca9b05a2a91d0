"""Work: what the workers do. Run a job by its id, find the due ones, throw away what has served its time.

A job is a row first; a message that names it is only a hint. So everything here may be called at any time, any number of
times, by any number of processes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from memos.errors import MemosError, TooBusy, Unavailable
from memos.metering import meters
from memos.rules.backoff import MOST_ATTEMPTS, Failure, retry_in_s
from memos.rules.lanes import Lane
from memos.services import (
    consolidate,
    deliver,
    erase,
    extract,
    forget,
    indexing,
    kv_build,
    kv_calibrate,
    kv_evict,
    kv_gc,
    kv_promote,
    kv_verify,
    promote,
    reembed,
    relating,
    retain,
    wake,
)
from memos.services.attempt import LEASE_S, Attempt, HandedBack, Handler, Interrupted, Outcome, Parts
from memos.store import decisions, events, idempotency, jobs, traces, webhooks
from memos.store.engine import Database
from memos.store.jobs import Due, Job
from memos.tracing import span

HANDLERS: Mapping[str, Handler] = {
    "consolidate": consolidate.consolidate,
    "decay": forget.decay,
    "deliver": deliver.deliver,
    "erase": erase.erase,
    "extract": extract.extract,
    "index": indexing.index,
    "kv.build": kv_build.build,
    "kv.calibrate": kv_calibrate.calibrate,
    "kv.evict": kv_evict.evict,
    "kv.gc": kv_gc.gc,
    "kv.promote": kv_promote.promote,
    "kv.verify": kv_verify.verify,
    "promote": promote.promote,
    "relate": relating.relate,
    "reembed": reembed.reembed,
    "retain": retain.retain,
    "wake": wake.wake,
}
"""What each kind of job runs. Adding a kind is adding a line."""

PLANS: Mapping[str, Callable[[Database, UUID, datetime], int]] = {
    "consolidate": consolidate.plan,
    "decay": forget.plan,
    "kv": kv_promote.plan,
    "promote": promote.plan,
    "relate": relating.plan,
    "retain": retain.plan,
}
"""Work that nobody asks for: each promises the jobs of one tenant that are due by the clock, and says how many."""

KEEP_ANSWERS = timedelta(hours=48)
"""How long a request may be repeated under its Idempotency-Key and get its first answer."""
KEEP_JOBS = timedelta(days=7)
"""How long a job that ended well can be looked up."""
KEEP_TRACES = timedelta(days=7)
"""How long an answer can be looked into and replayed."""

KEEP_DECISIONS = timedelta(days=180)
"""How long it can be looked up why a worker did what it did."""
KEEP_EVENTS = timedelta(days=7)
"""How long a feed can be taken up again where it was left."""
KEEP_DELIVERIES = timedelta(days=30)
"""How long it can be looked up what a webhook was told, and told again."""

_MOST_DETAIL = 500  # characters: an error is for reading

log = structlog.get_logger("memos.jobs")


# Tenants asked for a job in turn, before a worker believes that others have taken everything.
_TURNS = 8


def run_job(
    parts: Parts, tenant_id: UUID, job_id: UUID, *, handlers: Mapping[str, Handler] = HANDLERS, lease_s: float = LEASE_S
) -> str | None:
    """Claim the job, run its handler, keep the outcome. The state it ended in, or None when it was not to be had.

    Raises only when the database cannot even take down the failure: then the lease runs out and the job is due again.
    """
    with parts.database.transaction(tenant_id) as tx:
        job = jobs.claim(tx, job_id, lease_s)
    return None if job is None else _run(parts, tenant_id, job, handlers, lease_s)


def run_next(
    parts: Parts,
    *,
    lane: Lane | None = None,
    handlers: Mapping[str, Handler] = HANDLERS,
    lease_s: float = LEASE_S,
) -> str | None:
    """Claim a due job (of the lane) of the tenant whose turn it is, and run it; None when nothing is due. Raises as
    `run_job` does."""
    for tenant_id in jobs.turns(parts.database, _TURNS, lane):
        with parts.database.transaction(tenant_id) as tx:
            job = jobs.claim_next(tx, lease_s, lane)
        if job is not None:
            return _run(parts, tenant_id, job, handlers, lease_s)
    return None


def _run(parts: Parts, tenant_id: UUID, job: Job, handlers: Mapping[str, Handler], lease_s: float) -> str:
    started = time.perf_counter()
    attempt = Attempt(parts, tenant_id, job, lease_s=lease_s)
    with structlog.contextvars.bound_contextvars(
        job_id=str(job.id), kind=job.kind, tenant=str(tenant_id), attempt=job.attempts
    ):
        with span("job", kind=job.kind, job_id=str(job.id), tenant=str(tenant_id), attempt=job.attempts):
            state = _settle(attempt, handlers)
        elapsed_s = time.perf_counter() - started
        meters().jobs.labels(job.kind if job.kind in handlers else "other", state).observe(elapsed_s)
        log.info("job", state=state, took_ms=round(elapsed_s * 1_000, 2))
    return state


def due(parts: Parts, most: int, lane: Lane | None = None) -> list[Due]:
    """Up to `most` jobs (of the lane) that should run now, tenants taking turns."""
    return jobs.due(parts.database, most, lane)


def plan(database: Database, now: datetime) -> dict[str, int]:
    """Promise what is due by the clock, tenant by tenant; how many jobs of each kind. They run in turns like any others."""
    promised = dict.fromkeys(PLANS, 0)
    for tenant_id in jobs.tenant_ids(database):
        for kind, due_of in PLANS.items():
            promised[kind] += due_of(database, tenant_id, now)
    return promised


def plan_caches(database: Database) -> int:
    """Promise builds of caches whose memories have changed, tenant by tenant; how many."""
    return sum(kv_promote.tick(database, tenant_id) for tenant_id in jobs.tenant_ids(database))


def purge(database: Database, now: datetime) -> dict[str, int]:
    """Forget answers kept for repeats, jobs that ended well, traces, decisions, events and deliveries, past their
    time. How many rows of each went."""
    gone = {"answers": 0, "jobs": 0, "traces": 0, "decisions": 0, "events": 0, "deliveries": 0}
    for tenant_id in jobs.tenant_ids(database):
        with database.transaction(tenant_id) as tx:
            gone["answers"] += idempotency.purge(tx, now - KEEP_ANSWERS)
            gone["jobs"] += jobs.purge(tx, now - KEEP_JOBS)
            gone["traces"] += traces.purge(tx, now - KEEP_TRACES)
            gone["decisions"] += decisions.purge(tx, now - KEEP_DECISIONS)
            gone["events"] += events.purge(tx, now - KEEP_EVENTS)
            gone["deliveries"] += webhooks.purge(tx, now - KEEP_DELIVERIES)
    return gone


# ---------------------------------------------------------------- one attempt


def _settle(attempt: Attempt, handlers: Mapping[str, Handler]) -> str:
    """Run the handler and write down how it ended."""
    job = attempt.job
    if job.attempts > max(MOST_ATTEMPTS.values()):
        # Whoever claimed it before never came back to say why.
        return _give_up(attempt, {"code": "worker_lost", "detail": "the worker died each time it ran this job"})
    handler = handlers.get(job.kind)
    if handler is None:
        return _give_up(attempt, {"code": "unknown_kind", "detail": f"no worker knows jobs of kind {job.kind!r}"})
    try:
        with attempt.keeping_lease():
            outcome = handler(attempt)
            if not attempt.finished:
                _succeed(attempt, outcome)
    except Interrupted:
        return "interrupted"
    except HandedBack:
        return _hand_back(attempt)
    except Exception as error:  # noqa: BLE001 - the edge of a job: any defect of a handler ends here, as its error
        return _fail(attempt, error)
    return "succeeded"


def _succeed(attempt: Attempt, outcome: Outcome) -> None:
    with attempt.saving() as tx:
        attempt.finish(tx, outcome.result, outcome.revision)


def _hand_back(attempt: Attempt) -> str:
    with attempt.parts.database.transaction(attempt.tenant_id) as tx:
        return "handed_back" if jobs.hand_back(tx, attempt.job) else "interrupted"


def _fail(attempt: Attempt, error: Exception) -> str:
    failure = kind_of_failure(error)
    wait_s = retry_in_s(failure, attempt.job.attempts, random.random())  # noqa: S311 - jitter, not a secret
    if wait_s is not None and isinstance(error, TooBusy):
        wait_s = max(wait_s, float(error.retry_after_s))
    report = {**_described(error), "failure": failure.value, "attempt": attempt.job.attempts}
    level = "error" if failure is Failure.UNEXPECTED else "warning"
    getattr(log, level)("job_failed", **report, retry_in_s=wait_s, exc_info=error if level == "error" else None)
    return _note(attempt, report, wait_s)


def _give_up(attempt: Attempt, report: dict[str, Any]) -> str:
    log.error("job_failed", **report)
    return _note(attempt, {**report, "failure": Failure.PERMANENT.value, "attempt": attempt.job.attempts}, None)


def _note(attempt: Attempt, report: dict[str, Any], wait_s: float | None) -> str:
    with attempt.parts.database.transaction(attempt.tenant_id) as tx:
        if not jobs.fail(tx, attempt.job, report, wait_s):
            return "interrupted"
        if wait_s is None:
            attempt.tell(tx, "job.failed", code=report["code"])
    return "failed" if wait_s is None else "queued"


def kind_of_failure(error: Exception) -> Failure:
    """Whether trying again can help."""
    match error:
        case (
            Unavailable()
            | TooBusy()
            | OperationalError()
            | InterfaceError()
            | PoolTimeout()
            | ConnectionError()
            | TimeoutError()
        ):
            return Failure.TRANSIENT
        case MemosError() if error.status < 500:
            return Failure.PERMANENT
        case _:
            return Failure.UNEXPECTED


def _described(error: Exception) -> dict[str, Any]:
    """What may be kept of an error: of ours the sentence, of others only the kind, for their text may quote a memory."""
    if isinstance(error, MemosError):
        return {"code": error.code, "detail": error.detail[:_MOST_DETAIL]}
    described = {"code": "internal_error", "detail": type(error).__name__}
    if isinstance(error, DBAPIError):
        described |= {"code": "database_error", "detail": type(error.orig).__name__}
    return described
