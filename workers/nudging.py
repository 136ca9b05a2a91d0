"""Nudges by Celery: the only way a message about a job leaves this service."""

from __future__ import annotations

from uuid import UUID

from celery import Celery
from kombu.exceptions import OperationalError

from memos.cache.nudge import BackgroundNudger, Publish
from memos.errors import Unavailable
from memos.rules.lanes import lane_of
from workers.messaging import QUEUES
from workers.schedule import RUN_JOB


def celery_nudger(celery: Celery) -> BackgroundNudger:
    """A nudger that publishes from a thread of its own, for the API and for workers whose jobs promise more jobs."""
    return BackgroundNudger(publisher(celery))


def publisher(celery: Celery) -> Publish:
    """Sends one message about one job; raises `Unavailable` at once when the broker does not answer."""

    def publish(tenant_id: UUID, job_id: UUID, kind: str) -> None:
        try:
            queue = QUEUES[lane_of(kind)]
            celery.send_task(RUN_JOB, [str(tenant_id), str(job_id)], headers={"kind": kind}, queue=queue, retry=False)
        except OperationalError as error:
            raise Unavailable(f"the broker does not answer: {error}") from error

    return publish
