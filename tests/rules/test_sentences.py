"""Sentences and clauses: spans that cite their place, and cuts that tear nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.rules.clauses import plain, split_clauses
from memos.rules.negation import ends_something, is_negated, signals_change
from memos.rules.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith lives in the U.S. with J. Doe. He is 3.5 years older.", 2),
        ("It died in Washington, D.C.. She left.", 2),
        ("Wait... what? OK", 3),
        ("今天很好。我去了北京！好吗？", 3),
        ("- first\n- second", ["first", "second"]),
        ("", []),
        ("👍", ["👍"]),
    ],
)
def test_where_sentences_end(text: str, sentences: list[str] | int) -> None:
    found = [sentence.text for sentence in split_sentences(text)]
    assert (found if isinstance(sentences, list) else len(found)) == sentences


def test_a_numbered_line_is_one_statement() -> None:
    (first, second) = split_sentences("12. Bo died in Washington, D.C. in 1999. He was old.\n13. Al lives.")
    assert (first.number, second.number) == (12, 13)
    assert first.text.startswith("Bo died")
    assert first.text.endswith("old.")


@given(st.text(max_size=300))
def test_spans_cite_their_place_and_never_overlap(text: str) -> None:
    previous_end = 0
    for sentence in split_sentences(text):
        assert text[sentence.start : sentence.end] == sentence.text
        assert sentence.start >= previous_end
        assert sentence.text
        previous_end = sentence.end


def test_questions_are_told_apart() -> None:
    assert [sentence.is_question for sentence in split_sentences("Is it? It is. 好吗？")] == [True, False, True]


def test_plain_text_opens_contractions() -> None:
    assert plain("I\u2019m gonna stay, it's **fine** and I can't leave") == (
        "I am going to stay, it is fine and I can not leave"
    )
    assert plain("Anna's book isn't here") == "Anna's book is not here"


def test_clauses_are_cut_before_new_subjects_only() -> None:
    sentence = plain("Yeah, Mel! I'm gonna move to Rome, but I'll keep my job and my flat")
    assert split_clauses(sentence, ("Mel",)) == ["I am going to move to Rome", "I will keep my job", "my flat"]
    assert split_clauses("The history of France and Germany is long") == ["The history of France and Germany is long"]


@given(st.text(max_size=200))
def test_any_text_splits_into_clauses(text: str) -> None:
    assert all(clause.strip() == clause and clause for clause in split_clauses(plain(text), ("Ann",)))


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        ("I don't like it", True),
        ("I never went", True),
        ("I can't wait to go", False),
        ("No problem, I like it", False),
        ("Yes", False),
    ],
)
def test_denial(text: str, *, negated: bool) -> None:
    assert is_negated(text) is negated


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("I no longer work there", True), ("I don't live there anymore", True), ("I used to live in Rome", True),
        ("I quit my job", True), ("I am used to it", False), ("I live in Rome", False),
    ],
)  # fmt: skip
def test_endings(text: str, *, ended: bool) -> None:
    assert ends_something(text) is ended


def test_change() -> None:
    assert signals_change("I moved to Rome")
    assert not signals_change("I live in Rome")
