from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from memos.encoders.fake_embedder import FakeEmbedder
from memos.encoders.reranker import (
    MaxSimReranker,
    OverlapReranker,
    Reranker,
    inverse_document_frequencies,
    maxsim,
)

TEXTS = [
    "Mina: the espresso machine broke down again this morning.",
    "Tomas: my sister found the wedding ring behind the stove.",
    "Mina: good morning!",
    "",
    "Ines: we walked along the lake until it was dark.",
]


@pytest.fixture(params=["overlap", "maxsim of the fake", "maxsim", "maxsim without weights"])
def reranker(request: pytest.FixtureRequest) -> Reranker:
    match request.param:
        case "overlap":
            return OverlapReranker()
        case "maxsim of the fake":
            return MaxSimReranker(FakeEmbedder(64))
        case "maxsim":
            return MaxSimReranker(request.getfixturevalue("onnx_embedder"))
        case _:
            return MaxSimReranker(request.getfixturevalue("onnx_embedder"), weigh_by_rarity=False)


def test_one_score_for_each_text(reranker: Reranker) -> None:
    scores = reranker.score("where was the wedding ring", TEXTS)

    assert scores.shape == (len(TEXTS),)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert reranker.score("where was the wedding ring", []).shape == (0,)


def test_the_text_that_answers_comes_first(reranker: Reranker) -> None:
    assert reranker.score("Who found the wedding ring?", TEXTS).argmax() == 1
    assert reranker.score("broken espresso machine", TEXTS).argmax() == 0


def test_scores_follow_the_order_of_the_texts(reranker: Reranker) -> None:
    forward, backward = (reranker.score("along the lake", texts) for texts in (TEXTS, TEXTS[::-1]))

    assert forward == pytest.approx(backward[::-1], abs=1e-5)


@pytest.mark.parametrize("query", ["", "\x00", "😀", "\ud800", "wort " * 500])
def test_any_query_is_answered(reranker: Reranker, query: str) -> None:
    assert np.isfinite(reranker.score(query, TEXTS)).all()


def test_an_empty_text_scores_zero(reranker: Reranker) -> None:
    assert reranker.score("along the lake", TEXTS)[3] == 0


def test_threads_share_it(reranker: Reranker) -> None:
    expected = reranker.score("along the lake", TEXTS)

    with ThreadPoolExecutor(8) as threads:
        for scores in threads.map(lambda _: reranker.score("along the lake", TEXTS), range(16)):
            assert np.array_equal(scores, expected)


def test_rare_tokens_weigh_more() -> None:
    ids = [np.array([1, 2], np.int32), np.array([1, 3, 3], np.int32), np.array([1], np.int32)]

    common, rare, absent = inverse_document_frequencies(np.array([1, 3, 9], np.int32), ids)

    assert 0 < common < rare < absent
    assert common == pytest.approx(np.log(1 + 0.5 / 3.5))


def unit_rows(rows: int, seed: int) -> NDArray[np.float16]:
    states = np.random.default_rng(seed).normal(size=(rows, 5)).astype(np.float32)
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    return states.astype(np.float16)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 4), st.lists(st.integers(0, 4), max_size=6), st.booleans(), st.integers(0, 10_000))
def test_maxsim_is_the_weighted_mean_of_best_matches(
    query_tokens: int, candidate_tokens: list[int], weighted: bool, seed: int
) -> None:
    query = unit_rows(query_tokens, seed)
    candidates = [unit_rows(tokens, seed + 1 + place) for place, tokens in enumerate(candidate_tokens)]
    weights = np.random.default_rng(seed).uniform(0.1, 3, query_tokens).astype(np.float32) if weighted else None

    scores = maxsim(query, candidates, weights)

    for candidate, score in zip(candidates, scores, strict=True):
        assert score == pytest.approx(one_pair_at_a_time(query, candidate, weights), abs=1e-5)


def one_pair_at_a_time(
    query: NDArray[np.float16], candidate: NDArray[np.float16], weights: NDArray[np.float32] | None
) -> float:
    if not len(query) or not len(candidate):
        return 0.0
    total = mass = 0.0
    for place, token in enumerate(query.astype(float)):
        weight = 1.0 if weights is None else float(weights[place])
        total += weight * max(float(token @ other) for other in candidate.astype(float))
        mass += weight
    return total / mass
