"""A drill: four writers, and `kill -9` of every process of the service at once, again and again on one data directory.

After each restart everything that was acknowledged must be there, revision numbers must have no gaps or doubles, and
`memos doctor` must find nothing wrong with any hash. An unacknowledged write may be there or not, but never in half.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.client import ApiError, MemosClient
from benchmarks.options import parser, settings_of
from benchmarks.processes import service_processes
from benchmarks.report import Report, progress
from benchmarks.server import PLACES, Service, new_key, served

WRITERS = 4
BATCH = 3


@dataclass(slots=True)
class Ledger:
    """What the service has promised: the external ids of every acknowledged message, by cube."""

    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, cube: str, external_ids: Sequence[str]) -> None:
        with self.lock:
            self.acknowledged.setdefault(cube, set()).update(external_ids)


@dataclass(frozen=True, slots=True)
class Round:
    acknowledged: int
    found: int
    lost: int
    torn: int
    revisions: int
    gaps: int
    doctor: int
    restart_s: float


def main(argv: Sequence[str]) -> int:
    made = parser("crash", __doc__)
    made.add_argument("--rounds", type=int, default=10, metavar="N")
    made.add_argument(
        "--seconds", type=float, default=3.0, metavar="S", help="how long the writers run before each kill"
    )
    arguments = made.parse_args(argv)
    report = Report("crash", settings=settings_of(arguments), out_dir=arguments.out)
    rounds = drill(arguments.rounds, arguments.seconds)
    columns = ("round", "acknowledged", "found", "lost", "torn", "revisions", "gaps", "doctor", "restart")
    report.table(
        "kill -9 of everything under four writers",
        columns,
        [
            (str(n), *(str(v) for v in (r.acknowledged, r.found, r.lost, r.torn, r.revisions, r.gaps)),
             "ok" if r.doctor == 0 else f"exit {r.doctor}", f"{r.restart_s:.1f} s")
            for n, r in enumerate(rounds, 1)
        ],
    )  # fmt: skip
    for name in ("lost", "torn", "gaps", "doctor"):
        report.goal(f"{name}, all rounds", sum(getattr(r, name) for r in rounds), "<=", 0)
    report.finish()
    return 0 if all(not (r.lost or r.torn or r.gaps or r.doctor) for r in rounds) else 1


def drill(rounds: int, seconds: float, serve: Sequence[str] | None = None) -> list[Round]:
    """Run the drill; `serve` replaces the command `memos serve` (tests use a smaller model)."""
    home = Path(tempfile.mkdtemp(prefix="memos-crash-")).resolve()
    home.chmod(0o755)
    data_dir, key, ledger = home / "data", new_key(), Ledger()
    data_dir.mkdir()
    done: list[Round] = []
    try:
        with progress("Killing and restarting", rounds) as step:
            with served(data_dir, key, serve) as service:
                _prepare(service)
                _write_and_kill(service, ledger, seconds, 0)
            for number in range(1, rounds + 1):
                started = time.monotonic()
                with served(data_dir, key, serve) as service:
                    restart_s = time.monotonic() - started
                    done.append(_inspect(service, ledger, restart_s))
                    if number < rounds:
                        _write_and_kill(service, ledger, seconds, number)
                step()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return done


def _prepare(service: Service) -> None:
    client = MemosClient(service.url, service.key)
    for cube in ("shared", "quiet"):
        client.call("POST", "/v1/cubes", {"name": cube})


def _write_and_kill(service: Service, ledger: Ledger, seconds: float, number: int) -> None:
    threads = [
        threading.Thread(target=_writer, args=(service, ledger, f"{number}-{writer}", "shared" if writer else "quiet"))
        for writer in range(WRITERS)
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds * random.uniform(0.7, 1.3))
    processes = service_processes(service.pid, service.data_dir)
    # All of them before any can react to the end of another.
    for process in processes:
        process.suspend()
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=30)
    for thread in threads:
        thread.join()


def _writer(service: Service, ledger: Ledger, name: str, cube: str) -> None:
    client = MemosClient(service.url, service.key, timeout_s=10)
    for batch in range(1_000_000):
        ids = [f"{name}-{batch}-{i}" for i in range(BATCH)]
        messages = [{"role": "user", "content": f"note {i} of writer {name}", "external_id": i} for i in ids]
        try:
            client.add_messages(cube, f"session-{name}", messages)
        except (httpx.TransportError, ApiError):
            return  # Killed under us: not acknowledged.
        ledger.note(cube, ids)


def _inspect(service: Service, ledger: Ledger, restart_s: float) -> Round:
    client = MemosClient(service.url, service.key)
    found = lost = torn = revisions = gaps = 0
    for cube, acknowledged in ledger.acknowledged.items():
        stored = _external_ids(client, cube)
        found += len(stored)
        lost += len(acknowledged - stored)
        batches: dict[str, int] = {}
        for external_id in stored:
            batch = external_id.rsplit("-", 1)[0]
            batches[batch] = batches.get(batch, 0) + 1
        torn += sum(count != BATCH for count in batches.values())
        numbers = _revision_numbers(client, cube)
        revisions += len(numbers)
        gaps += sorted(numbers) != list(range(1, len(numbers) + 1))
    promised = sum(len(ids) for ids in ledger.acknowledged.values())
    return Round(promised, found, lost, torn, revisions, gaps, _doctor(service), restart_s)


def _external_ids(client: MemosClient, cube: str) -> set[str]:
    return {m["external_id"] for m in _pages(client, f"/v1/cubes/{cube}/memories?limit=200&kind=turn")}


def _revision_numbers(client: MemosClient, cube: str) -> list[int]:
    return [r["revision"] for r in _pages(client, f"/v1/cubes/{cube}/revisions?limit=200")]


def _pages(client: MemosClient, path: str) -> list[dict[str, Any]]:
    items, cursor = [], ""
    while True:
        page = client.call("GET", f"{path}&cursor={cursor}" if cursor else path)
        items += page["items"]
        cursor = page["next_cursor"]
        if not cursor:
            return items


def _doctor(service: Service) -> int:
    """The exit code of `memos doctor` on the service's data directory."""
    environment = {name: value for name, value in os.environ.items() if name not in PLACES}
    return subprocess.run(
        [sys.executable, "-m", "memos.cli", "doctor", "--data-dir", str(service.data_dir), "--json"],
        env=environment,
        capture_output=True,
        check=False,
    ).returncode
