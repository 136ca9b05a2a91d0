"""What a decay run may and may not decide."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from memos.rules.forgetting import (
    DEFAULT_POLICY,
    Candidate,
    Decision,
    Outcome,
    Policy,
    decide,
    keep_score,
    kept,
    pressed,
    summarise,
)
from memos.rules.lifecycle import TRANSITIONS, State
from memos.rules.strength import Retention

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@st.composite
def candidates(draw: st.DrawFn, number: int = 0) -> Candidate:
    return Candidate(
        memory_id=UUID(int=number),
        kind=draw(st.sampled_from(["turn", "fact", "profile", "other"])),
        state=draw(st.sampled_from(State)),
        retention=Retention(
            draw(st.floats(0.5, 2000)), NOW - timedelta(days=draw(st.floats(0, 2000))), draw(st.integers(0, 9))
        ),
        priority=draw(st.floats(0, 1)),
        trust=draw(st.floats(0, 1)),
        pinned=draw(st.booleans()),
        expires_at=draw(st.none() | st.sampled_from([NOW - timedelta(days=1), NOW, NOW + timedelta(days=1)])),
        recent_recalls=draw(st.integers(0, 5)),
        citations=draw(st.integers(0, 5)),
        size_bytes=draw(st.integers(0, 100_000)),
        withdrawn=draw(st.booleans()),
    )


@st.composite
def cubes(draw: st.DrawFn) -> list[Candidate]:
    return [draw(candidates(number)) for number in range(draw(st.integers(0, 12)))]


policies = st.builds(Policy, max_memories=st.none() | st.integers(0, 10), max_bytes=st.none() | st.integers(0, 300_000))


def occupied(items: list[Candidate], decisions: list[Decision]) -> list[Candidate]:
    live = {State.GENERATED, State.ACTIVATED, State.FROZEN}
    return [
        item
        for item, decision in zip(items, decisions, strict=True)
        if decision.outcome is Outcome.RESTORE or (decision.outcome is Outcome.KEEP and item.state in live)
    ]


@given(cubes(), policies)
def test_decisions_are_legal_and_complete(items: list[Candidate], policy: Policy) -> None:
    decisions = decide(items, policy, NOW)
    assert [decision.memory_id for decision in decisions] == [item.memory_id for item in items]
    target = {
        Outcome.ARCHIVE: State.ARCHIVED,
        Outcome.EVICT: State.ARCHIVED,
        Outcome.EXPIRE: State.EXPIRED,
        Outcome.RESTORE: State.ACTIVATED,
    }
    for item, decision in zip(items, decisions, strict=True):
        assert decision.reason
        assert decision.policy_version == policy.version
        if decision.outcome is not Outcome.KEEP:
            assert target[decision.outcome] in TRANSITIONS[item.state]


@given(cubes(), policies)
def test_frozen_and_pinned_memories_are_exempt(items: list[Candidate], policy: Policy) -> None:
    for item, decision in zip(items, decide(items, policy, NOW), strict=True):
        if item.state is State.FROZEN:
            assert decision.outcome is Outcome.KEEP
        if item.pinned:
            assert decision.outcome not in {Outcome.ARCHIVE, Outcome.EVICT}


@given(cubes())
def test_the_default_policy_keeps_what_was_recalled_twice_lately(items: list[Candidate]) -> None:
    for item, decision in zip(items, decide(items, DEFAULT_POLICY, NOW), strict=True):
        unexpired = item.expires_at is None or item.expires_at > NOW
        if item.recent_recalls >= 2 and unexpired:
            assert decision.outcome not in {Outcome.ARCHIVE, Outcome.EVICT, Outcome.EXPIRE}
            if item.state is State.ARCHIVED and not item.withdrawn:
                assert decision.outcome is Outcome.RESTORE


@given(cubes(), policies)
def test_budgets_hold_unless_exempt_memories_alone_exceed_them(items: list[Candidate], policy: Policy) -> None:
    left = occupied(items, decide(items, policy, NOW))
    exempt = all(item.pinned or item.state is State.FROZEN for item in left)
    fits_count = policy.max_memories is None or len(left) <= policy.max_memories
    fits_bytes = policy.max_bytes is None or sum(item.size_bytes for item in left) <= policy.max_bytes
    assert exempt or (fits_count and fits_bytes)


@given(cubes(), policies, st.randoms())
def test_the_order_of_memories_decides_nothing(items: list[Candidate], policy: Policy, random: object) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    by_id = {decision.memory_id: decision for decision in decide(shuffled, policy, NOW)}
    assert [by_id[item.memory_id] for item in items] == decide(items, policy, NOW)


@given(candidates(), st.floats(0, 1), st.floats(0, 1))
def test_the_score_rises_with_priority_and_trust(item: Candidate, one: float, two: float) -> None:
    low, high = sorted((one, two))
    for field in ("priority", "trust"):
        weaker: dict[str, Any] = {field: low}
        stronger: dict[str, Any] = {field: high}
        below = keep_score(replace(item, **weaker), DEFAULT_POLICY, NOW)
        assert below <= keep_score(replace(item, **stronger), DEFAULT_POLICY, NOW)


@given(candidates())
def test_what_somebody_archived_on_purpose_is_not_brought_back(item: Candidate) -> None:
    withdrawn = replace(item, state=State.ARCHIVED, withdrawn=True, expires_at=None)
    assert decide([withdrawn], DEFAULT_POLICY, NOW)[0].outcome is Outcome.KEEP


def test_time_to_live_beats_a_pin() -> None:
    item = Candidate(
        UUID(int=1), "fact", State.ACTIVATED, Retention(10, NOW), pinned=True, expires_at=NOW - timedelta(days=1)
    )
    assert decide([item], DEFAULT_POLICY, NOW)[0].outcome is Outcome.EXPIRE


def test_the_least_valuable_is_evicted_first() -> None:
    fresh = Candidate(UUID(int=1), "fact", State.ACTIVATED, Retention(10, NOW), size_bytes=1000)
    stale = replace(fresh, memory_id=UUID(int=2), retention=Retention(10, NOW - timedelta(days=60)))
    outcomes = [decision.outcome for decision in decide([fresh, stale], Policy(max_memories=1), NOW)]
    assert outcomes == [Outcome.KEEP, Outcome.EVICT]


def test_a_restored_memory_needs_room() -> None:
    live = Candidate(UUID(int=1), "fact", State.ACTIVATED, Retention(10, NOW), size_bytes=10)
    asleep = replace(live, memory_id=UUID(int=2), state=State.ARCHIVED, size_bytes=900_000)
    decisions = decide([live, asleep], Policy(max_bytes=1000), NOW)
    assert [decision.outcome for decision in decisions] == [Outcome.KEEP, Outcome.KEEP]
    assert summarise(decisions)["keep"] == 2


@given(policies, st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_fuller_a_cube_the_sooner_it_forgets_and_never_sooner_than_its_policy_says(
    policy: Policy, one: int, two: int
) -> None:
    fewer, more = pressed(policy, min(one, two)), pressed(policy, max(one, two))
    assert fewer.archive_below <= more.archive_below <= policy.archive_below
    assert fewer.restore_above == more.restore_above == policy.restore_above
    assert pressed(policy, max(policy.room, 1)).archive_below == policy.archive_below


@given(cubes(), policies)
def test_what_is_kept_is_counted_by_reason(items: list[Candidate], policy: Policy) -> None:
    decided = decide(items, policy, NOW)
    told = kept(decided)
    assert told.count == sum(told.reasons.values()) == sum(d.outcome is Outcome.KEEP for d in decided)
    assert all("0." not in reason for reason in told.reasons)
    if told.lowest is not None and told.highest is not None:
        assert told.lowest <= told.highest
