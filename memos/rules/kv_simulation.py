"""Replaying a trace of recalls against a KV budget, to see what a policy would have saved.

Bundles (prefixes) are used in the order of the trace. A hit saves the prefill minus the load; a miss that the policy
admits is built afterwards by a worker of its own, and that work is counted against the policy. Small budgets under
plain LRU can cost more than they save, which is why admission and cost are part of the policy.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from memos.rules.kv_policy import LOAD_SHARE_MAX


class Order(StrEnum):
    """What is evicted first: the least recently used, the least often used, or the least worth its bytes."""

    LRU = "lru"
    LFU = "lfu"
    GDSF = "gdsf"


@dataclass(frozen=True, slots=True)
class Bundle:
    n_bytes: int
    prefill_s: float
    load_s: float


@dataclass(frozen=True, slots=True)
class Rules:
    """`second_use_within` requests must hold an earlier use of the bundle before it is built; None admits at once.
    With `must_beat_victims` a bundle is built only if it is worth more than each one that would have to go."""

    order: Order
    second_use_within: int | None = None
    must_beat_victims: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds over a whole trace. `asked_s` is what no cache at all would have spent on prefill."""

    requests: int
    hits: int
    asked_s: float
    saved_s: float
    built_s: float

    @property
    def hit_share(self) -> float:
        return self.hits / self.requests if self.requests else 0.0

    @property
    def saved_share(self) -> float:
        return self.saved_s / self.asked_s if self.asked_s else 0.0

    @property
    def net_share(self) -> float:
        """Saved minus the seconds spent on building; negative when the policy wastes work."""
        return (self.saved_s - self.built_s) / self.asked_s if self.asked_s else 0.0


def simulate(trace: Sequence[int], bundles: Sequence[Bundle], *, capacity_bytes: int, rules: Rules) -> Outcome:
    """Replay `trace` (indices into `bundles`) against an empty store of `capacity_bytes`."""
    store = _Store(bundles, capacity_bytes, rules.order)
    last_use: dict[int, int] = {}
    hits, asked_s, saved_s, built_s = 0, 0.0, 0.0, 0.0
    for at, index in enumerate(trace):
        bundle = bundles[index]
        asked_s += bundle.prefill_s
        if store.use(index, at):
            hits += 1
            saved_s += bundle.prefill_s - bundle.load_s
        elif _admitted(bundle, at, last_use.get(index), rules) and store.add(
            index, at, must_beat_victims=rules.must_beat_victims
        ):
            built_s += bundle.prefill_s
        last_use[index] = at
    return Outcome(len(trace), hits, asked_s, saved_s, built_s)


def _admitted(bundle: Bundle, at: int, last: int | None, rules: Rules) -> bool:
    if bundle.load_s >= LOAD_SHARE_MAX * bundle.prefill_s:
        return False
    within = rules.second_use_within
    return within is None or (last is not None and at - last <= within)


class _Store:
    """Bundles held, with a heap of (priority, version, index); entries whose version is old are skipped."""

    def __init__(self, bundles: Sequence[Bundle], capacity_bytes: int, order: Order) -> None:
        self._bundles = bundles
        self._capacity = capacity_bytes
        self._free = capacity_bytes
        self._order = order
        self._clock = 0.0
        self._uses: dict[int, int] = {}
        self._held: dict[int, int] = {}
        self._heap: list[tuple[float, int, int]] = []

    def use(self, index: int, at: int) -> bool:
        """Count a use; whether the bundle is held."""
        self._uses[index] = self._uses.get(index, 0) + 1
        if index in self._held:
            self._push(index, at)
            return True
        return False

    def add(self, index: int, at: int, *, must_beat_victims: bool) -> bool:
        """Make room and hold the bundle; False when it does not fit or is worth less than what it would displace."""
        size = self._bundles[index].n_bytes
        if size > self._capacity:
            return False
        worth = self._priority(index, at)
        victims: list[tuple[float, int, int]] = []
        freed = 0
        while self._free + freed < size:
            entry = heapq.heappop(self._heap)
            priority, version, victim = entry
            if self._held.get(victim) != version:
                continue
            victims.append(entry)
            if must_beat_victims and priority >= worth:
                for spared in victims:
                    heapq.heappush(self._heap, spared)
                return False
            freed += self._bundles[victim].n_bytes
        for priority, _, victim in victims:
            del self._held[victim]
            self._clock = priority
        self._free += freed - size
        self._push(index, at)
        return True

    def _push(self, index: int, at: int) -> None:
        self._held[index] = at
        heapq.heappush(self._heap, (self._priority(index, at), at, index))

    def _priority(self, index: int, at: int) -> float:
        if self._order is Order.LRU:
            return float(at)
        if self._order is Order.LFU:
            return float(self._uses[index])
        bundle = self._bundles[index]
        return self._clock + self._uses[index] * (bundle.prefill_s - bundle.load_s) / bundle.n_bytes
