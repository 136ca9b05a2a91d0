"""What the job drill stands on: embedded servers, a worker and a beat, each of which can be killed and brought back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
from pydantic import SecretStr

from benchmarks.processes import stop_processes
from benchmarks.server import PLACES
from memos.cli.parents import PARENT
from memos.embedded import EmbeddedPostgres, EmbeddedValkey
from memos.encoders.embedder import build_embedder
from memos.rules.access import Principal, new_key
from memos.services.attempt import LEASE_S
from memos.settings import Settings
from memos.store import tenants
from memos.store.schema import migrate
from memos.wiring import App, build_app
from workers.messaging import make_celery
from workers.nudging import celery_nudger

# The drill is about jobs; a model would only make the workers slow to start.
EMBEDDER = "fake:64"
KILLED = ("worker", "broker", "database")


class Ground:
    """Servers in a directory, and the processes that work for them. Made by `ground`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.postgres, self.valkey = EmbeddedPostgres(home), EmbeddedValkey(home)
        self._parts: dict[str, tuple[list[str], subprocess.Popen[bytes]]] = {}
        self._told: dict[str, str] = {}

    def start_parts(self, processes: int, lease_s: float = LEASE_S) -> None:
        """A worker of so many processes, and a beat."""
        self._start("worker", ["-m", "benchmarks.jobs_worker", str(processes), str(lease_s)])
        self._start("beat", ["-m", "memos.cli", "beat"])

    def stop_parts(self) -> None:
        for _, process in self._parts.values():
            stop_processes(_tree(process.pid), grace_s=10)
            process.wait()
        self._parts.clear()

    def kill(self, target: str) -> None:
        """`kill -9` of every process of one of KILLED, all before any can react."""
        pid = {"broker": self.valkey.pid, "database": self.postgres.pid}.get(
            target, lambda: self._parts["worker"][1].pid
        )()
        processes = _tree(pid)
        for act in ("suspend", "kill"):
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    getattr(process, act)()
        psutil.wait_procs(processes, timeout=30)

    def revive(self, target: str) -> None:
        """What the supervisor of `memos serve` does: start what died; tell the parts when a server has moved."""
        if target == "worker":
            self._again("worker")
            return
        (self.valkey if target == "broker" else self.postgres).start()
        if self._addresses() != self._told:
            for name in self._parts:
                self._again(name)

    def connect(self) -> psycopg.Connection:
        url = self.postgres.url().replace("+psycopg", "")
        return psycopg.connect(url, autocommit=True, connect_timeout=2)

    def _start(self, name: str, arguments: list[str]) -> None:
        self._told = self._addresses()
        inherited = {key: value for key, value in os.environ.items() if key not in PLACES}
        told = self._told | {
            "MEMOS_DATA_DIR": str(self.home),
            "MEMOS_EMBEDDER": EMBEDDER,
            "MEMOS_LOG_LEVEL": "ERROR",
            PARENT: str(os.getpid()),
        }
        with (self.home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env=inherited | told,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._parts[name] = (arguments, process)

    def _again(self, name: str) -> None:
        arguments, process = self._parts[name]
        stop_processes(_tree(process.pid), grace_s=5)
        process.wait()
        self._start(name, arguments)

    def _addresses(self) -> dict[str, str]:
        return {"DATABASE_URL": self.postgres.url(), "REDIS_URL": self.valkey.url()}


@contextmanager
def ground() -> Iterator[tuple[Ground, App, Principal]]:
    """Fresh servers, a migrated database, and an app like the API's, which nudges the workers."""
    home = Path(tempfile.mkdtemp(prefix="memos-jobs-")).resolve()
    home.chmod(0o755)  # under root PostgreSQL runs as another user, who must be able to enter
    made = Ground(home)
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, home, ignore_errors=True)
        for server in (made.postgres, made.valkey):
            server.start()
            ending.callback(server.stop)
        ending.callback(made.stop_parts)
        embedder = build_embedder(EMBEDDER, cache_dir=home)
        migrate(made.postgres.url(), embedder.dimensions)
        key = new_key()
        tenants.bootstrap(made.postgres.url(), key)
        app = build_app(
            Settings(
                database_url=SecretStr(made.postgres.url()), redis_url=SecretStr(made.valkey.url()), data_dir=home
            ),
            embedder=embedder,
            nudger=celery_nudger(make_celery(made.valkey.url())),
            application_name="memos-bench",
        )
        ending.callback(app.close)
        yield made, app, app.database.authenticate(key)


def ended(connection: psycopg.Connection) -> int:
    """Jobs that will not run again."""
    row = connection.execute("SELECT count(*) FROM jobs WHERE state NOT IN ('queued', 'running')").fetchone()
    return int(row[0]) if row else 0


def ended_or_none(ground: Ground) -> int | None:
    """The same, or None while there is no database to ask."""
    with suppress(psycopg.OperationalError, OSError), ground.connect() as connection:
        return ended(connection)
    return None


def wait_for(ground: Ground, number: int, patience_s: float) -> float:
    """Seconds until so many jobs have ended. Raises TimeoutError."""
    started = time.monotonic()
    while (found := ended_or_none(ground)) is None or found < number:
        if time.monotonic() - started > patience_s:
            raise TimeoutError(f"after {patience_s:.0f} s {found} of {number} jobs have ended; logs in {ground.home}")
        time.sleep(0.1)
    return time.monotonic() - started


def _tree(pid: int | None) -> list[psutil.Process]:
    if pid is None:
        return []
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
