"""A worker: its tasks, and what each of its processes holds. Importing this module builds nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown, worker_shutting_down

from memos.observing import configure_logging
from memos.services import stopping
from memos.services.attempt import LEASE_S, Handler
from memos.services.work import HANDLERS
from memos.settings import Settings
from memos.tracing import configure_tracing, stop_tracing
from memos.wiring import WORKER_POOL_SIZE, App, build_app
from workers import tasks
from workers.messaging import broker_url, leave_logging_alone, make_celery
from workers.nudging import celery_nudger


class Process:
    """What one worker process holds: built after the fork, because connections and models do not survive one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: App | None = None

    @property
    def app(self) -> App:
        if self._app is None:
            self.open()
        assert self._app is not None  # noqa: S101 - just opened
        return self._app

    def open(self, **_: Any) -> None:
        configure_logging(self._settings, process="worker")
        configure_tracing("worker")
        url = broker_url(self._settings)
        self._app = build_app(
            # What jobs promise is the work itself: it is never refused, only what callers add to it is.
            self._settings.model_copy(update={"pool_size": WORKER_POOL_SIZE, "max_queued_jobs": 0}),
            nudger=celery_nudger(make_celery(url)),
            application_name="memos-worker",
        )

    def close(self, **_: Any) -> None:
        if self._app is not None:
            self._app.close()
        stop_tracing()


def make_worker(settings: Settings, handlers: Mapping[str, Handler] = HANDLERS, lease_s: float = LEASE_S) -> Celery:
    """The app of a worker, with its tasks; each process it forks opens an `App` of its own. `handlers` are what jobs of
    each kind run, and a dead worker's job is due again after `lease_s` (a drill adds a kind, and has less patience)."""
    leave_logging_alone()
    celery = make_celery(broker_url(settings))
    process = Process(settings)
    # Shared with the processes to be forked: they are not told of signals that reach their parent.
    ending = multiprocessing.Event()
    stopping.watch(ending.is_set)
    worker_shutting_down.connect(lambda **_: ending.set(), weak=False)
    worker_process_init.connect(process.open, weak=False)
    worker_process_shutdown.connect(process.close, weak=False)
    tasks.register(celery, lambda: process.app, handlers, lease_s)
    return celery
