"""When to walk over the graph, and what its finds count."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.graph_routing import GRAPH_EVIDENCE, evidence_of, is_chained, question_keys, walks


@pytest.mark.parametrize(
    ("question", "chained"),
    [
        ("Where was the spouse of the author of The Silver Oar born?", True),
        ("What is the name of my sister's dog's vet?", True),
        ("In which city does the man who built the boat of Dora live?", True),
        ("Where does Dora live?", False),
        ("When did we go to the museum?", False),
        ("Who wrote it?", False),
        ("", False),
    ],
)
def test_chained_questions_are_told_by_their_form(question: str, chained: bool) -> None:
    assert is_chained(question) is chained


def test_a_walk_needs_facts_to_begin_from() -> None:
    question = "Where was the spouse of the author of The Silver Oar born?"
    assert walks(question, ["fact"] * 5, "auto")
    assert walks(question, ["fact", "fact", "fact", "turn", "turn"], "mid")
    assert not walks(question, ["turn"] * 5, "auto")
    assert not walks(question, ["fact"] * 5, "low")
    assert not walks(question, [], "high")
    assert not walks("Where does Dora live?", ["fact"] * 5, "auto")
    assert walks("Where does Dora live?", ["fact"] * 5, "high")


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=200))
def test_any_question_can_be_read(question: str) -> None:
    assert is_chained(question) in (True, False)
    assert all(question_keys([question]))


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.integers(0, 30), st.floats(0, 1)), st.frozensets(st.integers(0, 30)))
def test_evidence_goes_to_new_finds_only_and_is_bounded(shares: dict[int, float], seeds: frozenset[int]) -> None:
    found = evidence_of(shares, seeds)
    assert not seeds & set(found)
    assert all(0 <= evidence <= GRAPH_EVIDENCE for evidence in found.values())
    if found:
        assert max(found.values()) == GRAPH_EVIDENCE
