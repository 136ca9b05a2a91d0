"""Names and persons of queries."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.speakers import asked_role, name_terms, named_speakers, without_names

SPEAKERS = ("Melanie", "Jean Luc", "Will", "小明", "user")


@pytest.mark.parametrize(
    ("query", "named", "rest"),
    [
        ("Where has Melanie camped?", {"Melanie"}, "Where has camped?"),
        ("what is melanie\u2019s dog called", {"Melanie"}, "what is dog called"),
        ("What did Luc and Melanie paint?", {"Melanie", "Jean Luc"}, "What did and paint?"),
        ("Will it rain in Paris?", set(), "Will it rain in Paris?"),
        ("Which car did Will buy?", {"Will"}, "Which car did buy?"),
        ("小明喜欢什么", {"小明"}, "喜欢什么"),
        ("Melanie?", {"Melanie"}, "Melanie?"),
        ("the user manual", set(), "the user manual"),
        ("Melanied", set(), "Melanied"),
    ],
)
def test_names_are_found_and_taken_out(query: str, named: set[str], rest: str) -> None:
    assert named_speakers(query, SPEAKERS) == named
    assert without_names(query, SPEAKERS) == rest


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=80), st.lists(st.text(max_size=10), max_size=4))
def test_any_text_and_any_names_are_taken(query: str, speakers: list[str]) -> None:
    rest = without_names(query, speakers)
    assert len(rest) <= len(query)
    assert named_speakers(query, speakers) <= set(speakers)
    if not named_speakers(query, speakers):
        assert rest == query


@pytest.mark.parametrize(
    ("query", "role"),
    [
        ("Where did I buy my lamp?", "user"),
        ("Can you tell me when we met?", "user"),
        ("Which book did you recommend?", "assistant"),
        ("Remind me of the name of that cafe", "assistant"),
        ("Where does Anna live?", None),
        ("", None),
    ],
)
def test_persons_mean_roles(query: str, role: str | None) -> None:
    assert asked_role(query) == role


def test_name_terms_are_lexical_terms() -> None:
    assert name_terms(["Jean Luc", "Melanie"]) == {"jean", "luc", "melani"}
