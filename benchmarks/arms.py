"""Comparing ways of asking side by side: in turns, in the same minutes, on the same machine.

Each round asks every arm once, starting with another arm each time, so that no arm profits from its place;
each asks a question of its own that was never asked before in the run, so that no arm profits from a cache
another has filled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.metrics import Latency
from benchmarks.report import Step

# Rounds before the clock starts: connections, caches of code and prepared statements belong to the first
# requests only.
WARM_UP_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of asking; `ask` returns when the answer is there."""

    name: str
    ask: Callable[[str], object]


def compare(
    arms: Sequence[Arm], take: Callable[[int], list[str]], *, rounds: int, step: Step
) -> dict[str, list[float]]:
    """Milliseconds of each arm, `rounds` long; `take(n)` gives n fresh questions."""
    taken: dict[str, list[float]] = {arm.name: [] for arm in arms}
    for number in range(-WARM_UP_ROUNDS, rounds):
        first = number % len(arms)
        for arm, question in zip([*arms[first:], *arms[:first]], take(len(arms)), strict=True):
            started = time.perf_counter()
            arm.ask(question)
            if number >= 0:
                taken[arm.name].append((time.perf_counter() - started) * 1000)
        step()
    return taken


@dataclass(frozen=True, slots=True)
class Compared:
    """One arm in one scenario; ratios are of medians. None where there is nothing to compare with."""

    scenario: str
    arm: str
    latency: Latency
    to_floor: float | None
    to_before: float | None


def summarise(
    scenario: str,
    taken: dict[str, list[float]],
    *,
    floor: str = "floor",
    before: dict[str, Compared] | None = None,
) -> dict[str, Compared]:
    """Latencies by arm, beside the floor of the same scenario and the same arm in an earlier one."""
    latencies = {name: Latency.of(samples) for name, samples in taken.items()}
    bound = latencies[floor].p50_ms if floor in latencies else None
    compared = {}
    for name, latency in latencies.items():
        earlier = before.get(name) if before else None
        compared[name] = Compared(
            scenario,
            name,
            latency,
            None if bound is None or name == floor else latency.p50_ms / bound,
            None if earlier is None else latency.p50_ms / earlier.latency.p50_ms,
        )
    return compared
