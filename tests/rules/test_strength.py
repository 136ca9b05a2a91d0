"""Decay is monotone in time, reinforcement monotone in recalls, whatever the pattern of use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.strength import (
    INITIAL_STABILITY_DAYS,
    STABILITY_MAX_DAYS,
    Retention,
    fades_at,
    initial_retention,
    reinforce,
    retrievability,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
days = st.floats(0, 3000, allow_nan=False)
retentions = st.builds(
    lambda stability, recalls: Retention(stability, START, recalls), st.floats(0.5, 3000), st.integers(0, 50)
)


def at(offset_days: float) -> datetime:
    return START + timedelta(days=offset_days)


def test_stability_is_the_time_to_nine_tenths() -> None:
    assert retrievability(Retention(30.0, START), at(30)) == pytest.approx(0.9)


@given(retentions, days, days)
def test_retrievability_falls_with_time_and_stays_a_probability(retention: Retention, one: float, two: float) -> None:
    early, late = sorted((one, two))
    assert 0.0 < retrievability(retention, at(late)) <= retrievability(retention, at(early)) <= 1.0


@given(retentions, days, days)
def test_a_recall_never_weakens(retention: Retention, recalled: float, later: float) -> None:
    after = reinforce(retention, at(recalled))
    assert after.stability_days >= retention.stability_days
    assert after.recalls == retention.recalls + 1
    moment = at(recalled + later)
    assert retrievability(after, moment) >= retrievability(retention, moment)


@settings(max_examples=200)
@given(retentions, st.lists(days, max_size=8), days)
def test_one_recall_more_never_weakens_at_any_later_time(
    retention: Retention, recalls: list[float], extra: float
) -> None:
    def after(moments: list[float]) -> Retention:
        state = retention
        for moment in sorted(moments):
            state = reinforce(state, at(moment))
        return state

    few, many = after(recalls), after([*recalls, extra])
    end = max([extra, *recalls])
    for wait in (0.0, 1.0, 30.0, 1000.0):
        weaker, stronger = retrievability(few, at(end + wait)), retrievability(many, at(end + wait))
        assert stronger >= weaker - 1e-9


@given(retentions)
def test_massed_recalls_add_nothing(retention: Retention) -> None:
    state = retention
    for second in range(20):
        state = reinforce(state, START + timedelta(seconds=second))
    assert state.stability_days <= retention.stability_days * 1.01


def test_spaced_recalls_add_more_than_early_ones() -> None:
    retention = Retention(10.0, START)
    growth = [reinforce(retention, at(day)).stability_days for day in (1, 10, 60, 200)]
    assert growth == sorted(growth)
    assert reinforce(retention, at(10)).stability_days == pytest.approx(20.0, rel=0.01)


def test_stability_is_capped() -> None:
    assert reinforce(Retention(3600.0, START), at(3000)).stability_days == STABILITY_MAX_DAYS


def test_a_recall_that_arrives_late_does_not_turn_back_the_clock() -> None:
    recent = reinforce(Retention(10.0, START), at(50))
    assert reinforce(recent, at(20)).last_recalled_at == at(50)


@given(st.sampled_from(sorted(INITIAL_STABILITY_DAYS)), st.floats(0, 1), st.floats(0, 1))
def test_priority_slows_fading(kind: str, one: float, two: float) -> None:
    low, high = sorted((one, two))
    weak = initial_retention(kind, priority=low, created_at=START)
    strong = initial_retention(kind, priority=high, created_at=START)
    assert weak.stability_days <= strong.stability_days


@given(retentions, st.floats(0.05, 0.99))
def test_fading_is_foretold(retention: Retention, threshold: float) -> None:
    moment = fades_at(retention, threshold)
    assert retrievability(retention, moment) == pytest.approx(threshold, abs=1e-3) or moment > at(390_000)


def test_default_turn_fades_below_half_after_about_four_months() -> None:
    turn = initial_retention("turn", priority=0.5, created_at=START)
    assert (fades_at(turn, 0.5) - START).days == 127
