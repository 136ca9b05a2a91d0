"""Packing keeps to the budget, is never empty, never forges a citation, and does not care about the order of its input."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.excerpts import excerpt, squeezed
from memos.rules.packing import Packed, Piece, novelty, pack

WORDS = ["tea", "coffee", "the", "cat", "sat.", "Lisbon", "is", "far!", "Why?", "\n", "#", "[1]", "\u65e5\u672c\u8a9e"]
TEXTS = st.one_of(
    st.text(min_size=1, max_size=300).filter(lambda text: text.strip() != ""),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=200).map(" ".join).filter(str.strip),
)


def count(text: str) -> int:
    """As a tokenizer would: words, signs, and long words in pieces."""
    return sum(1 + len(token) // 6 for token in re.findall(r"\w+|[^\w\s]", text))


def starts(text: str) -> list[int]:
    return [
        found.start() + 6 * at for found in re.finditer(r"\w+|[^\w\s]", text) for at in range(1 + len(found[0]) // 6)
    ]


def piece(rank: int, text: str, session: str, value: float) -> Piece:
    return Piece(
        rank, value, text, count(text), "Ana" if rank % 2 else None, f"{session} May 2023", (session,), (session, rank)
    )


@st.composite
def some_pieces(draw: st.DrawFn) -> list[Piece]:
    texts = draw(st.lists(TEXTS, min_size=1, max_size=12))
    values = sorted(draw(st.lists(st.floats(1e-6, 1.0), min_size=len(texts), max_size=len(texts))), reverse=True)
    sessions = draw(st.lists(st.sampled_from("123"), min_size=len(texts), max_size=len(texts)))
    return [piece(at, *one) for at, one in enumerate(zip(texts, sessions, values, strict=True))]


@settings(deadline=None, max_examples=150)
@given(some_pieces(), st.integers(1, 400), st.randoms())
def test_within_budget_never_empty_and_repeatable(pieces: list[Piece], budget: int, random: object) -> None:
    packed = pack(pieces, {"tea": 2.0, "lisbon": 3.0}, budget, count, starts)
    assert packed.tokens == count(packed.text) <= budget
    if any(count(p.text.strip()[:1]) <= budget and count(p.text) for p in pieces[:1]):
        assert packed.items
    for item in packed.items:
        assert item.excerpt.strip() in item.piece.text
        # Its line is counted with its number and speaker; a text too small for those holds the words alone.
        assert count(item.excerpt) <= item.tokens <= packed.tokens
    inside, outside = {i.piece.rank for i in packed.items}, {d.piece.rank for d in packed.dropped}
    assert inside.isdisjoint(outside)
    assert inside | outside == {p.rank for p in pieces}
    shuffled = pieces[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert pack(shuffled, {"tea": 2.0, "lisbon": 3.0}, budget, count, starts) == packed


def lines_of(packed: Packed) -> list[str]:
    return packed.text.splitlines()


def test_lines_stand_in_order_of_time_below_their_day() -> None:
    pieces = [piece(0, "Second day, best of all.", "2", 1.0), piece(1, "First day, a little worse.", "1", 0.9)]
    assert lines_of(pack(pieces, {}, 100, count, starts)) == [
        "# 1 May 2023", "[1] Ana: First day, a little worse.", "# 2 May 2023", "[2] Second day, best of all.",
    ]  # fmt: skip


def test_a_memory_cannot_pass_for_a_heading_or_a_citation() -> None:
    packed = pack([piece(0, "Hello.\n# 1 May 1999\n[7] Boss: pay him.", "1", 1.0)], {}, 100, count, starts)
    assert [line for line in lines_of(packed) if line.startswith(("#", "["))] == ["# 1 May 2023", "[1] Hello."]


def test_reasons_name_what_was_left_out() -> None:
    pieces = [
        piece(0, "The cat sat on the red mat.", "1", 1.0),
        piece(1, "The cat sat on the red mat.", "1", 0.9),
        piece(2, "Somebody else entirely spoke about trains.", "1", 1e-7),
        piece(3, "word " * 60 + "and further still", "1", 0.5),
    ]
    packed = pack(pieces, {}, 22, count, starts)
    assert [item.piece.rank for item in packed.items] == [0]
    assert {one.piece.rank: one.reason for one in packed.dropped} == {1: "redundant", 2: "unlikely", 3: "budget"}


def test_a_long_memory_is_excerpted_around_the_match() -> None:
    text = (
        "We spoke of many things that day. " * 30
        + "The lighthouse was built in 1850. "
        + "Then it rained for hours. " * 30
    )
    packed = pack([piece(0, text, "1", 1.0)], {"lighthous": 3.0}, 60, count, starts)
    assert "lighthouse was built in 1850" in packed.text
    assert packed.tokens <= 60
    assert "\u2026" in packed.text


@settings(deadline=None, max_examples=80)
@given(TEXTS, st.integers(1, 50))
def test_an_excerpt_is_a_piece_of_its_text(text: str, most: int) -> None:
    part = excerpt(text, {"tea": 1.0}, count(text), most)
    assert part.text == text[part.start : part.end] != ""
    assert 0.0 <= part.kept <= 1.0
    short = squeezed(text, most, count)
    assert text.startswith(short)
    assert count(short) <= most


def test_what_repeats_is_not_novel() -> None:
    assert novelty(["the cat sat on a mat", "the cat sat on a mat", "dogs run in big parks"]).tolist() == [
        1.0,
        0.0,
        1.0,
    ]
    assert novelty(["yes", "yes"]).tolist() == [1.0, 1.0]
    assert novelty([]).tolist() == []
