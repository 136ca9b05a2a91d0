"""Summaries quote, fit their cap, and are refused when they invent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from memos.rules.summarise import (
    Candidate,
    SummaryPolicy,
    candidates_of,
    check_summary,
    fact_coverage,
    lexrank,
    summarise,
)

SENTENCES = [
    "Anna moved to Lyon in 2021.",
    "She found a flat near the river.",
    "Great!",
    "Her dog Rex likes the park.",
    "In Lyon she works as a baker.",
    "Thanks a lot, see you soon!",
    "The bakery opens at 6 every morning.",
]


def words(text: str) -> int:
    return len(text.split())


def unit(count: int, seed: int, dimensions: int = 8) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float32)


@given(st.lists(st.sampled_from(SENTENCES), max_size=14), st.integers(0, 99), st.integers(1, 60), st.floats(0, 1))
def test_a_summary_quotes_in_order_and_fits(texts: list[str], seed: int, cap: int, diversity: float) -> None:
    candidates = candidates_of(texts, ["Anna"] * len(texts))
    vectors = unit(len(candidates), seed) if candidates else np.zeros((0, 8), dtype=np.float32)
    policy = SummaryPolicy(max_tokens=cap, diversity=diversity)
    found = summarise(candidates, vectors, words, policy)
    assert bool(found.text) == bool(texts)
    assert [one.order for one in found.chosen] == sorted({one.order for one in found.chosen})
    assert words(found.text) <= max(cap, 2)  # the speaker and one word are never cut
    assert all(any(one.text in text for text in texts) for one in found.chosen)
    assert set(found.sources) <= set(range(len(texts)))
    if texts:
        assert check_summary(found.text, [f"Anna: {text}" for text in texts], []).passed
    assert summarise(candidates, vectors, words, policy) == found


@given(st.integers(1, 30), st.integers(0, 50))
def test_lexrank_is_a_distribution(count: int, seed: int) -> None:
    rank = lexrank(unit(count, seed))
    assert rank.sum() == pytest.approx(1.0, abs=1e-4)
    assert (rank > 0).all()


def test_what_many_sentences_resemble_ranks_first() -> None:
    hub = np.array([1.0, 1.0, 1.0, 1.0])
    vectors = np.stack([hub, *np.eye(4)]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert int(np.argmax(lexrank(vectors.astype(np.float32)))) == 0


def test_small_talk_is_left_out_and_the_same_is_not_said_twice() -> None:
    texts = ["Anna moved to Lyon in 2021.", "Great!", "Anna moved to Lyon in 2021."]
    vectors = np.array([[1, 0], [0.8, 0.6], [1, 0]], dtype=np.float32)
    found = summarise(candidates_of(texts), vectors, words, SummaryPolicy(max_tokens=6))
    assert found.text == "Anna moved to Lyon in 2021."


def test_questions_are_no_candidates() -> None:
    assert [one.text for one in candidates_of(["Is it? It is."])] == ["It is."]


def test_one_row_per_candidate() -> None:
    with pytest.raises(ValueError, match="expected 1 vectors"):
        summarise([Candidate("x", 0, 0)], np.zeros((2, 3), dtype=np.float32), words)


def test_checks_refuse_inventions_and_thin_coverage() -> None:
    sources = ["Anna moved to Lyon in 2021.", "Rex, her dog, likes the park."]
    assert check_summary("Anna moved to Lyon in 2021.", sources, []).passed
    invented = check_summary("Anna moved to Paris in 2020.", sources, [])
    assert invented.ungrounded == ("2020", "paris")
    assert not invented.passed
    thin = check_summary("Anna moved to Lyon.", sources, ["Anna moved to Lyon.", "Rex likes parks."], min_coverage=0.6)
    assert (thin.passed, thin.coverage) == (False, 0.5)
    assert not check_summary("It was all a dream about distant stars and lonely sailors", sources, []).passed
    assert not check_summary(" ", sources, []).passed


def test_coverage_of_no_facts_is_full() -> None:
    assert fact_coverage("anything", []) == 1.0
