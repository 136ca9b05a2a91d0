"""`memos serve`: everything from one command, in one data directory, ended as it was begun but backwards.

    lock the directory ─ servers ─ migrate ─ API, worker, beat ─ ready ─ ... ─ stop the parts ─ stop the servers ─ unlock

The parts are processes, so that one may crash, grow or block without the others. Whatever ends this process ends them:
the kernel tells the parts, and the warden stops the servers.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from rich.console import Console

from memos.cli import banner
from memos.cli.listening import bound
from memos.cli.parents import PARENT, die_with_parent
from memos.cli.servers import Servers, require_broker
from memos.cli.supervisor import GaveUp, Supervisor
from memos.cli.warden import Warden
from memos.embedded import default_data_dir
from memos.embedded.locks import try_lock
from memos.errors import Misconfigured
from memos.observing import configure_logging
from memos.settings import Settings

TICK_S = 0.2
LOCK_FILE = "serve.lock"
# A crash of an embedded server is rare and its absence is felt at once, but looking for it costs a millisecond.
REVIVE_EVERY_S = 3.0
# The first start exports the model; on a machine that is busy with other things this takes its time.
READY_WITHIN_S = 300.0
REPLACE = signal.SIGUSR2
"""Sent to `memos serve`: replace the parts by fresh processes, such as those of a version installed meanwhile."""


class _Stop:
    """SIGTERM and SIGINT as a question to ask; the second one means: in a hurry. SIGUSR2 asks for fresh processes."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._replace = threading.Event()
        self.hurry = False
        signal.signal(REPLACE, lambda *_: self._replace.set())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.hurry = self._asked.is_set()
        self._asked.set()

    def replacing(self) -> bool:
        """Whether somebody has asked for fresh processes since the last time."""
        asked = self._replace.is_set()
        self._replace.clear()
        return asked

    def asked(self, wait_s: float = 0.0) -> bool:
        return self._asked.wait(wait_s)


class _Stopped(Exception):
    """Somebody has asked to stop before everything had started."""


def serve(settings: Settings, host: str, port: int) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0 stopped, 1 a part kept failing.

    Raises `Misconfigured` when the directory, the port, or a server cannot be had.
    """
    die_with_parent()
    if "MEMOS_LOG_JSON" not in os.environ and sys.stderr.isatty():
        os.environ["MEMOS_LOG_JSON"] = "false"  # a person is reading, and the parts inherit it
        settings = settings.model_copy(update={"log_json": False})
    configure_logging(settings, process="serve")
    stop, console = _Stop(), Console(highlight=False)
    data_dir = settings.data_dir or default_data_dir()
    _make_directory(data_dir)
    servers = Servers(settings, data_dir)
    with _holding(data_dir, host, port) as listener, Warden(data_dir, [s.name for s in servers.embedded]):
        supervisor, port = None, int(listener.getsockname()[1])
        try:
            with console.status("Starting the servers ..."):
                servers.start()
            known = (data_dir / banner.KEY_FILE).exists()
            with console.status("Preparing database and model ..."):
                _migrate(servers.environment(), stop)
                if settings.redis_url:
                    require_broker(settings.redis_url.get_secret_value())
            supervisor = Supervisor(_of_parts(servers))
            for _ in range(settings.api_processes):
                supervisor.start("api", "--fd", str(listener.fileno()), hands_down=(listener.fileno(),))
            with console.status("Starting the API ..."):
                _wait_until_ready(host, port, supervisor, stop)
            # Now, so that on two cores nobody waits longer for the API; what was promised meanwhile is kept.
            if settings.kv_model is None or settings.worker_metrics is not None:  # two cannot serve one address
                supervisor.start("worker")
            else:
                # A build takes minutes, and what is said meanwhile is to be read meanwhile.
                supervisor.start("worker", "--lane", "main")
                supervisor.start("worker", "--lane", "kv")
            supervisor.start("beat")
            banner.show(console, host, port, data_dir, key=_key_to_show(data_dir, known=known))
            _watch(servers, supervisor, stop)
        except _Stopped:
            pass
        except GaveUp as error:
            console.print(f"[bold red]memos serve gives up:[/] {error.detail}", soft_wrap=True)
            return 1
        finally:
            if supervisor is not None:
                with console.status("Stopping ..."):
                    supervisor.stop(hurry=stop.hurry)
            servers.stop()
    console.print("memos has stopped.")
    return 0


def restart(settings: Settings) -> str:
    """Ask the `memos serve` of a data directory for fresh processes; a sentence about it. Raises `Misconfigured` when
    none runs there."""
    data_dir = settings.data_dir or default_data_dir()
    path = data_dir / LOCK_FILE
    held = try_lock(path) if path.exists() else None
    if held is not None or not path.exists():
        if held is not None:
            os.close(held)
        raise Misconfigured(f"no 'memos serve' is running on {data_dir}")
    found = json.loads(path.read_text(encoding="utf-8"))
    os.kill(int(found["pid"]), REPLACE)
    return (
        f"'memos serve' (process {found['pid']}) replaces its parts one after the other; its log says when it is done."
    )


def _watch(servers: Servers, supervisor: Supervisor, stop: _Stop) -> None:
    looked = time.monotonic()
    while not stop.asked(TICK_S):
        if stop.replacing():
            supervisor.replace()
        supervisor.tick()
        if time.monotonic() - looked >= REVIVE_EVERY_S:
            looked = time.monotonic()
            if servers.revive() and supervisor.environment != (told := _of_parts(servers)):
                supervisor.environment = told  # a server came back under another address
                supervisor.restart()


def _of_parts(servers: Servers) -> dict[str, str]:
    """The parts need no key that opens everything."""
    return {name: value for name, value in servers.environment().items() if name != "MEMOS_OWNER_KEY"}


def _migrate(environment: dict[str, str], stop: _Stop) -> None:
    """In a process of its own: it loads a model, and this one is to stay small."""
    with subprocess.Popen(
        [sys.executable, "-m", "memos.cli", "migrate"],
        env=environment | {PARENT: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as process:
        while True:
            with suppress(subprocess.TimeoutExpired):
                _, said = process.communicate(timeout=TICK_S)
                break
            if stop.asked():
                process.terminate()
                raise _Stopped
    if process.returncode:
        raise Misconfigured(said.strip().removeprefix("memos: ") or f"'memos migrate' ended with {process.returncode}")


def _wait_until_ready(host: str, port: int, supervisor: Supervisor, stop: _Stop) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while (reason := _not_ready(host, port)) is not None:
        if stop.asked(TICK_S):
            raise _Stopped
        supervisor.tick()
        if time.monotonic() > deadline:
            raise GaveUp(f"the API was not ready after {READY_WITHIN_S:.0f} s: {reason}")


def _not_ready(host: str, port: int) -> str | None:
    """Why requests cannot be served yet, or None."""
    connection = http.client.HTTPConnection(banner.reachable_host(host), port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"it does not answer ({type(error).__name__})"
    finally:
        connection.close()
    return None if answer.status == http.HTTPStatus.OK else body.decode("utf-8", "replace")


def _key_to_show(data_dir: Path, *, known: bool) -> str | None:
    """The owner key if this start has made it. One that was preset is known to whoever preset it."""
    path = data_dir / banner.KEY_FILE
    if known or "MEMOS_OWNER_KEY" in os.environ or not path.exists():
        return None
    return path.read_text(encoding="utf-8").strip()


def _make_directory(data_dir: Path) -> None:
    """Private, except to root's servers: they run as another account, which has to pass."""
    mode = 0o755 if os.geteuid() == 0 else 0o700
    try:
        for folder in (*reversed(data_dir.parents), data_dir):
            if not folder.exists():
                folder.mkdir()
                folder.chmod(mode)
    except OSError as error:
        raise Misconfigured(f"{data_dir} cannot be made: {error}. Choose another --data-dir.") from error


@contextmanager
def _holding(data_dir: Path, host: str, port: int) -> Iterator[socket.socket]:
    """The data directory and a port, ours alone; yields its socket. Raises `Misconfigured` naming who has them."""
    path = data_dir / LOCK_FILE
    try:
        held = try_lock(path)
    except OSError as error:
        raise Misconfigured(f"{data_dir} cannot be used: {error}. Choose another --data-dir.") from error
    if held is None:
        raise Misconfigured(_who_holds(path, data_dir))
    try:
        with bound(host, port) as listener:
            port = int(listener.getsockname()[1])
            os.ftruncate(held, 0)
            os.write(held, json.dumps({"pid": os.getpid(), "url": banner.url(host, port)}).encode())
            yield listener
        os.ftruncate(held, 0)
    finally:
        os.close(held)


def _who_holds(path: Path, data_dir: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        who = f"'memos serve' (process {found['pid']}, {found['url']})"
        how = f"Stop it with 'kill {found['pid']}'"
    except (OSError, ValueError, KeyError):
        who, how = "another 'memos serve'", "Stop it"
    return f"{who} is already running on {data_dir}. {how}, or give this one its own --data-dir and --port."
