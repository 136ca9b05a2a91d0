"""Properties of the ranking: it depends on the set of candidates only, and better evidence never hurts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.candidates import Candidate, named_among, pool_from
from memos.rules import ranking
from memos.rules.lexical import frequencies
from memos.rules.ranking import LEARNED, Ranked, Statistics, asks, query_features
from memos.rules.ranking_features import FEATURES, feature_matrix, neighbours

STATISTICS = Statistics(documents=50, mean_length=5.0, document_frequency={"garden": 4, "rose": 2, "tea": 9})
WORDS = ("garden", "rose", "tea", "anna", "ben", "walk")


def turn(version_id: int, text: str = "garden", *, session: str | None = None, ordinal: int | None = None) -> Candidate:
    counts = frequencies(text)
    return Candidate(
        version_id=version_id,
        kind="turn",
        session_id=session,
        ordinal=ordinal,
        speaker=None,
        dense=0.3,
        terms=counts,
        length=sum(counts.values()),
        asks=asks(text),
    )


@st.composite
def candidate(draw: st.DrawFn) -> Candidate:
    text = " ".join(draw(st.lists(st.sampled_from(WORDS), max_size=6)))
    plain = turn(
        draw(st.integers(1, 40)),
        text,
        session=draw(st.sampled_from([None, "s1", "s2"])),
        ordinal=draw(st.none() | st.integers(0, 6)),
    )
    return replace(
        plain,
        kind=draw(st.sampled_from(["turn", "fact", "passage"])),
        dense=draw(st.none() | st.floats(-1, 1)),
        speaker=draw(st.sampled_from([None, "Anna", "Ben", "user"])),
        role=draw(st.sampled_from([None, "user", "assistant"])),
        strength=draw(st.floats(0, 1)),
        trust=draw(st.floats(0, 1)),
        superseded=draw(st.booleans()),
        asks=draw(st.booleans()),
    )


POOLS = st.lists(candidate(), max_size=15, unique_by=lambda c: c.version_id)
QUERIES = st.lists(st.sampled_from([*WORDS, "my", "the"]), max_size=6).map(" ".join) | st.text(max_size=40)


@settings(deadline=None, max_examples=80)
@given(QUERIES, POOLS, st.randoms(use_true_random=False))
def test_input_order_does_not_matter(query: str, pool: list[Candidate], random: object) -> None:
    shuffled = list(pool)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    # Text of both: where a cosine is not known, it equals nothing.
    assert repr(_ranked(query, pool, 10)) == repr(_ranked(query, shuffled, 10))


@settings(deadline=None, max_examples=80)
@given(QUERIES, POOLS, st.integers(0, 20))
def test_scores_are_chances_in_falling_order(query: str, pool: list[Candidate], limit: int) -> None:
    ranked = _ranked(query, pool, limit)
    assert len(ranked) == min(limit, len(pool))
    assert {r.version_id for r in ranked} <= {c.version_id for c in pool}
    scores = [r.score for r in ranked]
    assert all(math.isfinite(s) and 0.0 <= s <= 1.0 for s in scores)
    assert scores == sorted(scores, reverse=True)
    assert all(math.isfinite(v) for r in ranked for v in r.channels.values())


@settings(deadline=None, max_examples=80)
@given(QUERIES, POOLS)
def test_features_are_finite(query: str, pool: list[Candidate]) -> None:
    features = query_features(query)
    matrix = feature_matrix(features, pool_from(pool, features), STATISTICS, named_among(features, pool))
    assert matrix.shape == (len(pool), len(FEATURES))
    assert np.isfinite(matrix).all()


@settings(deadline=None, max_examples=80)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.integers(0, 11), st.floats(0, 1))
def test_a_nearer_memory_never_falls(cosines: list[float], index: int, gain: float) -> None:
    index %= len(cosines)
    pool = [replace(turn(i), dense=cosine) for i, cosine in enumerate(cosines)]
    nearer = list(pool)
    nearer[index] = replace(pool[index], dense=cosines[index] + gain)
    assert _place(nearer, index) <= _place(pool, index)


@settings(deadline=None, max_examples=60)
@given(POOLS.filter(bool), st.integers(0, 14))
def test_losing_standing_never_lifts(pool: list[Candidate], index: int) -> None:
    index %= len(pool)
    chosen = pool[index].version_id
    lower = list(pool)
    lower[index] = replace(pool[index], strength=0.0, trust=0.0, superseded=True)
    assert _place(lower, chosen) >= _place(pool, chosen)


def test_ties_go_to_the_lower_version() -> None:
    ranked = _ranked("tea", [turn(3), turn(1), turn(2)], 3)
    assert [r.version_id for r in ranked] == [1, 2, 3]


def test_a_version_given_twice_counts_once() -> None:
    ranked = _ranked("tea", [turn(1), turn(1)], 3)
    assert [r.version_id for r in ranked] == [1]


def test_nothing_gives_nothing() -> None:
    assert _ranked("tea", [], 10) == []
    assert _ranked("tea", [turn(1)], 0) == []
    assert _ranked("", [turn(1)], 10, Statistics(0, 0.0, {}))[0].version_id == 1


def test_the_named_speaker_comes_first() -> None:
    pool = [
        replace(turn(1, "Anna, how is your garden"), speaker="Ben"),
        replace(turn(2, "my garden is full of roses"), speaker="Anna"),
    ]
    assert _order("What grows in Anna's garden?", pool) == [2, 1]


def test_my_words_mean_the_user() -> None:
    pool = [replace(turn(1), role="assistant"), replace(turn(2), role="user")]
    assert _order("What did I say about the garden?", pool) == [2, 1]
    assert _order("What garden did you recommend?", pool) == [1, 2]


def test_a_fact_about_the_named_person_counts_as_theirs() -> None:
    pool = [replace(turn(1, "tea garden"), kind="fact"), replace(turn(2, "Anna garden"), kind="fact")]
    pool.append(replace(turn(3, "garden"), speaker="Anna"))
    assert _order("Anna's garden", pool)[-1] == 1


def test_an_answer_gains_from_the_question_before_it() -> None:
    pool = [
        turn(1, "walk", session="s1", ordinal=4),
        turn(2, "which roses are in the garden?", session="s2", ordinal=4),
        turn(3, "walk", session="s2", ordinal=5),
    ]
    order = _order("roses garden", pool)
    assert order.index(3) < order.index(1)


def test_superseded_falls_behind_its_successor() -> None:
    assert _order("garden", [replace(turn(1), superseded=True), turn(2)]) == [2, 1]


@pytest.mark.parametrize(
    ("query", "said", "next_said"),
    [
        ("\u70e4\u9e2d", "\u6211\u5403\u4e86\u70e4\u9e2d", "\u79c1\u306f\u4eac\u90fd\u3078\u884c\u304d\u307e\u3059"),
        (
            "\u0441\u0435\u0441\u0442\u0440\u0430",
            "\u043c\u043e\u044f \u0441\u0435\u0441\u0442\u0440\u0430",
            "\u0445\u043e\u0440\u043e\u0448\u043e",
        ),
        ("48213", "order 48213", "order 77777"),
    ],
    ids=["Chinese", "Russian", "a number"],
)
def test_shared_words_lead_where_cosines_mean_little(query: str, said: str, next_said: str) -> None:
    hit = replace(turn(1, said, session="s", ordinal=0), dense=0.3)
    nearer = replace(turn(2, next_said, session="s", ordinal=1), dense=0.75)
    assert _order(query, [hit, nearer]) == [1, 2]


def test_neighbours_stay_inside_their_session() -> None:
    pool = [
        turn(1, session="a", ordinal=0),
        turn(2, session="a", ordinal=1),
        turn(3, session="b", ordinal=2),
        turn(4, session="a", ordinal=3),
    ]
    links = neighbours(pool_from(pool, query_features("")))
    assert links.before.tolist() == [-1, 0, -1, -1]
    assert links.after.tolist() == [1, -1, -1, -1]


@pytest.mark.parametrize(("text", "expected"), [("Really?", True), ("真的吗？", True), ("هل؟", True), ("No.", False)])
def test_question_marks_of_several_scripts(text: str, *, expected: bool) -> None:
    assert asks(text) is expected


def test_weights_name_every_feature_and_evidence_never_counts_against() -> None:
    assert set(LEARNED.features) == set(FEATURES)
    assert all(LEARNED.features[name] >= 0 for name in FEATURES if name not in {"length", "asks", "answers", "opens"})


def _order(query: str, pool: list[Candidate]) -> list[int]:
    return [r.version_id for r in _ranked(query, pool, len(pool))]


def _ranked(query: str, pool: list[Candidate], limit: int, statistics: Statistics = STATISTICS) -> list[Ranked]:
    asked = query_features(query)
    return ranking.rank(asked, pool_from(pool, asked), statistics, LEARNED, limit, named_among(asked, pool))


def _place(pool: list[Candidate], version_id: int) -> int:
    return _order("garden", pool).index(version_id)
