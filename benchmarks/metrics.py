"""Ranking quality and latency, as plain arithmetic over ranked ids and numbers.

A ranking is a sequence of distinct ids, best first; the relevant ids are a non-empty set with binary
relevance. All scores lie in [0, 1]. Nothing relevant to find means there is nothing to score, so that is an
error and not a zero or a one: the caller decides what to do with such questions and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass


def distinct(ids: Iterable[str]) -> list[str]:
    """The ids in order of their first appearance: an id found twice takes only its better place."""
    return list(dict.fromkeys(ids))


def recall_at(ranked: Sequence[str], relevant: Set[str], k: int) -> float:
    """The share of the relevant ids among the first `k`."""
    return len(_found(ranked, relevant, k)) / len(relevant)


def any_at(ranked: Sequence[str], relevant: Set[str], k: int) -> float:
    """1 when at least one relevant id is among the first `k`."""
    return 1.0 if _found(ranked, relevant, k) else 0.0


def all_at(ranked: Sequence[str], relevant: Set[str], k: int) -> float:
    """1 when every relevant id is among the first `k` (LongMemEval calls it recall_all)."""
    return 1.0 if len(_found(ranked, relevant, k)) == len(relevant) else 0.0


def ndcg_at(ranked: Sequence[str], relevant: Set[str], k: int) -> float:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen, 2002), gain 1, discount log2(rank + 1).

    The ideal puts as many relevant ids on top as fit into `k`.
    """
    _check(relevant, k)
    gain = sum(1 / math.log2(rank + 1) for rank, found in enumerate(ranked[:k], start=1) if found in relevant)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))
    return gain / ideal


def reciprocal_rank(ranked: Sequence[str], relevant: Set[str]) -> float:
    """1 / rank of the first relevant id, 0 when there is none. Its mean over questions is the MRR."""
    _check(relevant, 1)
    return next((1 / rank for rank, found in enumerate(ranked, start=1) if found in relevant), 0.0)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; NaN over nothing, so that an empty group shows as such."""
    return math.fsum(values) / len(values) if values else math.nan


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of 100 lie, linear between neighbours; NaN over nothing."""
    if not 0 <= percent <= 100:
        raise ValueError(f"a percentile lies in [0, 100], not {percent}")
    if not values:
        return math.nan
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one kind of request took, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Latency:
        return cls(
            count=len(samples_ms),
            p50_ms=percentile(samples_ms, 50),
            p95_ms=percentile(samples_ms, 95),
            p99_ms=percentile(samples_ms, 99),
            max_ms=max(samples_ms, default=math.nan),
        )


def approximate_tokens(text: str) -> int:
    """Four characters to a token, rounded up: the same rough rule for everything that is compared."""
    return -(-len(text) // 4)


def _found(ranked: Sequence[str], relevant: Set[str], k: int) -> set[str]:
    _check(relevant, k)
    return set(ranked[:k]) & relevant


def _check(relevant: Set[str], k: int) -> None:
    if not relevant:
        raise ValueError("nothing is relevant, so there is nothing to score")
    if k < 1:
        raise ValueError(f"k counts from 1, not {k}")
