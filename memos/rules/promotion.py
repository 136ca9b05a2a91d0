"""Which memories deserve a faster tier, and which hold one they no longer deserve.

The default policy is value density, as in size-aware caches (GreedyDual-Size-Frequency, Cherkasova 1998): how often a
memory will be wanted, times what having it ready saves, per byte it takes. Wanting is estimated from recalls with
exponential decay, so an old burst fades; stability counts because a KV cache of a memory that is edited must be built
again. Promotion fills the budget from the densest down; what holds a place is only displaced by something clearly
denser (the margin), or a scheduler would spend its time moving things.

A policy is anything with a `version` and a `decide`; `ValueDensity` is the one that ships.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

from memos.rules.lifecycle import State


class Move(StrEnum):
    PROMOTE = "promote"
    HOLD = "hold"
    """Stays where it is, in the tier or outside it."""
    DEMOTE = "demote"
    ARCHIVE = "archive"
    """Cold even for the plaintext tier: a candidate for the next decay run."""


@dataclass(frozen=True, slots=True)
class Usage:
    """A memory as the scheduler sees it.

    `weighted_recalls` is the sum over past recalls of 2^(-age / half-life), as `decayed_recalls` computes it.
    `edits` counts versions since `created_at`; `tier_bytes` is its size in the tier; `in_tier` whether it is there now.
    A pin holds a memory where it is; it does not promote it.
    """

    memory_id: UUID
    state: State
    created_at: datetime
    weighted_recalls: float
    last_recalled_at: datetime | None
    edits: int
    tier_bytes: int
    in_tier: bool = False
    pinned: bool = False
    trust: float = 1.0
    quarantined: bool = False


@dataclass(frozen=True, slots=True)
class TierDecision:
    memory_id: UUID
    move: Move
    score: float
    inputs: Mapping[str, Any]
    policy_version: str
    reason: str


class PromotionPolicy(Protocol):
    """Decides for all memories of a cube and one tier at once, in the order given."""

    @property
    def version(self) -> str: ...

    def decide(self, usages: Sequence[Usage], budget_bytes: int, now: datetime) -> list[TierDecision]: ...


@dataclass(frozen=True, slots=True)
class ValueDensity:
    version: str = "promote-1"
    min_recalls: float = 3.0
    """Decayed recalls below which nothing is worth building a cache for."""
    min_age_days: float = 1.0
    """A memory younger than this may still be corrected."""
    max_edits_per_week: float = 0.5
    margin: float = 1.25
    """How much denser a newcomer must be to displace what is there."""
    cold_days: float = 90.0

    def decide(self, usages: Sequence[Usage], budget_bytes: int, now: datetime) -> list[TierDecision]:
        """One decision per memory. What is in the tier afterwards fits the budget, pins excepted."""
        scores = {usage.memory_id: self.score(usage, now) for usage in usages}
        chosen = self._chosen(usages, scores, budget_bytes, now)
        return [self._decision(usage, scores[usage.memory_id], chosen, now) for usage in usages]

    def score(self, usage: Usage, now: datetime) -> float:
        """Value density: decayed recalls, weighed by stability and trust, per started kilobyte."""
        steady = 1.0 / (1.0 + edits_per_week(usage, now) / self.max_edits_per_week)
        return usage.weighted_recalls * steady * usage.trust / max(1.0, usage.tier_bytes / 1024.0)

    def eligible(self, usage: Usage, now: datetime) -> str:
        """Empty when a memory may be in the tier, else the reason why not."""
        if usage.quarantined:
            return "quarantined"
        if usage.state not in {State.ACTIVATED, State.GENERATED, State.FROZEN}:
            return f"its state is {usage.state.value}"
        if usage.pinned and usage.in_tier:
            return ""
        if _days(now, usage.created_at) < self.min_age_days:
            return "too young: it may still be corrected"
        if edits_per_week(usage, now) > self.max_edits_per_week:
            return "edited too often"
        # What is in the tier may cool down to half before it must leave, or it would flap around the threshold.
        needed = self.min_recalls / 2 if usage.in_tier else self.min_recalls
        if usage.weighted_recalls < needed:
            return f"{usage.weighted_recalls:.2f} decayed recalls, fewer than {needed:g}"
        return ""

    def _chosen(
        self, usages: Sequence[Usage], scores: Mapping[UUID, float], budget_bytes: int, now: datetime
    ) -> frozenset[UUID]:
        fit = [usage for usage in usages if not self.eligible(usage, now)]
        fit.sort(
            key=lambda usage: (
                not (usage.pinned and usage.in_tier),
                -scores[usage.memory_id] * (self.margin if usage.in_tier else 1.0),
                usage.memory_id,
            )
        )
        chosen: set[UUID] = set()
        left = budget_bytes
        for usage in fit:
            if usage.tier_bytes <= left or (usage.pinned and usage.in_tier):
                chosen.add(usage.memory_id)
                left -= usage.tier_bytes
        return frozenset(chosen)

    def _decision(self, usage: Usage, score: float, chosen: frozenset[UUID], now: datetime) -> TierDecision:
        obstacle = self.eligible(usage, now)
        move, reason = self._move(usage, obstacle, chosen=usage.memory_id in chosen, now=now)
        return TierDecision(
            memory_id=usage.memory_id,
            move=move,
            score=round(score, 6),
            inputs={
                "state": usage.state.value,
                "weighted_recalls": round(usage.weighted_recalls, 4),
                "edits_per_week": round(edits_per_week(usage, now), 4),
                "tier_bytes": usage.tier_bytes,
                "in_tier": usage.in_tier,
                "pinned": usage.pinned,
                "trust": usage.trust,
            },
            policy_version=self.version,
            reason=reason,
        )

    def _move(self, usage: Usage, obstacle: str, *, chosen: bool, now: datetime) -> tuple[Move, str]:
        if chosen:
            return (
                (Move.HOLD, "earns its place") if usage.in_tier else (Move.PROMOTE, "hot, stable and worth its bytes")
            )
        if usage.in_tier:
            return Move.DEMOTE, obstacle or "no room: others are worth more per byte"
        last_used = usage.last_recalled_at or usage.created_at
        live = usage.state in {State.ACTIVATED, State.GENERATED}
        if live and not usage.pinned and _days(now, last_used) >= self.cold_days:
            return Move.ARCHIVE, f"not recalled for {_days(now, last_used):.0f} days"
        return Move.HOLD, obstacle or "no room: others are worth more per byte"


DEFAULT_POLICY: Final[PromotionPolicy] = ValueDensity()

RECALL_HALF_LIFE_DAYS: Final = 14.0


def decayed_recalls(recalled_at: Sequence[datetime], now: datetime) -> float:
    """The sum of 2^(-age / half-life) over recalls; those in the future count as now."""
    return math.fsum(0.5 ** (_days(now, moment) / RECALL_HALF_LIFE_DAYS) for moment in recalled_at)


def decay_count(weighted: float, since: datetime, now: datetime) -> float:
    """Age a stored decayed count, so that only the count and its time need keeping, not every recall."""
    return weighted * float(0.5 ** (_days(now, since) / RECALL_HALF_LIFE_DAYS))


def edits_per_week(usage: Usage, now: datetime) -> float:
    """Edits over the memory's age, which counts as one week at least: one early correction is no habit."""
    return usage.edits / max(1.0, _days(now, usage.created_at) / 7.0)


def _days(now: datetime, moment: datetime) -> float:
    return max(0.0, (now - moment).total_seconds() / 86_400.0)
