"""Replays whose outcome can be counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.kv_simulation import Bundle, Order, Rules, simulate

UNIT = Bundle(n_bytes=1, prefill_s=1.0, load_s=0.1)


def test_an_unlimited_store_misses_each_bundle_once() -> None:
    outcome = simulate([0, 1, 0, 1, 0], [UNIT, UNIT], capacity_bytes=9, rules=Rules(Order.LRU))
    assert (outcome.hits, outcome.built_s) == (3, 2.0)
    assert outcome.saved_share == pytest.approx(3 * 0.9 / 5)
    assert outcome.net_share == pytest.approx((2.7 - 2) / 5)


def test_second_use_admits_only_what_came_back_in_time() -> None:
    rules = Rules(Order.LRU, second_use_within=2)
    outcome = simulate([0, 0, 0, 1, 2, 3, 1], [UNIT] * 4, capacity_bytes=9, rules=rules)
    assert (outcome.hits, outcome.built_s) == (1, 1.0)


def test_lru_and_gdsf_part_ways_over_cost() -> None:
    costly, cheap = Bundle(1, 10.0, 0.1), Bundle(1, 1.0, 0.1)
    trace = [0, 1, 2, 0, 1, 2, 0]
    bundles = [costly, cheap, cheap]
    lru = simulate(trace, bundles, capacity_bytes=2, rules=Rules(Order.LRU))
    gdsf = simulate(trace, bundles, capacity_bytes=2, rules=Rules(Order.GDSF))
    assert lru.hits == 0
    assert gdsf.saved_s == pytest.approx(2 * 9.9)


def test_what_cannot_pay_or_fit_is_never_built() -> None:
    slow, huge = Bundle(1, 1.0, 0.9), Bundle(50, 1.0, 0.1)
    outcome = simulate([0, 0, 1, 1], [slow, huge], capacity_bytes=10, rules=Rules(Order.GDSF))
    assert (outcome.hits, outcome.built_s) == (0, 0.0)


def test_an_empty_trace_has_shares_of_zero() -> None:
    outcome = simulate([], [UNIT], capacity_bytes=1, rules=Rules(Order.LFU))
    assert (outcome.hit_share, outcome.saved_share, outcome.net_share) == (0.0, 0.0, 0.0)


@given(
    trace=st.lists(st.integers(0, 9), max_size=200),
    capacity=st.integers(1, 12),
    order=st.sampled_from(list(Order)),
)
@settings(deadline=None, max_examples=60)
def test_with_equal_bundles_every_policy_saves_what_it_hits(trace: list[int], capacity: int, order: Order) -> None:
    outcome = simulate(trace, [UNIT] * 10, capacity_bytes=capacity, rules=Rules(order))
    assert outcome.saved_s == pytest.approx(0.9 * outcome.hits)
    assert outcome.built_s == pytest.approx(len(trace) - outcome.hits)
    assert outcome.hits <= len(trace) - len(set(trace))
