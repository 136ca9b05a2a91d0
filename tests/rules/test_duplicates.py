"""Near-duplicates: one survivor per group, nothing lost, distinct texts left alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.duplicates import Item, group_duplicates, similar_pairs

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TEXTS = [
    "Anna moved to Lyon in 2021.",
    "Anna moved to Lyon in 2021!",
    "Anna moved to Lyon in 2022.",
    "Anna never moved to Lyon in 2021.",
    "The cat sleeps on the red sofa.",
    "The cat sleeps on the red sofa all day.",
    "Nothing like the others at all, really.",
]


def item(number: int, text: str, **changes: Any) -> Item:
    return replace(Item(UUID(int=number), "fact", text, NOW), **changes)


@st.composite
def stores(draw: st.DrawFn) -> tuple[list[Item], list[tuple[UUID, UUID, float]]]:
    count = draw(st.integers(0, 10))
    items = [
        item(
            number,
            draw(st.sampled_from(TEXTS)),
            kind=draw(st.sampled_from(["fact", "turn"])),
            trust=draw(st.sampled_from([0.5, 1.0])),
            frozen=draw(st.booleans()),
            pinned=draw(st.booleans()),
        )
        for number in range(count)
    ]
    pairs = [
        (UUID(int=one), UUID(int=two), draw(st.sampled_from([0.5, 0.93, 0.99])))
        for one in range(count)
        for two in range(one + 1, count)
    ]
    return items, pairs


@settings(max_examples=150)
@given(stores(), st.randoms(use_true_random=False))
def test_groups_are_disjoint_keep_a_survivor_and_ignore_order(
    store: tuple[list[Item], list[tuple[UUID, UUID, float]]], random: Random
) -> None:
    items, pairs = store
    groups = group_duplicates(items, pairs)
    by_id = {one.memory_id: one for one in items}
    folded = [name for group in groups for name in group.folded_ids]
    assert len(folded) == len(set(folded))
    for group in groups:
        assert group.survivor_id not in folded
        assert group.folded_ids
        for name in group.folded_ids:
            assert by_id[name].kind == by_id[group.survivor_id].kind
            assert not by_id[name].pinned
            assert not by_id[name].frozen
            assert not by_id[group.survivor_id].frozen
            assert by_id[name].trust <= by_id[group.survivor_id].trust
    assert len(items) - len(folded) >= bool(items)
    shuffled, reordered = list(items), [(two, one, cosine) for one, two, cosine in pairs]
    random.shuffle(shuffled)
    random.shuffle(reordered)
    assert group_duplicates(shuffled, reordered) == groups


@pytest.mark.parametrize(
    ("first", "second", "folded"),
    [
        ("Anna moved to Lyon in 2021.", "Anna moved to Lyon in 2021!", True),
        ("Anna moved to Lyon in 2021.", "Anna moved to Lyon in 2022.", False),
        ("Anna moved to Lyon.", "Tom moved to Lyon.", False),
        ("I love my new job.", "I love my old job.", False),
        ("I like sushi.", "I don't like sushi.", False),
        ("The cat sleeps on the red sofa.", "The cat sleeps on the red sofa all day.", True),
        ("The cat sleeps.", "The cat sleeps on the red sofa near the window while it rains outside.", False),
    ],
)
def test_what_counts_as_the_same(first: str, second: str, *, folded: bool) -> None:
    items = [item(1, first), item(2, second)]
    assert bool(group_duplicates(items, [(UUID(int=1), UUID(int=2), 0.96)])) is folded


def test_yesterday_is_another_day_tomorrow() -> None:
    said = item(1, "I ran ten miles yesterday.")
    again = replace(said, memory_id=UUID(int=2), created_at=NOW + timedelta(days=7))
    pair = [(UUID(int=1), UUID(int=2), 1.0)]
    assert group_duplicates([said, again], pair) == []
    assert len(group_duplicates([said, replace(again, created_at=NOW)], pair)) == 1


def test_a_chain_of_neighbours_does_not_drift() -> None:
    items = [
        item(1, "red green blue white black"),
        item(2, "red green blue white"),
        item(3, "green blue white"),
    ]
    pairs = [(UUID(int=1), UUID(int=2), 0.95), (UUID(int=2), UUID(int=3), 0.95), (UUID(int=1), UUID(int=3), 0.5)]
    groups = group_duplicates(items, pairs)
    assert [(group.survivor_id.int, [name.int for name in group.folded_ids]) for group in groups] == [(1, [2])]


@given(st.integers(0, 40), st.integers(1, 16), st.floats(-1, 1))
def test_blocks_find_the_same_pairs_as_one_product(count: int, block: int, threshold: float) -> None:
    random = np.random.default_rng(count)
    vectors = random.normal(size=(count, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) if count else 1.0
    ids = [UUID(int=number) for number in range(count)]
    whole = similar_pairs(ids, vectors, threshold, block=1000)
    parts = similar_pairs(ids, vectors, threshold, block=block)
    assert {pair[:2] for pair in whole} ^ {pair[:2] for pair in parts} <= {
        pair[:2] for pair in [*whole, *parts] if abs(pair[2] - threshold) < 1e-5
    }


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="one row of vectors per id"):
        similar_pairs([UUID(int=1)], np.zeros((2, 3), dtype=np.float32), 0.9)
