"""When a stored KV cache pays for itself: what to build, when to load, what to throw away.

A cache saves T_prefill(n) - T_load(bytes) each time it is used, as long as the memories in it stay what they are:

    benefit  = uses per day x P(still valid) x max(0, T_prefill - T_load)        P = uses / (uses + edits)
    priority = L + benefit / bytes                                    Greedy-Dual-Size-Frequency

L, the clock, is the priority of the last victim: it ages everything that is not used, without a sweep (Cherkasova,
"Improving WWW proxies performance with Greedy-Dual-Size-Frequency caching", 1998; RAGCache, arXiv 2404.12457, runs
the same on a tree). Chunks form a tree, since each is worthless without its parents: a chunk's rate of use is the sum
over its descendants, and only leaves are evicted. Before a chunk is deleted it is demoted to its smaller codec once.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from memos.errors import Invalid

USE_WINDOW: Final = timedelta(hours=24)
"""A second use inside this window is the evidence that a third will come."""
LOAD_SHARE_MAX: Final = 0.7
"""Loading must beat prefill by a margin: both are estimates, and building and storing cost as well."""
VALIDITY_MIN: Final = 0.5
"""Below this, the next event is more likely to be an edit than a use."""
TOKENS_MIN: Final = 256
"""Shorter prefixes prefill faster than they are worth the rows."""
RATE_HALF_LIFE: Final = timedelta(days=3)


class Advice(StrEnum):
    LOAD = "load"
    PREFILL = "prefill"


class Verdict(StrEnum):
    """Why a prefix was promoted, or why not."""

    ADMITTED = "admitted"
    TOO_SHORT = "too_short"
    SEEN_ONCE = "seen_once"
    UNSTABLE = "unstable"
    NOT_FASTER = "not_faster"
    NO_BUDGET = "no_budget"


class Step(StrEnum):
    DEMOTE = "demote"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class PrefillCost:
    """T(n) = linear_s * n + quadratic_s * n^2: the layers cost per token, attention per pair of tokens."""

    linear_s: float
    quadratic_s: float = 0.0

    def seconds(self, n_tokens: int, *, cached: int = 0) -> float:
        """Seconds to prefill tokens `cached..n_tokens`, given the KV of the first `cached`."""
        return self._whole(n_tokens) - self._whole(min(cached, n_tokens))

    def _whole(self, n_tokens: int) -> float:
        return self.linear_s * n_tokens + self.quadratic_s * n_tokens**2


@dataclass(frozen=True, slots=True)
class LoadCost:
    """Seconds to fetch and decode stored KV. Speeds are bytes of the stored (encoded) object per second."""

    latency_s: float
    fetch_bytes_per_s: float
    decode_bytes_per_s: Mapping[str, float]

    def seconds(self, n_bytes: int, codec: str) -> float:
        return self.latency_s + n_bytes / self.fetch_bytes_per_s + n_bytes / self.decode_bytes_per_s[codec]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prefix that might be promoted. `uses` are its recalls, `n_bytes` its size in the codec it would get."""

    uses: tuple[datetime, ...]
    n_tokens: int
    n_bytes: int
    uses_per_day: float
    edits_per_day: float
    load_s: float
    prefill_s: float
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Resident:
    """A stored chunk. `uses_per_day` counts requests that ended here; `saved_s` is T_prefill - T_load of this chunk;
    `clock` the policy clock at its last use; `demoted_bytes` its size in the next smaller codec, if there is one."""

    key: bytes
    parent: bytes
    n_bytes: int
    uses_per_day: float
    edits_per_day: float
    saved_s: float
    clock: float = 0.0
    demoted_bytes: int | None = None
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class EvictionStep:
    step: Step
    key: bytes
    freed_bytes: int
    priority: float


@dataclass(frozen=True, slots=True)
class Eviction:
    """What to do, in this order. `freed_bytes` falls short of what was asked only when the rest is pinned."""

    steps: tuple[EvictionStep, ...]
    freed_bytes: int
    clock: float


def fit_prefill(samples: Sequence[tuple[int, float]]) -> PrefillCost:
    """Least squares of (tokens, seconds) on a*n + b*n^2 with a, b >= 0, weighted for equal relative error.

    Raises:
        Invalid: no sample, or one that is not positive.
    """
    if not samples or any(n < 1 or seconds <= 0 for n, seconds in samples):
        raise Invalid("prefill cost is fitted on positive token counts and seconds")
    # Dividing each equation by its seconds makes the target 1 and the error relative.
    rows = [(n / seconds, n * n / seconds) for n, seconds in samples]
    xx, xy, yy = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    x1, y1 = sum(row[0] for row in rows), sum(row[1] for row in rows)
    determinant = xx * yy - xy * xy
    if determinant > 1e-12 * xx * yy:
        linear, quadratic = (x1 * yy - y1 * xy) / determinant, (y1 * xx - x1 * xy) / determinant
        if linear >= 0 and quadratic >= 0:
            return PrefillCost(linear, quadratic)
        if linear < 0:
            return PrefillCost(0.0, y1 / yy)
    return PrefillCost(x1 / xx, 0.0)


def advice(*, load_s: float, prefill_s: float) -> Advice:
    """Whether a stored prefix is worth loading at this moment, over this link."""
    return Advice.LOAD if load_s < prefill_s else Advice.PREFILL


def used(rate_per_day: float, *, last: datetime | None, now: datetime) -> float:
    """The rate of use after one more use now: an exponentially fading count, in uses per day."""
    return faded(rate_per_day, last=last, now=now) + math.log(2) / (RATE_HALF_LIFE / timedelta(days=1))


def faded(rate_per_day: float, *, last: datetime | None, now: datetime) -> float:
    """The rate of use as it stands now, if the last use was at `last`."""
    if last is None:
        return 0.0
    half_lives = max(now - last, timedelta(0)) / RATE_HALF_LIFE
    return rate_per_day * math.exp2(-half_lives)


def validity(uses_per_day: float, edits_per_day: float) -> float:
    """Probability that the next event is a use and not an edit, both being Poisson."""
    total = uses_per_day + edits_per_day
    return uses_per_day / total if total > 0 else 0.0


def density(*, uses_per_day: float, edits_per_day: float, saved_s: float, n_bytes: int) -> float:
    """Expected seconds saved per day and byte."""
    gain = uses_per_day * validity(uses_per_day, edits_per_day) * max(0.0, saved_s)
    return gain / max(1, n_bytes)


def admit(
    candidate: Candidate, *, now: datetime, clock: float, free_bytes: int, victim_priority: float | None
) -> Verdict:
    """Whether to build and keep this prefix.

    `victim_priority` is the highest priority among the chunks that would have to go to make room (from `evict`);
    None when no room can be made. A pin stands for the second use, not for the other conditions.
    """
    if candidate.n_tokens < TOKENS_MIN:
        return Verdict.TOO_SHORT
    recent = sum(1 for use in candidate.uses if now - USE_WINDOW <= use <= now)
    if recent < 2 and not candidate.pinned:
        return Verdict.SEEN_ONCE
    if not candidate.pinned and validity(candidate.uses_per_day, candidate.edits_per_day) <= VALIDITY_MIN:
        return Verdict.UNSTABLE
    if candidate.load_s >= LOAD_SHARE_MAX * candidate.prefill_s:
        return Verdict.NOT_FASTER
    if candidate.n_bytes <= free_bytes:
        return Verdict.ADMITTED
    if victim_priority is None:
        return Verdict.NO_BUDGET
    priority = clock + density(
        uses_per_day=candidate.uses_per_day,
        edits_per_day=candidate.edits_per_day,
        saved_s=candidate.prefill_s - candidate.load_s,
        n_bytes=candidate.n_bytes,
    )
    return Verdict.ADMITTED if candidate.pinned or priority > victim_priority else Verdict.NO_BUDGET


def subtree_rates(residents: Iterable[Resident]) -> dict[bytes, float]:
    """Uses per day of each chunk including those of every chunk that builds on it."""
    by_key = {resident.key: resident for resident in residents}
    rates = dict.fromkeys(by_key, 0.0)
    for resident in by_key.values():
        at: Resident | None = resident
        while at is not None:
            rates[at.key] += resident.uses_per_day
            at = by_key.get(at.parent)
    return rates


def evict(residents: Sequence[Resident], *, need_bytes: int, clock: float) -> Eviction:
    """Free `need_bytes`: leaves of lowest priority first, each demoted before it is deleted."""
    rates = subtree_rates(residents)
    by_key = {resident.key: resident for resident in residents}
    children = Counter(resident.parent for resident in residents)
    steps: list[EvictionStep] = []
    freed = 0

    def entry(resident: Resident) -> tuple[float, bytes]:
        return _priority(resident, rates[resident.key]), resident.key

    leaves = [entry(resident) for resident in residents if not children[resident.key] and not resident.pinned]
    heapq.heapify(leaves)
    while freed < need_bytes and leaves:
        priority, key = heapq.heappop(leaves)
        resident = by_key[key]
        clock = max(clock, priority)
        if resident.demoted_bytes is not None and resident.demoted_bytes < resident.n_bytes:
            gain, step = resident.n_bytes - resident.demoted_bytes, Step.DEMOTE
            smaller = replace(resident, n_bytes=resident.demoted_bytes, demoted_bytes=None)
            by_key[key] = smaller
            heapq.heappush(leaves, entry(smaller))
        else:
            gain, step = resident.n_bytes, Step.DELETE
            children[resident.parent] -= 1
            parent = by_key.get(resident.parent)
            if parent is not None and not children[parent.key] and not parent.pinned:
                heapq.heappush(leaves, entry(parent))
        steps.append(EvictionStep(step, key, gain, priority))
        freed += gain
    return Eviction(tuple(steps), freed, clock)


def _priority(resident: Resident, uses_per_day: float) -> float:
    return resident.clock + density(
        uses_per_day=uses_per_day,
        edits_per_day=resident.edits_per_day,
        saved_s=resident.saved_s,
        n_bytes=resident.n_bytes,
    )
