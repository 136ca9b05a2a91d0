"""Costs, admission and eviction of stored KV."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.errors import Invalid
from memos.rules.kv_policy import (
    Advice,
    Candidate,
    LoadCost,
    PrefillCost,
    Resident,
    Step,
    Verdict,
    admit,
    advice,
    density,
    evict,
    faded,
    fit_prefill,
    subtree_rates,
    used,
    validity,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
GOOD = Candidate(
    uses=(NOW - HOUR, NOW),
    n_tokens=1024,
    n_bytes=1000,
    uses_per_day=2.0,
    edits_per_day=0.1,
    load_s=0.1,
    prefill_s=2.0,
)


def judge(candidate: Candidate, **room: Any) -> Verdict:
    given_room: dict[str, Any] = {"clock": 0.0, "free_bytes": 10_000, "victim_priority": None} | room
    return admit(candidate, now=NOW, **given_room)


@given(a=st.floats(1e-5, 1e-1), b=st.floats(1e-10, 1e-5))
@settings(deadline=None, max_examples=60)
def test_the_fit_recovers_a_known_curve(a: float, b: float) -> None:
    cost = fit_prefill([(n, a * n + b * n * n) for n in (128, 256, 1024, 4096)])
    for n in (200, 2048, 8192):
        assert cost.seconds(n) == pytest.approx(a * n + b * n * n, rel=1e-3)


@given(st.lists(st.tuples(st.integers(1, 8192), st.floats(1e-3, 60)), min_size=1, max_size=8))
@settings(deadline=None, max_examples=100)
def test_a_fitted_cost_never_falls_with_length(samples: list[tuple[int, float]]) -> None:
    cost = fit_prefill(samples)
    assert cost.linear_s >= 0
    assert cost.quadratic_s >= 0
    assert cost.seconds(100) <= cost.seconds(1000)
    assert cost.seconds(1000) > 0


@pytest.mark.parametrize("samples", [[], [(0, 1.0)], [(10, 0.0)]])
def test_no_fit_on_nonsense(samples: list[tuple[int, float]]) -> None:
    with pytest.raises(Invalid):
        fit_prefill(samples)


@given(n=st.integers(1, 8000), cached=st.integers(0, 8000))
@settings(deadline=None, max_examples=60)
def test_cached_tokens_and_the_rest_cost_the_whole(n: int, cached: int) -> None:
    cost = PrefillCost(1e-3, 1e-7)
    assert cost.seconds(min(n, cached)) + cost.seconds(n, cached=cached) == pytest.approx(cost.seconds(n))


def test_load_cost_counts_latency_fetch_and_decode() -> None:
    cost = LoadCost(0.01, 1e9, {"int4": 5e8})
    assert cost.seconds(10**9, "int4") == pytest.approx(0.01 + 1.0 + 2.0)


def test_advice_is_whatever_is_faster() -> None:
    assert advice(load_s=1.0, prefill_s=1.1) is Advice.LOAD
    assert advice(load_s=1.0, prefill_s=1.0) is Advice.PREFILL


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, Verdict.ADMITTED),
        ({"n_tokens": 255}, Verdict.TOO_SHORT),
        ({"uses": (NOW,)}, Verdict.SEEN_ONCE),
        ({"uses": (NOW - 30 * HOUR, NOW)}, Verdict.SEEN_ONCE),
        ({"uses": (NOW,), "pinned": True}, Verdict.ADMITTED),
        ({"edits_per_day": 2.0}, Verdict.UNSTABLE),
        ({"load_s": 1.4}, Verdict.NOT_FASTER),
        ({"load_s": 1.4, "pinned": True}, Verdict.NOT_FASTER),
        ({"n_bytes": 10_001}, Verdict.NO_BUDGET),
    ],
)
def test_admission_names_the_condition_that_failed(change: dict[str, Any], verdict: Verdict) -> None:
    assert judge(replace(GOOD, **change)) is verdict


def test_a_full_store_admits_what_is_worth_more_than_its_victims() -> None:
    worth = density(uses_per_day=2.0, edits_per_day=0.1, saved_s=1.9, n_bytes=1000)
    assert judge(GOOD, free_bytes=0, victim_priority=worth * 0.9) is Verdict.ADMITTED
    assert judge(GOOD, free_bytes=0, victim_priority=worth * 1.1) is Verdict.NO_BUDGET
    assert judge(GOOD, free_bytes=0, victim_priority=worth * 1.1, clock=worth) is Verdict.ADMITTED
    assert judge(replace(GOOD, pinned=True), free_bytes=0, victim_priority=99.0) is Verdict.ADMITTED


def test_rates_fade_by_half_in_three_days_and_reach_the_true_rate() -> None:
    assert faded(8.0, last=NOW - timedelta(days=3), now=NOW) == pytest.approx(4.0)
    rate, last = 0.0, None
    for day in range(60):
        at = NOW + timedelta(days=day)
        rate, last = used(rate, last=last, now=at), at
    assert rate == pytest.approx(1.0, abs=0.15)


def test_validity_is_the_chance_that_a_use_comes_first() -> None:
    assert validity(3.0, 1.0) == 0.75
    assert validity(0.0, 0.0) == 0.0


def resident(key: str, parent: str = "root", **values: Any) -> Resident:
    base: dict[str, Any] = {"n_bytes": 100, "uses_per_day": 1.0, "edits_per_day": 0.0, "saved_s": 1.0}
    return Resident(key=key.encode(), parent=parent.encode(), **(base | values))


def test_a_chunk_is_used_whenever_a_descendant_is() -> None:
    tree = [resident("a", uses_per_day=1), resident("b", "a", uses_per_day=2), resident("c", "a", uses_per_day=4)]
    assert subtree_rates(tree) == {b"a": 7, b"b": 2, b"c": 4}


def test_leaves_go_first_even_if_their_parent_is_worth_less() -> None:
    tree = [resident("a", saved_s=0.0, uses_per_day=0), resident("b", "a", uses_per_day=9)]
    steps = evict(tree, need_bytes=150, clock=0.0).steps
    assert [(step.key, step.step) for step in steps] == [(b"b", Step.DELETE), (b"a", Step.DELETE)]


def test_demotion_comes_before_deletion_and_the_cheapest_gain_goes_first() -> None:
    tree = [resident("hot", uses_per_day=9, demoted_bytes=25), resident("cold", uses_per_day=1, demoted_bytes=25)]
    eviction = evict(tree, need_bytes=120, clock=0.0)
    assert [(s.key, s.step) for s in eviction.steps] == [
        (b"cold", Step.DEMOTE),
        (b"cold", Step.DELETE),
        (b"hot", Step.DEMOTE),
    ]
    assert eviction.freed_bytes == 175


def test_pinned_chunks_and_their_parents_stay() -> None:
    tree = [resident("a"), resident("b", "a", pinned=True), resident("c")]
    eviction = evict(tree, need_bytes=10_000, clock=0.0)
    assert [step.key for step in eviction.steps] == [b"c"]
    assert eviction.freed_bytes == 100


@st.composite
def forests(draw: st.DrawFn) -> list[Resident]:
    n = draw(st.integers(1, 15))
    out = []
    for i in range(n):
        parent = draw(st.integers(-1, i - 1))
        n_bytes = draw(st.integers(1, 1000))
        out.append(
            Resident(
                key=bytes([i]),
                parent=b"root" if parent < 0 else bytes([parent]),
                n_bytes=n_bytes,
                uses_per_day=draw(st.floats(0, 10)),
                edits_per_day=draw(st.floats(0, 10)),
                saved_s=draw(st.floats(-1, 10)),
                demoted_bytes=draw(st.none() | st.integers(1, 1200)),
                pinned=draw(st.booleans()) and draw(st.booleans()),
            )
        )
    return out


@given(forest=forests(), need=st.integers(0, 5000))
@settings(deadline=None, max_examples=150)
def test_eviction_frees_enough_or_all_it_may_and_orphans_nothing(forest: list[Resident], need: int) -> None:
    eviction = evict(forest, need_bytes=need, clock=1.0)
    deleted = {step.key for step in eviction.steps if step.step is Step.DELETE}
    kept = [item for item in forest if item.key not in deleted]
    assert eviction.freed_bytes == sum(step.freed_bytes for step in eviction.steps)
    assert not any(item.parent in deleted for item in kept)
    assert not any(item.pinned for item in forest if item.key in deleted)
    assert eviction.clock >= 1.0
    if eviction.freed_bytes < need:
        by_key = {item.key: item for item in forest}
        protected: set[bytes] = set()
        for item in forest:
            at = item if item.pinned else None
            while at is not None:
                protected.add(at.key)
                at = by_key.get(at.parent)
        assert {item.key for item in kept} == protected
