from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metrics import (
    Latency,
    all_at,
    any_at,
    approximate_tokens,
    distinct,
    mean,
    ndcg_at,
    percentile,
    recall_at,
    reciprocal_rank,
)

RANKED = ["a", "b", "c", "d"]


def test_recall_counts_the_relevant_among_the_first_k() -> None:
    assert recall_at(RANKED, {"b", "d", "x"}, 3) == pytest.approx(1 / 3)
    assert recall_at(RANKED, {"b", "d", "x"}, 4) == pytest.approx(2 / 3)


def test_any_and_all() -> None:
    assert any_at(RANKED, {"b", "x"}, 2) == 1
    assert any_at(RANKED, {"b", "x"}, 1) == 0
    assert all_at(RANKED, {"a", "b"}, 2) == 1
    assert all_at(RANKED, {"a", "c"}, 2) == 0


def test_ndcg_by_hand() -> None:
    gain = 1 / math.log2(3) + 1 / math.log2(5)
    ideal = 1 + 1 / math.log2(3)
    assert ndcg_at(RANKED, {"b", "d"}, 4) == pytest.approx(gain / ideal)
    assert ndcg_at(["a", "b"], {"a", "b", "c"}, 2) == pytest.approx(1.0)


def test_reciprocal_rank() -> None:
    assert reciprocal_rank(RANKED, {"c", "d"}) == pytest.approx(1 / 3)
    assert reciprocal_rank(RANKED, {"x"}) == 0


@pytest.mark.parametrize("score", [recall_at, any_at, all_at, ndcg_at])
def test_nothing_relevant_is_an_error(score: object) -> None:
    with pytest.raises(ValueError, match="nothing is relevant"):
        score(RANKED, set(), 5)  # type: ignore[operator]
    with pytest.raises(ValueError, match="k counts from 1"):
        score(RANKED, {"a"}, 0)  # type: ignore[operator]


def test_distinct_keeps_the_better_place() -> None:
    assert distinct(["a", "b", "a", "c", "b"]) == ["a", "b", "c"]


def test_percentiles_are_linear_between_neighbours() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2.5
    assert percentile([1, 2], 100) == 2
    assert math.isnan(percentile([], 50))
    with pytest.raises(ValueError, match="percentile"):
        percentile([1], 101)


def test_an_empty_group_shows_as_nan() -> None:
    assert math.isnan(mean([]))
    assert math.isnan(Latency.of([]).p50_ms)


def test_tokens_round_up() -> None:
    assert [approximate_tokens(text) for text in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]


rankings = st.lists(st.sampled_from("abcdefghij"), unique=True, max_size=10)
relevant_ids = st.sets(st.sampled_from("abcdefghijkl"), min_size=1)


@settings(deadline=None, max_examples=100)
@given(rankings, relevant_ids, st.integers(1, 12))
def test_scores_lie_between_none_and_all(ranked: list[str], relevant: set[str], k: int) -> None:
    recall = recall_at(ranked, relevant, k)
    assert all_at(ranked, relevant, k) <= recall <= any_at(ranked, relevant, k)
    assert 0 <= ndcg_at(ranked, relevant, k) <= 1 + 1e-12
    assert recall_at(ranked, relevant, k + 1) >= recall


@settings(deadline=None, max_examples=50)
@given(relevant_ids, st.integers(1, 12))
def test_the_ideal_ranking_scores_one(relevant: set[str], k: int) -> None:
    ranked = sorted(relevant)
    assert ndcg_at(ranked, relevant, k) == pytest.approx(1.0)
    assert reciprocal_rank(ranked, relevant) == 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_percentiles_are_ordered(values: list[float]) -> None:
    found = [percentile(values, percent) for percent in (0, 50, 95, 99, 100)]
    assert found == sorted(found)
    assert found[0] == min(values)
    assert found[-1] == max(values)
