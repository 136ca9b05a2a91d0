"""The tasks: ids in, one service call."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import structlog
from celery import Celery

from memos.cache.nudge import not_nudged_lately, taken
from memos.errors import Unavailable
from memos.services import work
from memos.services.remember import utc_now
from memos.wiring import App
from workers.nudging import publisher
from workers.schedule import PLAN, PLAN_CACHES, PURGE, RUN_JOB, SWEEP

# Jobs named by one sweep: what two workers do in a few seconds.
SWEEP_MOST = 1_000
# With this many messages waiting the workers have enough to do. Sending more would only repeat what waits already.
ENOUGH_WAITING = 500
# After a full sweep there is more: look again sooner than the schedule would.
AGAIN_S = 1.0

log = structlog.get_logger("memos.worker")


def register(celery: Celery, app: Callable[[], App]) -> None:
    """Give `celery` its tasks; `app` answers with the parts of the process that asks."""

    @celery.task(name=RUN_JOB)  # type: ignore[untyped-decorator]
    def run_job(tenant_id: str, job_id: str) -> None:
        parts = app()
        taken(parts.redis, UUID(job_id))
        work.run_job(parts, UUID(tenant_id), UUID(job_id))

    @celery.task(name=SWEEP)  # type: ignore[untyped-decorator]
    def sweep() -> None:
        if sweep_once(celery, app()) == SWEEP_MOST:
            celery.send_task(SWEEP, countdown=AGAIN_S, expires=60)

    @celery.task(name=PLAN)  # type: ignore[untyped-decorator]
    def plan() -> None:
        log.info("planned", **work.plan(app().database, utc_now()))

    @celery.task(name=PLAN_CACHES)  # type: ignore[untyped-decorator]
    def plan_caches() -> None:
        if builds := work.plan_caches(app().database):
            log.info("caches_planned", builds=builds)

    @celery.task(name=PURGE)  # type: ignore[untyped-decorator]
    def purge() -> None:
        log.info("purged", **work.purge(app().database, utc_now()))


def sweep_once(celery: Celery, app: App) -> int:
    """Send a message for each due job that nobody was told of lately; how many were due (0 when enough wait already)."""
    redis = app.redis
    assert redis is not None  # noqa: S101 - a worker has a broker
    queue = celery.conf.task_default_queue
    if int(redis.llen(queue)) >= ENOUGH_WAITING:
        return 0
    due = {d.job_id: d for d in work.due(app, SWEEP_MOST)}
    publish = publisher(celery)
    for job_id in not_nudged_lately(redis, due):
        try:
            publish(due[job_id].tenant_id, job_id, due[job_id].kind)
        except Unavailable as error:
            log.warning("broker_unreachable", detail=error.detail, consequence="the next sweep tries again")
            break
    return len(due)
