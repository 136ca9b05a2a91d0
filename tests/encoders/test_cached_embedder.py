from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.encoders.cached_embedder import CachedEmbedder
from memos.encoders.fake_embedder import FakeEmbedder


class CountingEmbedder(FakeEmbedder):
    """Remembers which texts it was asked for."""

    def __init__(self) -> None:
        super().__init__(16)
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return super().embed(texts)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "d", "", "\ud800"]), max_size=6)), st.integers(1, 4))
def test_answers_are_those_of_the_inner_embedder(calls: list[list[str]], max_entries: int) -> None:
    cached = CachedEmbedder(FakeEmbedder(16), max_entries)

    for texts in calls:
        assert np.array_equal(cached.embed(texts), FakeEmbedder(16).embed(texts))


def test_only_new_texts_are_computed_and_each_once() -> None:
    inner = CountingEmbedder()
    cached = CachedEmbedder(inner, 10)

    cached.embed(["one", "two", "one"])
    cached.embed(["two", "three"])

    assert inner.asked == ["one", "two", "three"]


def test_the_least_recently_used_goes_first() -> None:
    inner = CountingEmbedder()
    cached = CachedEmbedder(inner, 2)
    for text in ("one", "two", "one", "three"):
        cached.embed([text])
    inner.asked.clear()

    cached.embed(["one"])
    assert inner.asked == []
    cached.embed(["two"])
    assert inner.asked == ["two"]


def test_a_call_with_more_texts_than_entries_is_answered() -> None:
    texts = [f"text {number}" for number in range(50)]

    assert CachedEmbedder(FakeEmbedder(16), 3).embed(texts).shape == (50, 16)


def test_a_caller_may_change_what_it_got() -> None:
    cached = CachedEmbedder(FakeEmbedder(16), 10)
    expected = cached.embed(["one"])

    cached.embed(["one"])[:] = 0

    assert np.array_equal(cached.embed(["one"]), FakeEmbedder(16).embed(["one"]))
    assert np.array_equal(expected, FakeEmbedder(16).embed(["one"]))


def test_threads_that_share_it_get_right_answers() -> None:
    cached = CachedEmbedder(FakeEmbedder(16), 3)
    texts = [f"text {number % 7}" for number in range(400)]

    with ThreadPoolExecutor(8) as threads:
        vectors = list(threads.map(lambda text: cached.embed([text])[0], texts))

    assert np.array_equal(vectors, FakeEmbedder(16).embed(texts))


def test_it_stands_for_the_inner_embedder() -> None:
    inner = FakeEmbedder(16)
    cached = CachedEmbedder(inner, 3)

    assert (cached.name, cached.fingerprint) == (inner.name, inner.fingerprint)
    assert (cached.dimensions, cached.max_tokens) == (inner.dimensions, inner.max_tokens)
    assert cached.count_tokens("three plain words") == 3
    assert cached.embed([]).shape == (0, 16)


def test_a_cache_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        CachedEmbedder(FakeEmbedder(), 0)
