"""The parts of a running service, each a process: API, worker, beat.

`api` and `workers` stand above this package, so they are imported by name, at the last moment; and each part imports no
more than it needs, since all of them share one machine's memory.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from memos.cli.parents import die_with_parent
from memos.observing import configure_logging
from memos.rules.lanes import Lane
from memos.settings import Settings

if TYPE_CHECKING:
    from memos.cache.nudge import Nudger


def run_api(settings: Settings, host: str, port: int, fd: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT; returns after a graceful shutdown. `fd` is a bound socket that was handed down."""
    die_with_parent()
    configure_logging(settings, process="api")
    from memos.tracing import configure_tracing, stop_tracing
    from memos.wiring import build_app

    configure_tracing("api")

    settings = as_app_role(settings)
    app = build_app(settings, nudger=_nudger(settings))
    try:
        api = importlib.import_module("api.app").create_app(app)
        server = importlib.import_module("api.server")
        started = server.run(api, host=host, port=port, fd=fd, drain_s=settings.drain_s)
    finally:
        app.close()
        stop_tracing()
    if not started:
        sys.exit(1)


def run_worker(settings: Settings, concurrency: int, lanes: Collection[Lane] = tuple(Lane), **options: Any) -> None:
    """Run jobs of those lanes until SIGTERM, which lets the running ones end. `options` are those of
    `workers.app.make_worker`."""
    die_with_parent()
    configure_logging(settings, process="worker")
    # It warns of root because of pickle, which is not accepted here.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    if settings.worker_metrics is not None:
        from memos.cli.worker_metrics import serve_worker_metrics

        serve_worker_metrics(settings.worker_metrics)
    celery = importlib.import_module("workers.app").make_worker(as_app_role(settings), **options)
    queues = importlib.import_module("workers.messaging").QUEUES
    worker = celery.Worker(
        pool="prefork",
        concurrency=concurrency,
        queues=[queues[lane] for lane in dict.fromkeys(lanes)],
        quiet=True,
        loglevel=settings.log_level,
        without_gossip=True,  # workers need not know one another: the database deals the jobs
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


def run_beat(settings: Settings) -> None:
    """Send the periodic messages until SIGTERM."""
    die_with_parent()
    configure_logging(settings, process="beat")
    messaging = importlib.import_module("workers.messaging")
    messaging.leave_logging_alone()
    celery = messaging.make_celery(messaging.broker_url(settings))
    celery.Beat(quiet=True, loglevel=settings.log_level).run()


def as_app_role(settings: Settings) -> Settings:
    """The same without the owner's login: what answers requests must not be able to change the schema."""
    from memos.wiring import login_url

    return settings.model_copy(
        update={"app_database_url": SecretStr(login_url(settings)), "database_url": None, "owner_key": None}
    )


def _nudger(settings: Settings) -> Nudger | None:
    """The sender of messages about new jobs; without a broker they wait for the sweeper."""
    if settings.redis_url is None:
        return None
    messaging = importlib.import_module("workers.messaging")
    nudging = importlib.import_module("workers.nudging")
    nudger: Nudger = nudging.celery_nudger(messaging.make_celery(messaging.broker_url(settings)))
    return nudger
