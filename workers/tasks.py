"""The tasks: ids in, one service call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from celery import Celery, Task

from memos.errors import Unavailable
from memos.rules.lanes import Lane
from memos.services import work
from memos.services.attempt import LEASE_S, Handler
from memos.services.remember import utc_now
from memos.wiring import App
from workers.messaging import QUEUES
from workers.nudging import publisher
from workers.schedule import PLAN, PLAN_CACHES, PURGE, RUN_JOB, SWEEP

# With this many messages waiting the workers have enough to do for a second or two; more would only stand in the way of
# other messages.
ENOUGH_WAITING = 500
# After a full sweep there is more: look again sooner than the schedule would.
AGAIN_S = 1.0

log = structlog.get_logger("memos.worker")


def register(
    celery: Celery,
    app: Callable[[], App],
    handlers: Mapping[str, Handler] = work.HANDLERS,
    lease_s: float = LEASE_S,
) -> None:
    """Give `celery` its tasks; `app` answers with the parts of the process that asks."""

    @celery.task(name=RUN_JOB, bind=True)  # type: ignore[untyped-decorator]
    def run_job(self: Task, _tenant_id: str, _job_id: str) -> None:
        # A message says that there is work in its lane; whose turn it is, the rows say. Else a hundred thousand messages of
        # one tenant would have to be taken before the next tenant's first.
        work.run_next(app(), lane=_lane(self.request.delivery_info), handlers=handlers, lease_s=lease_s)

    @celery.task(name=SWEEP)  # type: ignore[untyped-decorator]
    def sweep() -> None:
        if sweep_once(celery, app()) >= ENOUGH_WAITING:
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
    """See to it that as many messages wait in each lane as jobs of it are due, up to `ENOUGH_WAITING`; how many are due.

    Any message will do for any job of its lane, so only their number matters: what a broker lost, or workers took while the
    database was away, is made good by the next sweep.
    """
    redis = app.redis
    assert redis is not None  # noqa: S101 - a worker has a broker
    publish = publisher(celery)
    found = 0
    for lane, queue in QUEUES.items():
        waiting = int(redis.llen(queue))
        due = work.due(app, ENOUGH_WAITING, lane)
        found += len(due)
        for missing in due[waiting:]:
            try:
                publish(missing.tenant_id, missing.job_id, missing.kind)
            except Unavailable as error:
                log.warning("broker_unreachable", detail=error.detail, consequence="the next sweep tries again")
                return found
    return found


def _lane(delivery: Mapping[str, Any] | None) -> Lane:
    """Of the queue a message came through."""
    came_through = (delivery or {}).get("routing_key")
    return next((lane for lane, queue in QUEUES.items() if queue == came_through), Lane.MAIN)
