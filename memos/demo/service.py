"""The service the demo talks to: a running one, or a fresh one in an empty directory, gone when the demo ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from memos.cli.parents import PARENT
from memos.embedded import default_data_dir
from memos.encoders.kv_engines import SMOLLM2
from memos.errors import Misconfigured, Unavailable
from memos.rules.access import new_key

START_WITHIN_S = 180.0
STOP_WITHIN_S = 60.0
# A demo decides for itself where its service keeps data: not in somebody's database.
_PLACES = {
    "DATABASE_URL",
    "REDIS_URL",
    "MEMOS_DATABASE_URL",
    "MEMOS_REDIS_URL",
    "MEMOS_APP_DATABASE_URL",
    "MEMOS_DATA_DIR",
}


@dataclass(frozen=True, slots=True)
class Service:
    url: str
    key: str


def running(url: str, key: str | None) -> Service:
    """Raises `Misconfigured` without a key."""
    if not key:
        raise Misconfigured("a running service needs a key: give --key, or set MEMOS_KEY")
    return Service(url.rstrip("/"), key)


def model_dir() -> Path:
    """Where built models are kept between demos; where `memos serve` keeps them, unless MEMOS_MODEL_DIR says else."""
    named = os.environ.get("MEMOS_MODEL_DIR")
    return Path(named).resolve() if named else default_data_dir() / "models"


@contextmanager
def fresh() -> Iterator[Service]:
    """`memos serve` in an empty directory, ready to answer. Raises `Unavailable` with its last words if it is not."""
    with tempfile.TemporaryDirectory(prefix="memos-demo-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)  # root's servers run as another account, which has to pass
        service = Service(f"http://127.0.0.1:{_free_port()}", new_key())
        log = home / "serve.log"
        with log.open("wb") as output:
            process = _start(service, home / "data", output.fileno())
        try:
            _wait_until_ready(service, process, log)
            yield service
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_WITHIN_S)
            process.kill()


def _start(service: Service, data_dir: Path, output: int) -> subprocess.Popen[bytes]:
    inherited = {name: value for name, value in os.environ.items() if name not in _PLACES}
    port = service.url.rpartition(":")[2]
    return subprocess.Popen(
        [sys.executable, "-m", "memos.cli", "serve", "--port", port, "--data-dir", str(data_dir)],
        env={
            **inherited,
            "MEMOS_OWNER_KEY": service.key,
            "MEMOS_KV_MODEL": SMOLLM2,
            "MEMOS_MODEL_DIR": str(model_dir()),
            PARENT: str(os.getpid()),
        },
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,  # Ctrl-C reaches the demo, which then stops the service
    )


def _wait_until_ready(service: Service, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with suppress(httpx.TransportError):
            if httpx.get(f"{service.url}/readyz", timeout=5).is_success:
                return
        time.sleep(0.1)
    raise Unavailable(f"the service did not start:\n{log.read_text(errors='replace')[-2_000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
