"""What all matches of a filter must have: never less, or a list would hide one of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.rules import filters
from memos.rules.filters import METADATA, Condition, Filter, Group, Not
from memos.rules.narrowing import Must, OneOf, Span, few, fewest, necessary, told
from tests.filtering import nested

DAY = datetime(2026, 3, 1, tzinfo=UTC)
_ORDER = {"gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}

words = st.sampled_from(["a", "b", "c"])
numbers = st.sampled_from([0, 1, 1.0, 2.5])
days = st.integers(0, 4).map(lambda n: DAY + timedelta(days=n))
instants = days.map(datetime.isoformat)
scalars = st.one_of(words, numbers, st.booleans(), st.none())
memories = st.fixed_dictionaries(
    {
        "session_id": st.none() | words, "name": st.none() | words, "tags": st.lists(words, max_size=2),
        "created_at": days, "metadata.k": scalars, "metadata.l": scalars, "trust": st.sampled_from([0.0, 1.0]),
    }
)  # fmt: skip
asked = st.one_of(
    st.tuples(
        st.sampled_from(["session_id", "name"]), st.tuples(st.sampled_from(["eq", "ne", "contains"]), words)
    ),
    st.tuples(st.sampled_from(["session_id", "name", "tags"]), st.tuples(st.just("in"), st.lists(words, min_size=1))),
    st.tuples(st.just("tags"), st.tuples(st.sampled_from(["contains", "eq", "ne"]), words)),
    st.tuples(st.just("created_at"), st.tuples(st.sampled_from(["eq", "ne", *_ORDER]), instants)),
    st.tuples(st.sampled_from(["metadata.k", "metadata.l"]), st.tuples(st.sampled_from(["eq", "ne"]), scalars)),
    st.tuples(st.just("metadata.k"), st.tuples(st.just("in"), st.lists(scalars, min_size=1, max_size=3))),
    st.tuples(st.just("trust"), st.tuples(st.just("gte"), st.sampled_from([0.0, 1.0]))),
).map(lambda one: {one[0]: {one[1][0]: one[1][1]}})  # fmt: skip
trees = nested(asked, width=3, leaves=6).map(filters.parse)


def same(one: object, other: object) -> bool:
    """As JSON has it: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def matches(tree: Filter, memory: Mapping[str, Any]) -> bool:
    match tree:
        case Group():
            return (all if tree.operator == "and" else any)(matches(part, memory) for part in tree.parts)
        case Not():
            return not matches(tree.part, memory)
        case Condition():
            return holds(tree, memory[tree.field])


def holds(one: Condition, value: Any) -> bool:
    if one.operator == "ne":
        return not holds(Condition(one.field, one.type, "eq", one.value), value)
    if one.field == "tags":
        return any(word in value for word in (one.value if one.operator == "in" else [one.value]))
    if value is None and not one.field.startswith(METADATA):
        return False
    if one.operator in _ORDER:
        return bool(getattr(value, _ORDER[one.operator])(one.value))
    if one.operator == "contains":
        return one.value in value
    return any(same(value, wanted) for wanted in (one.value if one.operator == "in" else [one.value]))


def has(must: Must, memory: Mapping[str, Any]) -> bool:
    if isinstance(must, Span):
        return (must.begin or DAY) <= memory["created_at"] <= (must.until or DAY + timedelta(days=9))
    return any(wanted in memory[name] if name == "tags" else same(memory[name], wanted) for name, wanted in must.values)


@given(trees, memories)
def test_whoever_matches_has_all_that_is_necessary(tree: Filter, memory: Mapping[str, Any]) -> None:
    if matches(tree, memory):
        assert all(has(must, memory) for must in necessary(tree))


@given(trees, memories)
def test_where_the_lists_tell_all_whoever_has_it_matches(tree: Filter, memory: Mapping[str, Any]) -> None:
    musts = necessary(tree)
    if told(tree) and not any(isinstance(must, Span) for must in musts):
        assert musts
        assert matches(tree, memory) == all(has(must, memory) for must in musts)


@pytest.mark.parametrize(
    ("asked", "musts"),
    [
        ({"session_id": {"eq": "s"}}, (OneOf((("session_id", "s"),)),)),
        ({"tags": {"contains": "t"}, "metadata.n": {"in": [1, "x"]}},
         (OneOf((("tags", "t"),)), OneOf((("metadata.n", 1), ("metadata.n", "x"))))),
        ({"created_at": {"gte": "2026-03-01T00:00:00Z", "lt": "2026-03-03T00:00:00Z"}},
         (Span(DAY, DAY + timedelta(days=2)),)),
        ({"or": [{"name": {"eq": "a"}}, {"metadata.k": {"eq": True}}]}, (OneOf((("name", "a"), ("metadata.k", True))),)),
        ({"or": [{"name": {"eq": "a"}}, {"trust": {"gte": 0.5}}]}, ()),
        ({"not": {"name": {"eq": "a"}}}, ()),
        ({"metadata.k": {"eq": None}}, ()),
        ({"metadata.k": {"contains": "part"}}, ()),
    ],
)  # fmt: skip
def test_what_is_necessary(asked: dict[str, Any], musts: tuple[Must, ...]) -> None:
    assert necessary(filters.parse(asked)) == musts


def test_the_shortest_list_is_taken_unless_all_are_long() -> None:
    assert fewest([10, 7, 8], most=9) == 1
    assert fewest([9], most=9) == 0
    assert fewest([10], most=9) is None
    assert fewest([], most=9) is None


@given(st.integers(0, 10_000_000))
def test_a_larger_cube_compares_more_but_a_smaller_share(memories: int) -> None:
    assert few(memories) <= few(4 * memories) <= 2 * few(memories) + 1
    assert few(100_000) < 20_000  # where a walk through the graph would give up
