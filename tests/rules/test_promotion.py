"""Promotion fills a budget by value density and does not flap."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.rules.lifecycle import State
from memos.rules.promotion import (
    DEFAULT_POLICY,
    Move,
    TierDecision,
    Usage,
    ValueDensity,
    decay_count,
    decayed_recalls,
    edits_per_week,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOT = Usage(UUID(int=1), State.ACTIVATED, NOW - timedelta(days=60), 8.0, NOW, 0, 40_000)
BUDGET = 100_000


@st.composite
def cubes(draw: st.DrawFn) -> list[Usage]:
    return [
        Usage(
            memory_id=UUID(int=number),
            state=draw(st.sampled_from(State)),
            created_at=NOW - timedelta(days=draw(st.floats(0, 400))),
            weighted_recalls=draw(st.floats(0, 20)),
            last_recalled_at=draw(st.none() | st.just(NOW - timedelta(days=1)) | st.just(NOW - timedelta(days=200))),
            edits=draw(st.integers(0, 5)),
            tier_bytes=draw(st.integers(1, 90_000)),
            in_tier=draw(st.booleans()),
            pinned=draw(st.booleans()),
            trust=draw(st.floats(0, 1)),
            quarantined=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 10)))
    ]


def in_tier_after(usages: list[Usage], decisions: list[TierDecision]) -> list[Usage]:
    return [
        usage
        for usage, decision in zip(usages, decisions, strict=True)
        if decision.move is Move.PROMOTE or (decision.move is Move.HOLD and usage.in_tier)
    ]


@given(cubes(), st.integers(0, 200_000), st.randoms(use_true_random=False))
def test_decisions_fit_the_budget_and_ignore_order(usages: list[Usage], budget: int, random: Random) -> None:
    decisions = DEFAULT_POLICY.decide(usages, budget, NOW)
    held = in_tier_after(usages, decisions)
    pinned = sum(usage.tier_bytes for usage in held if usage.pinned and usage.in_tier)
    assert sum(usage.tier_bytes for usage in held) <= max(budget, pinned)
    assert all(decision.reason and decision.policy_version == DEFAULT_POLICY.version for decision in decisions)
    shuffled = list(usages)
    random.shuffle(shuffled)
    by_id = {decision.memory_id: decision for decision in DEFAULT_POLICY.decide(shuffled, budget, NOW)}
    assert [by_id[usage.memory_id] for usage in usages] == decisions


@given(cubes(), st.integers(0, 200_000))
def test_moves_make_sense(usages: list[Usage], budget: int) -> None:
    for usage, decision in zip(usages, DEFAULT_POLICY.decide(usages, budget, NOW), strict=True):
        if decision.move is Move.PROMOTE:
            assert not usage.in_tier
            assert not usage.quarantined
        if decision.move is Move.DEMOTE:
            assert usage.in_tier
        if decision.move is Move.ARCHIVE:
            assert not usage.pinned
            assert usage.state in {State.ACTIVATED, State.GENERATED}


@given(cubes(), st.integers(0, 200_000))
def test_a_second_run_changes_nothing(usages: list[Usage], budget: int) -> None:
    first = DEFAULT_POLICY.decide(usages, budget, NOW)
    held = {usage.memory_id for usage in in_tier_after(usages, first)}
    after = [replace(usage, in_tier=usage.memory_id in held) for usage in usages]
    second = DEFAULT_POLICY.decide(after, budget, NOW)
    assert {usage.memory_id for usage in in_tier_after(after, second)} >= held or any(
        usage.in_tier and usage.memory_id not in held for usage in usages
    )


def moves(*usages: Usage, budget: int = BUDGET) -> list[Move]:
    return [decision.move for decision in DEFAULT_POLICY.decide(usages, budget, NOW)]


def test_hot_and_stable_is_promoted() -> None:
    assert moves(HOT) == [Move.PROMOTE]
    assert moves(replace(HOT, in_tier=True)) == [Move.HOLD]


@pytest.mark.parametrize(
    "changes",
    [
        {"quarantined": True},
        {"state": State.ARCHIVED},
        {"state": State.MERGED},
        {"created_at": NOW},
        {"edits": 40},
        {"weighted_recalls": 0.5},
        {"tier_bytes": BUDGET + 1},
    ],
)
def test_what_keeps_a_memory_out_also_throws_it_out(changes: dict[str, Any]) -> None:
    assert moves(replace(HOT, **changes)) == [Move.HOLD]
    assert moves(replace(HOT, in_tier=True, **changes)) == [Move.DEMOTE]


def test_a_newcomer_must_be_clearly_denser() -> None:
    holder = replace(HOT, in_tier=True, tier_bytes=BUDGET)
    slightly = replace(HOT, memory_id=UUID(int=2), weighted_recalls=8.5, tier_bytes=BUDGET)
    assert moves(holder, slightly) == [Move.HOLD, Move.HOLD]
    assert moves(holder, replace(slightly, weighted_recalls=20.0)) == [Move.DEMOTE, Move.PROMOTE]


def test_the_cold_are_candidates_for_the_archive() -> None:
    cold = replace(HOT, weighted_recalls=0.0, last_recalled_at=NOW - timedelta(days=120))
    assert moves(cold) == [Move.ARCHIVE]
    assert moves(replace(cold, pinned=True)) == [Move.HOLD]
    assert moves(replace(cold, pinned=True, in_tier=True)) == [Move.HOLD]


def test_counts_decay_the_same_stored_or_summed() -> None:
    recalls = [NOW - timedelta(days=day) for day in (0, 14, 28)]
    assert decayed_recalls(recalls, NOW) == pytest.approx(1.75)
    assert decay_count(decayed_recalls(recalls, NOW), NOW, NOW + timedelta(days=14)) == pytest.approx(
        decayed_recalls(recalls, NOW + timedelta(days=14))
    )


def test_one_early_edit_is_no_habit() -> None:
    assert edits_per_week(replace(HOT, edits=1, created_at=NOW - timedelta(days=1)), NOW) == 1.0
    assert ValueDensity().score(replace(HOT, edits=30), NOW) < ValueDensity().score(HOT, NOW)
