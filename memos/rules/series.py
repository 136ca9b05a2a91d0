"""Series for charts: what happened, sorted into equal spans of time that end now."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Bucket:
    """Answers of one span; `p50` and `p95` are None for a span without any."""

    start: datetime
    count: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Level:
    """How many were open at a moment."""

    at: datetime
    open: int


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of them do not exceed (nearest rank); None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def buckets(events: Iterable[tuple[datetime, float]], now: datetime, *, width: timedelta, count: int) -> list[Bucket]:
    """`count` spans of `width`, oldest first, the last one ending at `now`. What lies outside is left out."""
    start = now - width * count
    sorted_in: list[list[float]] = [[] for _ in range(count)]
    for at, value in events:
        if start <= at <= now:
            sorted_in[min(count - 1, (at - start) // width)].append(value)
    return [
        Bucket(start + width * place, len(held), percentile(held, 0.5), percentile(held, 0.95))
        for place, held in enumerate(sorted_in)
    ]


def levels(
    spans: Iterable[tuple[datetime, datetime | None]], now: datetime, *, width: timedelta, count: int
) -> list[Level]:
    """How many of the spans (beginning, end; None: still open) were open at each of `count` + 1 moments up to `now`."""
    held = list(spans)
    moments = [now - width * (count - place) for place in range(count + 1)]
    return [
        Level(at, sum(1 for begun, ended in held if begun <= at and (ended is None or ended > at))) for at in moments
    ]
