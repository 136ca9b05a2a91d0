"""Memory over time: what each process of the service holds, sampled while it runs, and whether that grows.

A process is judged by its own line: the least-squares slope over the second part of its life in the run, because pools,
caches and models fill in the first. Growth within noise is what the samples scatter about that line anyway.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from benchmarks.processes import MIB, kind_of, service_processes

WARM_SHARE = 0.4
"""Of each line, left out as warm-up."""
FEWEST = 8
"""Samples that make a line."""
JUDGED_S = 120.0
"""A shorter stretch shows warm-up and chance, and is only reported."""
LEVEL_SHARE = 0.02
"""Below this share of its size, growth over the whole stretch is no finding, however straight the line."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Of one kind of process. `growth_mib` is slope times stretch; `noise_mib` what the samples scatter (two standard
    deviations), or 2 % of the level if that is more."""

    kind: str
    pid: int
    samples: int
    stretch_s: float
    first_mib: float
    last_mib: float
    slope_mib_per_min: float
    growth_mib: float
    noise_mib: float

    @property
    def judgement(self) -> str:
        """`flat`, `grows`, or `too short` to say."""
        if self.stretch_s < JUDGED_S:
            return "too short"
        return "flat" if self.growth_mib <= self.noise_mib else "grows"


def trend(kind: str, pid: int, samples: Sequence[tuple[float, float]]) -> Trend | None:
    """Of (seconds, MiB), oldest first; None for too few to say anything."""
    kept = samples[int(len(samples) * WARM_SHARE) :]
    if len(kept) < FEWEST:
        return None
    times, sizes = [t for t, _ in kept], [s for _, s in kept]
    mean_t, mean_s = math.fsum(times) / len(times), math.fsum(sizes) / len(sizes)
    spread = math.fsum((t - mean_t) ** 2 for t in times)
    slope = math.fsum((t - mean_t) * (s - mean_s) for t, s in kept) / spread
    rest = [s - (mean_s + slope * (t - mean_t)) for t, s in kept]
    scatter = math.sqrt(math.fsum(r * r for r in rest) / max(1, len(rest) - 2))
    stretch = times[-1] - times[0]
    return Trend(
        kind,
        pid,
        len(kept),
        stretch,
        sizes[0],
        sizes[-1],
        slope * 60,
        slope * stretch,
        max(2 * scatter, LEVEL_SHARE * mean_s),
    )


class Series:
    """Samples in a thread while open. PostgreSQL is one line, the sum of its processes without what they share (PSS);
    every other process is a line of its own, by its RSS. `probe` is asked with each sample; `probed` keeps its answers."""

    def __init__(
        self,
        pid: int | None,
        data_dir: Path | None,
        *,
        every_s: float,
        probe: Callable[[], dict[str, float]] = dict,
    ) -> None:
        self._pid, self._data_dir, self._every_s, self._probe = pid, data_dir, every_s, probe
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-series", daemon=True)
        self._began = time.monotonic()
        self.lines: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
        self.probed: list[dict[str, float]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def trends(self) -> list[Trend]:
        """By kind, then by process, in the order in which they began."""
        found = (trend(kind, pid, samples) for (kind, pid), samples in self.lines.items())
        return sorted((t for t in found if t is not None), key=lambda t: t.kind)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._sample(time.monotonic() - self._began)
            self.probed.append(self._probe())

    def _sample(self, moment_s: float) -> None:
        postgres = 0.0
        for process in service_processes(self._pid, self._data_dir):
            try:
                kind = kind_of(process.name(), process.cmdline())
                if kind == "postgres":
                    postgres += float(process.memory_full_info().pss)
                else:
                    self.lines[kind, process.pid].append((moment_s, process.memory_info().rss / MIB))
            except psutil.Error:
                continue  # It ended between being listed and being asked.
        if postgres:
            self.lines["postgres", 0].append((moment_s, postgres / MIB))
