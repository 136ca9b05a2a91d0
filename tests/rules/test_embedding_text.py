"""What is embedded for memories and queries."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.embedding_text import MAX_TEXT_CHARACTERS, Described, own_text, query_text


def test_a_turn_shows_its_speaker() -> None:
    assert own_text(Described("Yes, last week!", speaker="Anna")) == "Anna: Yes, last week!"


def test_a_passage_shows_its_title() -> None:
    assert own_text(Described("Water weekly.", title="Roses")) == "Roses: Water weekly."
    assert own_text(Described("Water weekly.", speaker="Anna", title="Roses")) == "Anna, Roses: Water weekly."


def test_a_bare_text_stays_itself() -> None:
    assert own_text(Described("Water weekly.")) == "Water weekly."


def test_queries_lose_names_and_line_breaks() -> None:
    assert query_text("When did\nAnna move?", {"Anna"}) == "When did move?"
    assert query_text("When did\nAnna move?") == "When did Anna move?"


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=200), st.none() | st.text(max_size=20))
def test_the_text_is_always_whole(text: str, speaker: str | None) -> None:
    assert own_text(Described(text, speaker=speaker)).endswith(text)


def test_long_texts_are_bounded() -> None:
    assert len(own_text(Described("x" * 100_000, speaker="Anna"))) == MAX_TEXT_CHARACTERS + len("Anna: ")
    assert len(query_text("x" * 100_000)) == MAX_TEXT_CHARACTERS
