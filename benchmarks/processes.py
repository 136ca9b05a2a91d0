"""What the service costs in memory: the peak, over a run, of each kind of process it consists of.

PostgreSQL and Valkey are recognised by name; the rest of the tree of `memos serve` by what its command line
runs. The embedded servers may have left the tree (a daemon's parent is process 1), so processes whose working
directory lies under the data directory count too. RSS counts a shared page in every process that maps it,
which for PostgreSQL means its buffers many times over; PSS divides such pages by the number of their users,
so the sum is true.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

MIB = 2**20

# The part is what follows the program on its command line; these are reported under another name than their own.
PARTS = {"api": "api", "worker": "worker", "beat": "beat", "serve": "supervisor"}


@dataclass(frozen=True, slots=True)
class Usage:
    """Peaks in MiB, each sum taken over all processes of one kind at one moment."""

    processes: int
    rss_mib: float
    pss_mib: float | None


class MemoryWatch:
    """Samples in a thread while open; `peaks` maps api, worker, beat, supervisor, warden, postgres and valkey to a Usage."""

    def __init__(self, pid: int | None, data_dir: Path | None, *, every_s: float = 5.0) -> None:
        self._pid = pid
        self._data_dir = data_dir
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)
        self.peaks: dict[str, Usage] = {}

    def __enter__(self) -> Self:
        if self._pid is not None:
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._sample()
            if self._stop.wait(self._every_s):
                return

    def _sample(self) -> None:
        sums: dict[str, list[tuple[float, float | None]]] = defaultdict(list)
        for process in service_processes(self._pid, self._data_dir):
            try:
                sums[kind_of(process.name(), process.cmdline())].append(_memory_mib(process))
            except psutil.Error:
                continue  # It ended between being listed and being asked.
        for kind, samples in sums.items():
            shares = [pss for _, pss in samples if pss is not None]
            now = Usage(len(samples), sum(rss for rss, _ in samples), sum(shares) if shares else None)
            self.peaks[kind] = _larger(self.peaks.get(kind), now)


def service_processes(pid: int | None, data_dir: Path | None) -> list[psutil.Process]:
    """The process `pid`, its descendants, and every process that works under `data_dir`."""
    found: dict[int, psutil.Process] = {}
    if pid is not None:
        try:
            root = psutil.Process(pid)
            found = {process.pid: process for process in [root, *root.children(recursive=True)]}
        except psutil.NoSuchProcess:
            found = {}
    if data_dir is not None:
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(data_dir):
                    found[process.pid] = process
            except psutil.Error:
                continue  # Gone, or another user's: not ours.
    return list(found.values())


def kind_of(name: str, cmdline: Sequence[str]) -> str:
    """Which part of the service a process is."""
    if "postgres" in name.lower():
        return "postgres"
    if "valkey" in name.lower() or "redis" in name.lower():
        return "valkey"
    words = [Path(argument).name.lower() for argument in cmdline]
    if "memos.cli.warden" in words:
        return "warden"
    if "celery" in words:
        return "worker"
    for program in ("memos", "memos.cli"):
        if program in words[:-1]:
            return PARTS.get(words[words.index(program) + 1], "other")
    return "other"


def stop_processes(processes: Sequence[psutil.Process], *, grace_s: float) -> None:
    """End exactly these: ask, wait `grace_s`, then kill what is left."""
    for process in processes:
        _quietly(process.terminate)
    deadline = time.monotonic() + grace_s
    _, alive = psutil.wait_procs(list(processes), timeout=max(0.0, deadline - time.monotonic()))
    for process in alive:
        _quietly(process.kill)
    psutil.wait_procs(alive, timeout=5)


def usage_rows(peaks: Mapping[str, Usage]) -> list[tuple[str, str, str, str]]:
    """Table rows: kind, processes, peak RSS, peak PSS."""
    return [
        (
            kind,
            str(usage.processes),
            f"{usage.rss_mib:.0f} MiB",
            "-" if usage.pss_mib is None else f"{usage.pss_mib:.0f} MiB",
        )
        for kind, usage in sorted(peaks.items())
    ]


def _memory_mib(process: psutil.Process) -> tuple[float, float | None]:
    rss = process.memory_info().rss / MIB
    try:
        pss = getattr(process.memory_full_info(), "pss", None)  # Linux only.
    except psutil.AccessDenied:
        pss = None
    return rss, None if pss is None else pss / MIB


def _larger(before: Usage | None, now: Usage) -> Usage:
    if before is None:
        return now
    shares = [pss for pss in (before.pss_mib, now.pss_mib) if pss is not None]
    return Usage(
        max(before.processes, now.processes),
        max(before.rss_mib, now.rss_mib),
        max(shares) if shares else None,
    )


def _quietly(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        return
