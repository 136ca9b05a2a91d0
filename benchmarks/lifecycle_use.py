"""Somebody using a memory for a year: what is written each day, and what is asked.

People ask again for what they asked lately, and for new things mostly while they are fresh; both fade as a power of
time (Anderson and Schooler, "Reflections of the environment in memory", 1991, found exponents from 0.7 to 0.8 in speech,
mail and headlines). So of each day's questions a part repeats an earlier one, drawn by a power of how long ago it was
asked, and the rest is about a memory drawn by a power of its age. The same seed gives the same year.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

# Between the exponents of the paper.
FADING = 0.75
REPEATED = 0.6
"""Share of questions that repeat an earlier one, once there are any."""


@dataclass(frozen=True, slots=True)
class Day:
    """Numbers of the memories written on a day, and of those its questions are about, in order."""

    number: int
    written: range
    asked: tuple[int, ...]


def year(seed: str, *, days: int, per_day: int, questions: int) -> Iterator[Day]:
    dice = random.Random(f"{seed}/use")
    log: list[tuple[int, int]] = []  # (day, memory), in order
    for day in range(days):
        asked = tuple(_target(dice, log, day, per_day) for _ in range(questions))
        log += [(day, memory) for memory in asked]
        yield Day(day, range(day * per_day, (day + 1) * per_day), asked)


def _target(dice: random.Random, log: list[tuple[int, int]], day: int, per_day: int) -> int:
    if log and dice.random() < REPEATED:
        weights = list(accumulate((day - then + 1) ** -FADING for then, _ in log))
        return log[bisect_left(weights, dice.random() * weights[-1])][1]
    ages = list(accumulate((age + 1) ** -FADING for age in range(day + 1)))
    age = bisect_left(ages, dice.random() * ages[-1])
    return (day - age) * per_day + dice.randrange(per_day)
