"""The service under test: one that already runs (MEMOS_URL, MEMOS_KEY), or a fresh one for this run only.

A fresh one is `memos serve` on an empty data directory and a free port, with the owner key preset. It is
ready when /readyz says so. At the end it is asked to stop; whatever of it is left after a grace period is
ended by process id, and the data directory is removed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.processes import service_processes, stop_processes

# The first start migrates, exports the embedding model and starts two servers.
START_TIMEOUT_S = 300.0
# Only this run may decide where its service keeps data: a benchmark must not fill somebody's database.
PLACES = {
    "DATABASE_URL",
    "MEMOS_DATABASE_URL",
    "MEMOS_APP_DATABASE_URL",
    "REDIS_URL",
    "MEMOS_REDIS_URL",
    "MEMOS_DATA_DIR",
}
STOP_GRACE_S = 60.0


class ServerError(RuntimeError):
    """The service did not start; carries the end of its output."""


@dataclass(frozen=True, slots=True)
class Service:
    """Where to send requests. `pid` and `data_dir` are known only for a service that this run started."""

    url: str
    key: str
    pid: int | None = None
    data_dir: Path | None = None

    @property
    def description(self) -> str:
        return f"running at {self.url}" if self.pid is None else "started for this run with an empty data directory"


@contextlib.contextmanager
def open_service(
    *,
    url: str | None = None,
    key: str | None = None,
    serve: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """Yield a service that answers; `serve` replaces the command `memos serve` (tests use it), `environment` adds to
    what a fresh one is started with.

    Raises ServerError when it does not start within START_TIMEOUT_S.
    """
    url = url or os.environ.get("MEMOS_URL")
    if url:
        yield Service(url, key or os.environ.get("MEMOS_KEY", ""))
        return
    # PostgreSQL refuses to run as root, so under root it runs as another user, who must be able to enter the
    # directory.
    home = Path(tempfile.mkdtemp(prefix="memos-bench-")).resolve()
    home.chmod(0o755)
    try:
        with _started(home, serve or [str(_memos_command()), "serve"], environment) as service:
            yield service
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _started(home: Path, serve: Sequence[str], environment: Mapping[str, str] | None) -> Iterator[Service]:
    data_dir = home / "data"
    data_dir.mkdir()
    with served(data_dir, new_key(), serve, environment) as service:
        yield service


def new_key() -> str:
    return f"mk_{secrets.token_urlsafe(32)}"


@contextlib.contextmanager
def served(
    data_dir: Path, key: str, serve: Sequence[str] | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """A service on a data directory, which may hold the memory of an earlier one with the same key.

    Raises ServerError when it does not start within START_TIMEOUT_S.
    """
    serve = serve or [str(_memos_command()), "serve"]
    port, log = _free_port(), data_dir.with_name("serve.log")
    command = [*serve, "--data-dir", str(data_dir), "--port", str(port)]
    inherited = {name: value for name, value in os.environ.items() if name not in PLACES}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env={**inherited, **(environment or {}), "MEMOS_OWNER_KEY": key},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the benchmark, which then stops the service in order.
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, log)
        yield Service(url, key, process.pid, data_dir)
    finally:
        _stop(process, data_dir)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"the service ended with {process.returncode}:\n{_tail(log)}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=5).is_success:
                return
        time.sleep(0.2)
    raise ServerError(f"the service was not ready after {START_TIMEOUT_S:.0f} s:\n{_tail(log)}")


def _stop(process: subprocess.Popen[bytes], data_dir: Path) -> None:
    """An orderly stop first; then whatever still works in the data directory, which is only ours."""
    tree = service_processes(process.pid, data_dir)
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_GRACE_S)
    left = [child for child in tree if child.pid != process.pid and child.is_running()]
    stop_processes(left, grace_s=10)
    if process.poll() is None:
        process.kill()
        process.wait()


def _memos_command() -> Path:
    """The `memos` script beside this interpreter, or the one on PATH."""
    beside = Path(sys.executable).with_name("memos")
    found = str(beside) if beside.exists() else shutil.which("memos")
    if found is None:
        raise ServerError("no `memos` command: run `make install`, or name a running service in MEMOS_URL")
    return Path(found)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]
