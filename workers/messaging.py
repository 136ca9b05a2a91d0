"""How messages travel: the Celery app, and nothing that only a worker needs. Importing this module builds nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from memos.errors import Misconfigured
from memos.rules.lanes import Lane
from memos.settings import Settings
from workers.schedule import SCHEDULE

QUEUE = "memos"
QUEUES: Mapping[Lane, str] = {Lane.MAIN: QUEUE, Lane.KV: "memos.kv"}
"""Celery's queue of each lane. What happens by the clock waits in the main one: it only promises jobs."""

# A handler that hangs is interrupted, then killed. Its row says when it is due again; nothing waits for the message.
SOFT_LIMIT_S = 1_800
HARD_LIMIT_S = 1_860
# Longer than any task, or the broker would hand a running one to somebody else. (He would find it claimed.)
VISIBILITY_TIMEOUT_S = HARD_LIMIT_S + 60

# A broker in reach answers within milliseconds. One that does not is left alone: the rows wait, the sweeper finds them.
CONNECT_TIMEOUT_S = 1.0


def make_celery(redis_url: str) -> Celery:
    """An app that can send messages. It connects when it sends."""
    celery = Celery("memos", broker=redis_url, set_as_current=False)
    celery.conf.update(
        broker_transport="workers.broker:Transport",
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        # The row is the promise, the message a hint: acknowledged late, and never requeued by a dying worker.
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_soft_time_limit=SOFT_LIMIT_S,
        task_time_limit=HARD_LIMIT_S,
        # Without the last two, what a dead worker had taken came back only after 89 s (measured).
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            # One try a message: with Celery's own patience (4 s, slept in steps of two) a publisher hung for six seconds
            # per message while the broker was away. Consumers try for ever all the same (below).
            "max_retries": 0,
            "socket_keepalive": True,
            "health_check_interval": 30,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        # A process loads its model before it reports for work; on a busy machine that takes longer than four seconds.
        worker_proc_alive_timeout=120.0,
        timezone="UTC",
        beat_schedule=SCHEDULE,
        # The schedule is short and fixed: nothing to keep between starts.
        beat_scheduler="celery.beat:Scheduler",
        beat_max_loop_interval=5,
    )
    return celery


def broker_url(settings: Settings) -> str:
    """Raises `Misconfigured` when there is none."""
    if settings.redis_url is None:
        raise Misconfigured("no broker: set REDIS_URL, or use 'memos serve', which starts Valkey in its data directory")
    return settings.redis_url.get_secret_value()


def leave_logging_alone() -> None:
    """Keep Celery from setting up logging in this process: `memos.observing` has done so."""
    setup_logging.connect(_nothing, weak=False)


def _nothing(**_: Any) -> None:
    """A listener to `setup_logging` is all it takes."""
