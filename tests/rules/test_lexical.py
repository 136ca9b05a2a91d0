"""Properties of the tokenizer and the BM25 parts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.lexical import (
    MAX_TERM_CHARACTERS,
    frequencies,
    idf,
    query_terms,
    saturation,
    terms,
)

ANY_TEXT = st.text(max_size=300)


@settings(deadline=None, max_examples=200)
@given(ANY_TEXT)
def test_terms_are_bounded_and_never_blank(text: str) -> None:
    for term in terms(text):
        assert 0 < len(term) <= MAX_TERM_CHARACTERS
        assert not term.isspace()


@settings(deadline=None, max_examples=100)
@given(ANY_TEXT)
def test_case_of_ascii_letters_does_not_matter(text: str) -> None:
    plain = "".join(character for character in text if character.isascii())
    assert terms(plain.upper()) == terms(plain.lower())


@settings(deadline=None, max_examples=100)
@given(ANY_TEXT)
def test_frequencies_count_the_terms(text: str) -> None:
    assert sum(frequencies(text).values()) == len(terms(text))


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=2000), st.integers(min_value=1, max_value=40))
def test_query_terms_are_distinct_terms_of_the_text(text: str, limit: int) -> None:
    kept = query_terms(text, limit)
    assert len(kept) == len(set(kept)) <= limit
    assert set(kept) <= set(terms(text))


@settings(deadline=None, max_examples=100)
@given(ANY_TEXT)
def test_a_word_in_plain_text_is_found_beside_any_other_script(text: str) -> None:
    assert "gardenia" in terms(f"{text} gardenia")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Caroline's gardens were growing", ["carolin", "garden", "grow"]),
        ("She went and bought 2,000 roses at 10:30", ["go", "buy", "2000", "rose", "10:30"]),
        ("I\u2019ll be ill, don\u2019t worry", ["ill", "worri"]),
        ("l'homme d'accord", ["homm", "accord"]),
        ("Café in São Paulo", ["cafe", "sao", "paulo"]),
        ("C++ or C# in version 3.11", ["c++", "c#", "version", "3.11"]),
        ("我喜欢猫", ["我喜", "喜欢", "欢猫"]),
        ("猫 and ラーメン", ["猫", "ラー", "ーメ", "メン"]),
        ("서울에서", ["서울", "울에", "에서"]),
        ("แมว", ["แม", "มว"]),
        ("كِتَاب جديد", ["كتاب", "جديد"]),
        ("Москва и ёлка", ["москва", "и", "елка"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("love it ❤️🎉👍🏽", ["love", "❤", "🎉", "👍"]),
        ("flags 🇫🇷🇩🇪", ["flag", "🇫🇷", "🇩🇪"]),
        ("to be or not to be", ["to", "be", "or", "not", "to", "be"]),
        ("snake_case_name", ["snake", "case", "name"]),
        ("ＦＵＬＬ width", ["full", "width"]),
        ("", []),
        ("!!! ... \x00", []),
    ],
)
def test_examples(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_a_substring_of_unspaced_text_shares_terms_with_it() -> None:
    assert set(terms("喜欢")) <= set(terms("我喜欢猫"))


def test_query_terms_keep_what_a_long_text_repeats() -> None:
    text = " ".join(f"word{i}" for i in range(100)) + " volcano volcano"
    assert "volcano" in query_terms(text, 5)


@settings(deadline=None, max_examples=200)
@given(st.integers(-5, 10**7), st.integers(-5, 10**7))
def test_idf_is_finite_and_positive(document_frequency: int, documents: int) -> None:
    value = idf(document_frequency, documents)
    assert math.isfinite(value)
    assert value > 0


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1000, 10**6))
def test_rarer_terms_weigh_at_least_as_much(first: int, second: int, documents: int) -> None:
    rare, common = sorted((first, second))
    assert idf(rare, documents) >= idf(common, documents)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 1e6))
def test_saturation_stays_in_its_bounds(tf: int, length: int, mean_length: float) -> None:
    assert 0.0 <= saturation(tf, length, mean_length) <= 2.2


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 100), st.integers(1, 500), st.floats(1, 500))
def test_saturation_grows_with_frequency_and_shrinks_with_length(tf: int, length: int, mean_length: float) -> None:
    assert saturation(tf + 1, length, mean_length) > saturation(tf, length, mean_length)
    assert saturation(tf, length + 1, mean_length) <= saturation(tf, length, mean_length)


@pytest.mark.parametrize(
    ("written", "term"), [("$1,250.00", "1250"), ("1250.0", "1250"), ("3.50", "3.50"), ("0.0", "0")]
)
def test_an_amount_is_found_without_its_cents(written: str, term: str) -> None:
    assert terms(f"it costs {written} today")[1] == term


def test_a_version_number_is_no_amount() -> None:
    assert "1.0.0" in terms("since release 1.0.0 of it")
