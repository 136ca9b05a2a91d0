"""What a decay run decides for each memory: keep, archive, restore, expire or evict. Nothing here deletes.

The order of the questions is the policy:
1. Frozen memories are never touched, not even by their time to live.
2. A passed `expires_at` expires a memory, pinned or not: the caller set that time on purpose.
3. Pinned memories, and those recalled often enough lately, are kept, whatever their strength.
4. An archived memory whose strength has risen well above the threshold is restored (the gap prevents flapping), unless
   somebody archived it on purpose.
5. A live memory whose keep-score has fallen below the threshold is archived.
6. Whatever is still live must fit the cube's budgets. The least valuable go first ("evict": archived for want of room).

The keep-score is retrievability, bent by priority and trust: a memory of neutral priority and full trust scores exactly
its retrievability, so the threshold keeps its meaning in days (see strength.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from memos.rules.lifecycle import State
from memos.rules.strength import Retention, retrievability


class Outcome(StrEnum):
    KEEP = "keep"
    ARCHIVE = "archive"
    RESTORE = "restore"
    EXPIRE = "expire"
    EVICT = "evict"


@dataclass(frozen=True, slots=True)
class Policy:
    """The knobs of a decay run. `version` is logged with every decision; change it whenever a default changes."""

    version: str = "forget-2"
    archive_below: float = 0.5
    room: int = 20_000
    """Live memories that fit without hurry: with fewer, `archive_below` is lowered in proportion (see `pressed`)."""
    restore_above: float = 0.6
    priority_weight: float = 1.0
    """0 ignores priority, 1 lets the highest one halve the fading (score ^ 0.5) and the lowest double it."""
    trust_weight: float = 0.5
    protect_recalls: int = 2
    """A memory recalled this often within `protect_window_days` is kept at any strength: the present needs it."""
    protect_window_days: int = 90
    max_memories: int | None = None
    max_bytes: int | None = None
    kind_weight: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType(
            {"turn": 1.0, "passage": 1.0, "fact": 1.5, "episode": 1.5, "procedure": 2.0, "profile": 3.0}
        )
    )
    """How much a kind is worth when room is short: distilled memories answer more questions per byte."""


DEFAULT_POLICY: Final = Policy()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One memory as a decay run sees it. `recent_recalls` counts recalls within the policy's window.

    `priority` and `trust` run from 0 to 1 (neutral 0.5, full 1.0). `citations` counts the live memories derived from
    this one; `size_bytes` is what keeping it in the live tier costs.
    """

    memory_id: UUID
    kind: str
    state: State
    retention: Retention
    priority: float = 0.5
    trust: float = 1.0
    pinned: bool = False
    expires_at: datetime | None = None
    recent_recalls: int = 0
    citations: int = 0
    size_bytes: int = 0
    withdrawn: bool = False
    """Archived by an explicit act (DELETE), not by a decay run: only an explicit restore may bring it back."""


@dataclass(frozen=True, slots=True)
class Decision:
    memory_id: UUID
    outcome: Outcome
    score: float
    inputs: Mapping[str, Any]
    policy_version: str
    reason: str


def decide(candidates: Sequence[Candidate], policy: Policy, now: datetime) -> list[Decision]:
    """One decision per candidate, in their order. Equal inputs give equal decisions in any order."""
    decisions = [_decide_alone(candidate, policy, now) for candidate in candidates]
    evicted = _over_budget(candidates, decisions, policy)
    return [_evict(decision, policy) if decision.memory_id in evicted else decision for decision in decisions]


def pressed(policy: Policy, live: int) -> Policy:
    """The policy for a cube of so many live memories: nothing is forgotten for want of room that there is.

    What has faded is put away because it competes with the rest for the ten places of an answer and for the time of a
    search; a cube that is half empty has half the competition. So the threshold falls with the share of `room` that is
    taken, and is the policy's own from a full room on: a turn nobody recalls leaves a full cube after 128 days, a half
    full one after 640. The threshold for coming back stays, so that the pressure of what comes back cannot send it away.
    """
    share = min(1.0, live / policy.room) if policy.room > 0 else 1.0
    return replace(policy, archive_below=policy.archive_below * share)


def keep_score(candidate: Candidate, policy: Policy, now: datetime) -> float:
    """Retrievability bent by priority and trust, in (0, 1]. Monotone in each of the three."""
    strength = retrievability(candidate.retention, now)
    exponent = 2.0 ** (policy.priority_weight * (1.0 - 2.0 * candidate.priority))
    return float(strength**exponent * candidate.trust**policy.trust_weight)


def value_density(candidate: Candidate, policy: Policy, now: datetime) -> float:
    """Worth per kilobyte: what an eviction run sorts by. Every started kilobyte counts, so tiny items do not win free."""
    worth = keep_score(candidate, policy, now) * policy.kind_weight.get(candidate.kind, 1.0)
    worth *= 1.0 + 0.25 * min(candidate.recent_recalls, 8) + 0.1 * min(candidate.citations, 5)
    return worth / max(1.0, candidate.size_bytes / 1024.0)


def _decide_alone(candidate: Candidate, policy: Policy, now: datetime) -> Decision:
    score = keep_score(candidate, policy, now)
    outcome, reason = _outcome(candidate, score, policy, now)
    return Decision(
        memory_id=candidate.memory_id,
        outcome=outcome,
        score=round(score, 6),
        inputs={
            "kind": candidate.kind,
            "state": candidate.state.value,
            "retrievability": round(retrievability(candidate.retention, now), 6),
            "stability_days": round(candidate.retention.stability_days, 3),
            "recalls": candidate.retention.recalls,
            "recent_recalls": candidate.recent_recalls,
            "priority": candidate.priority,
            "trust": candidate.trust,
            "pinned": candidate.pinned,
            "expires_at": candidate.expires_at.isoformat() if candidate.expires_at else None,
            "citations": candidate.citations,
            "size_bytes": candidate.size_bytes,
            "withdrawn": candidate.withdrawn,
            "value_density": round(value_density(candidate, policy, now), 6),
        },
        policy_version=policy.version,
        reason=reason,
    )


def _outcome(candidate: Candidate, score: float, policy: Policy, now: datetime) -> tuple[Outcome, str]:
    state = candidate.state
    if state is State.FROZEN:
        return Outcome.KEEP, "frozen"
    if state is State.EXPIRED:
        return Outcome.KEEP, "already expired"
    if state is State.MERGED:
        return Outcome.KEEP, "merged: reached through its survivor"
    if candidate.expires_at is not None and candidate.expires_at <= now:
        return Outcome.EXPIRE, "its time to live has passed"
    if state is State.ARCHIVED and candidate.withdrawn:
        return Outcome.KEEP, "archived on request; only an explicit restore brings it back"
    live = state is not State.ARCHIVED
    protection = _protection(candidate, policy)
    if protection:
        return (Outcome.KEEP if live else Outcome.RESTORE), protection
    if not live:
        if score >= policy.restore_above:
            return Outcome.RESTORE, f"score {score:.3f} is at or above {policy.restore_above}"
        return Outcome.KEEP, "archived, and no stronger since"
    if score < policy.archive_below:
        return Outcome.ARCHIVE, f"score {score:.3f} is below {policy.archive_below}"
    return Outcome.KEEP, f"score {score:.3f} is at or above {policy.archive_below}"


def _protection(candidate: Candidate, policy: Policy) -> str:
    if candidate.pinned:
        return "pinned"
    if candidate.recent_recalls >= policy.protect_recalls:
        return f"recalled {candidate.recent_recalls} times in {policy.protect_window_days} days"
    return ""


def _over_budget(candidates: Sequence[Candidate], decisions: Sequence[Decision], policy: Policy) -> frozenset[UUID]:
    """The ids to evict so that the rest fits. Restores count as live, so that room is never promised twice.

    Protected memories come last but are not exempt from the budget when only they are left, except pinned and frozen
    ones: a budget that pins alone exceed stays exceeded, and the caller sees it in the counts.
    """
    live = [
        (candidate, decision)
        for candidate, decision in zip(candidates, decisions, strict=True)
        if _occupies(candidate, decision)
    ]
    count = len(live)
    size = sum(candidate.size_bytes for candidate, _ in live)
    order = sorted(
        (pair for pair in live if not pair[0].pinned and pair[0].state is not State.FROZEN),
        key=lambda pair: (
            pair[0].recent_recalls >= policy.protect_recalls,
            pair[1].inputs["value_density"],
            pair[0].memory_id,
        ),
    )
    evicted: set[UUID] = set()
    for candidate, decision in order:
        if not _exceeds(count, size, policy):
            break
        evicted.add(decision.memory_id)
        count -= 1
        size -= candidate.size_bytes
    return frozenset(evicted)


def _occupies(candidate: Candidate, decision: Decision) -> bool:
    if decision.outcome is Outcome.RESTORE:
        return True
    gone = candidate.state in {State.ARCHIVED, State.EXPIRED, State.MERGED}
    return decision.outcome is Outcome.KEEP and not gone


def _exceeds(count: int, size: int, policy: Policy) -> bool:
    too_many = policy.max_memories is not None and count > policy.max_memories
    too_large = policy.max_bytes is not None and size > policy.max_bytes
    return too_many or too_large


def _evict(decision: Decision, policy: Policy) -> Decision:
    """An archived memory that would have been restored simply stays archived when there is no room for it."""
    restoring = decision.outcome is Outcome.RESTORE
    return Decision(
        memory_id=decision.memory_id,
        outcome=Outcome.KEEP if restoring else Outcome.EVICT,
        score=decision.score,
        inputs=decision.inputs,
        policy_version=policy.version,
        reason="no room to restore it" if restoring else "the cube is over its budget; among the least valuable",
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """The memories a run looked at and left as they are: how many for which reason, and between which scores."""

    count: int
    reasons: Mapping[str, int]
    lowest: float | None
    highest: float | None


def kept(decisions: Iterable[Decision]) -> Kept:
    """Keeping is decided like everything else, thousands of times a run and with the same few reasons: so it is logged
    as their counts. Numbers are left out of the reasons, or each would be its own."""
    keeps = [decision for decision in decisions if decision.outcome is Outcome.KEEP]
    scores = [decision.score for decision in keeps]
    reasons = Counter(_NUMBER.sub("n", decision.reason) for decision in keeps)
    return Kept(len(keeps), dict(sorted(reasons.items())), min(scores, default=None), max(scores, default=None))


_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")


def summarise(decisions: Iterable[Decision]) -> dict[str, int]:
    """How many decisions of each outcome, for logs and dry runs; outcomes that did not occur are 0."""
    counts = {outcome.value: 0 for outcome in Outcome}
    for decision in decisions:
        counts[decision.outcome.value] += 1
    return counts
