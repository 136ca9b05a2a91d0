"""The parts of a running service, each a process: API, worker, beat.

`api` and `workers` stand above this package, so they are imported by name, at the last moment; and each part imports no
more than it needs, since all of them share one machine's memory.
"""

from __future__ import annotations

import importlib
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from memos.cli.parents import die_with_parent
from memos.observing import configure_logging
from memos.settings import Settings

if TYPE_CHECKING:
    from memos.cache.nudge import Nudger

# Requests that run when the API is told to stop get this long; new ones are refused meanwhile.
GRACE_S = 10


def run_api(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; returns after a graceful shutdown."""
    die_with_parent()
    configure_logging(settings, process="api")
    from memos.wiring import build_app

    uvicorn = importlib.import_module("uvicorn")
    settings = as_app_role(settings)
    app = build_app(settings, nudger=_nudger(settings))
    try:
        config = uvicorn.Config(
            importlib.import_module("api.app").create_app(app),
            host=host,
            port=port,
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http="httptools",
            ws="none",
            lifespan="on",
            access_log=False,  # ours has the route, the key and the request id
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        server = uvicorn.Server(config)
        # uvicorn raises the signal again when it has stopped; the default answer would end us before we close.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _already_stopping)
        server.run()
    finally:
        app.close()
    if not server.started:
        sys.exit(1)


def run_worker(settings: Settings, concurrency: int, **options: Any) -> None:
    """Run jobs until SIGTERM, which lets the running ones end. `options` are those of `workers.app.make_worker`."""
    die_with_parent()
    configure_logging(settings, process="worker")
    # It warns of root because of pickle, which is not accepted here.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    celery = importlib.import_module("workers.app").make_worker(as_app_role(settings), **options)
    worker = celery.Worker(
        pool="prefork",
        concurrency=concurrency,
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


def _already_stopping(_number: int, _frame: Any) -> None:
    """The server has seen it."""
