"""`memos serve` as a person runs it: a process, its output, and what it leaves behind."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.servers import reachable_root

PROJECT = Path(__file__).resolve().parents[2]
# Generous, for machines that are busy with other things: what is asserted is that it happens.
SOON_S = 120.0
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("MEMOS_") and name not in {"DATABASE_URL", "REDIS_URL"}
} | {"PYTHONPATH": str(PROJECT), "MEMOS_EMBEDDER": "fake:64", "OMP_NUM_THREADS": "1"}


def eventually(what: Callable[[], Any], why: str) -> Any:
    deadline = time.monotonic() + SOON_S
    while not (found := what()):
        assert time.monotonic() < deadline, why
        time.sleep(0.05)
    return found


def memos(*arguments: str, within_s: float = SOON_S, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "memos.cli", *arguments],
        env=CLEAN | environment,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


@dataclass
class Serving:
    """A `memos serve` that was started, and is ready once `url` is known."""

    data_dir: Path
    process: subprocess.Popen[bytes]
    out: Path
    url: str = ""
    key: str = field(default="", repr=False)

    def said(self) -> str:
        return self.out.read_text()

    def wait_until_ready(self) -> None:
        def ready() -> re.Match[str] | None:
            assert self.process.poll() is None, self.said() + self.out.with_suffix(".err").read_text()
            return re.search(r"^API +(http://\S+)", self.said(), re.MULTILINE) if "Stop " in self.said() else None

        self.url = eventually(ready, "it never became ready")[1]
        self.key = (self.data_dir / "owner.key").read_text().strip()

    def call(self, method: str, path: str, body: object = None, key: str | None = None) -> Any:
        """The decoded answer; None when it is not a success."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return json.loads(text) if answer.status < 300 else None

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SOON_S)


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """Everything that works for or in a data directory."""
    found = []
    for process in psutil.process_iter():
        try:
            told = process.environ().get("MEMOS_DATA_DIR") == str(data_dir)
            mine = str(data_dir) in process.cmdline() or Path(process.cwd()).is_relative_to(data_dir)
            if (told or mine) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with reachable_root() as path:
        yield path


@pytest.fixture
def serve(root: Path) -> Iterator[Callable[..., Serving]]:
    """Start `memos serve` on `root/data`; whatever is left of it is ended."""
    started: list[Serving] = []

    def start(folder: str = "data", **environment: str) -> Serving:
        out = root / f"serve-{time.monotonic_ns()}.out"
        with out.open("wb") as stdout, out.with_suffix(".err").open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "memos.cli", "serve", "--port", "0", "--data-dir", str(root / folder)],
                env=CLEAN | environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        started.append(Serving(root / folder, process, out))
        return started[-1]

    yield start
    for serving in started:
        if serving.process.poll() is None:
            serving.process.kill()
        serving.process.wait()
    for folder in {serving.data_dir for serving in started}:
        eventually(lambda folder=folder: not processes_of(folder), "something outlived memos serve")
