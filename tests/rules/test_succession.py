"""What replaced a hit stands before it, and only where the question asks how things are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.attributes import attribute_key
from memos.rules.lexical import terms
from memos.rules.succession import Succession, asks_for, asks_for_now, lifts
from memos.rules.times import find_times

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("question", "now"),
    [
        ("Where does Marta live?", True),
        ("Marta's current job", True),
        ("Where is the office going to be next year?", True),
        ("Where did Marta live before?", False),
        ("What was her job?", False),
        ("Which car do they drive in 2019?", False),
        ("her previous employer", False),
    ],
)
def test_a_question_tells_of_now_unless_it_tells_of_the_past(question: str, now: bool) -> None:
    assert asks_for_now(question, find_times(question, NOW), NOW) is now


@pytest.mark.parametrize(
    ("question", "attribute", "wanted"),
    [
        ("Where does Marta live?", "live in", True),
        ("Marta's home town", "live in", True),
        ("Who is Marta's husband?", "live in", False),
        ("What is her favourite food?", "favourite food", True),
        ("What is she allergic to?", "favourite food", False),
        ("Which company does she work for?", "work for", True),
        ("What is her profession?", "job", True),
        ("Is it in the box?", "live in", False),
    ],
)
def test_a_question_asks_for_an_attribute_by_its_name_or_another_word(
    question: str, attribute: str, wanted: bool
) -> None:
    assert asks_for(terms(question), attribute_key(attribute)) is wanted


@settings(deadline=None, max_examples=300)
@given(
    evidence=st.dictionaries(st.integers(1, 12), st.floats(-20, 20), min_size=1),
    told=st.lists(st.tuples(st.integers(1, 14), st.lists(st.integers(1, 14), max_size=3)), max_size=5),
)
def test_every_hit_stands_behind_an_heir_where_there_is_one(
    evidence: dict[int, float], told: list[tuple[int, list[int]]]
) -> None:
    found = [Succession(hit, tuple(heirs)) for hit, heirs in told]
    gains = lifts(found, evidence)
    assert gains.keys() <= evidence.keys()
    lifted = {one: evidence[one] + gains.get(one, 0.0) for one in evidence}
    for one in found:
        heirs = [heir for heir in one.heirs if heir in evidence and heir != one.hit]
        if heirs and one.hit in evidence:
            assert max(lifted[heir] for heir in heirs) > evidence[one.hit]


def test_what_is_ahead_already_is_not_lifted_and_what_is_over_falls_back() -> None:
    assert lifts([Succession(1, (2,))], {1: 0.5, 2: 0.7}) == {1: -1.0}
    assert lifts([Succession(1, (2,))], {1: 0.5, 2: 0.1}).keys() == {1, 2}
    assert lifts([Succession(1, (3,))], {1: 0.5, 2: 0.7}) == {}  # a heir that may not be shown
