"""What the ranking looks at: per candidate one row of numbers, all computed together in numpy.

Most numbers are relative to the query's best candidate or shares between 0 and 1, so that weights learned on one
corpus hold on another. Neighbours are the turns right before and after in the same session: evidence comes in
runs, and an answer seldom repeats the words of the question before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos.rules import lexical
from memos.rules.speakers import asked_role, name_terms, named_speakers

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

FEATURES: Final = (
    "dense",
    "dense_share",
    "lexical",
    "context_coverage",
    "context_lexical",
    "dense_before",
    "dense_after",
    "session",
    "speaker",
    "length",
    "asks",
    "answers",
    "opens",
)
"""The columns of `feature_matrix`, in order; explained there."""

# How the first, unlearned mixture behind `session` weighs its parts; the learned weights correct it.
_BASE_DENSE: Final = 0.5
_BASE_LEXICAL: Final = 0.5
_BASE_CONTEXT: Final = 0.3
_BASE_SPEAKER: Final = 0.3
_BASE_NEIGHBOUR: Final = 0.2
_MOST_LENGTH_RATIO: Final = 2.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One version that some channel returned, or a neighbour of one.

    `dense` is the cosine with the query (None: not computed); `context_dense` that of an optional second vector,
    which the ranking does not use: with the neighbours' cosines it gained nothing. `terms` counts at least the
    query's terms in its text, `length` counts all. `ordinal` is its place in its session, from 0. `asks`: its text
    holds a question. `strength` and `trust` run from 0 to 1.
    """

    version_id: int
    kind: str
    session_id: str | None
    ordinal: int | None
    speaker: str | None
    created_at: datetime | None
    dense: float | None
    context_dense: float | None
    terms: Mapping[str, int]
    length: int
    state: str = "activated"
    strength: float = 1.0
    trust: float = 1.0
    superseded: bool = False
    role: str | None = None
    asks: bool = False


@dataclass(frozen=True, slots=True)
class QueryFeatures:
    """What the ranking knows of a query before any candidate: text, terms in order, whose words it is after."""

    text: str
    terms: tuple[str, ...]
    asked_role: str | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Term statistics of the searched cube: number of memories, mean terms per memory, memories holding each term."""

    documents: int
    mean_length: float
    document_frequency: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """For each candidate the index of the turn before and after it (-1: none), and a number for its session."""

    before: Indices
    after: Indices
    session: Indices


def query_features(query: str) -> QueryFeatures:
    """Read a query once, before its candidates are known."""
    return QueryFeatures(query, tuple(lexical.query_terms(query)), asked_role(query))


def asks(text: str) -> bool:
    """Tell whether a text holds a question, by its marks in Latin, Arabic, CJK, Greek and Armenian writing."""
    return any(mark in text for mark in "?\u061f\uff1f\u037e\u055e")


def feature_matrix(query: QueryFeatures, pool: Sequence[Candidate], statistics: Statistics) -> Floats:
    """Return one row per candidate and one column per name in `FEATURES`.

    dense            cosine of query and memory over 0.3, the usual gap between a hit and the rest
    dense_share      the same as a share of the pool's best
    lexical          BM25 as a share of the pool's best
    context_lexical  the same over the turn together with the one before it
    context_coverage share of the query's term weight (idf) that occurs in those two
    dense_before     `dense` of the turn before; dense_after: of the one after
    session          best mixed score anywhere in the session, with neighbours
    speaker          1: said by whom the query names or means; -1: by somebody else; 0: the query names nobody
    length           log ratio to the corpus' mean length, between -2 and 2
    asks             holds a question; answers: follows a turn that does
    opens            first of its session, where people say what is new
    """
    links = neighbours(pool)
    named = named_speakers(query.text, {c.speaker for c in pool if c.speaker})
    topic = _topic(query, named)
    counts = np.array([[c.terms.get(term, 0) for term in topic] for c in pool], dtype=np.float64)
    counts = counts.reshape(len(pool), len(topic))
    lengths = np.array([c.length for c in pool], dtype=np.float64)
    idf = np.array([lexical.idf(statistics.document_frequency.get(t, 0), statistics.documents) for t in topic])
    before_counts, before_lengths = _shifted(counts, links.before), _shifted(lengths, links.before)
    own, _ = _lexical(counts, lengths, idf, statistics.mean_length)
    context, context_coverage = _lexical(
        counts + before_counts, lengths + before_lengths, idf, statistics.mean_length * 2.0
    )
    dense = _filled([c.dense for c in pool])
    speaker = _speaker(query, pool, named)
    dense_share, lexical_share, context_share = _share(dense), _share(own), _share(context)
    base = _BASE_DENSE * dense_share + _BASE_LEXICAL * lexical_share + _BASE_CONTEXT * context_share
    mixed = base + _BASE_NEIGHBOUR * (_shifted(base, links.before) + _shifted(base, links.after))
    asking = np.array([c.asks for c in pool], dtype=np.float64)
    ratio = np.log((1.0 + lengths) / (1.0 + statistics.mean_length))
    columns = {
        "dense": dense / 0.3,
        "dense_share": dense_share,
        "lexical": lexical_share,
        "context_coverage": context_coverage,
        "context_lexical": context_share,
        "dense_before": np.maximum(_shifted(dense, links.before), 0.0) / 0.3,
        "dense_after": np.maximum(_shifted(dense, links.after), 0.0) / 0.3,
        "session": _best_of_session(mixed + _BASE_SPEAKER * speaker, links.session),
        "speaker": speaker,
        "length": np.clip(ratio, -_MOST_LENGTH_RATIO, _MOST_LENGTH_RATIO),
        "asks": asking,
        "answers": _shifted(asking, links.before),
        "opens": np.array([c.kind == "turn" and c.ordinal == 0 for c in pool], dtype=np.float64),
    }
    return np.stack([columns[name] for name in FEATURES], axis=1)


def neighbours(pool: Sequence[Candidate]) -> Neighbours:
    """Link turns of one session whose ordinals follow each other; a turn that is missing breaks the chain."""
    places: dict[tuple[str, int], int] = {}
    numbers: dict[str, int] = {}
    session = np.empty(len(pool), dtype=np.intp)
    for index, candidate in enumerate(pool):
        name = candidate.session_id
        if name is None or candidate.kind != "turn":
            # A memory outside any conversation is a session of its own: nobody shares its score.
            session[index] = numbers.setdefault(f"\0{index}", len(numbers))
            continue
        session[index] = numbers.setdefault(name, len(numbers))
        if candidate.ordinal is not None:
            places[name, candidate.ordinal] = index
    before = np.full(len(pool), -1, dtype=np.intp)
    after = np.full(len(pool), -1, dtype=np.intp)
    for (name, ordinal), index in places.items():
        previous = places.get((name, ordinal - 1), -1)
        before[index] = previous
        if previous >= 0:
            after[previous] = index
    return Neighbours(before, after, session)


def _topic(query: QueryFeatures, named: frozenset[str]) -> list[str]:
    """Return the query's terms without names of speakers, unless it holds nothing else."""
    names = name_terms(named)
    return [term for term in query.terms if term not in names] or list(query.terms)


def _speaker(query: QueryFeatures, pool: Sequence[Candidate], named: frozenset[str]) -> Floats:
    """Compare who speaks with whom the query names, or else with the role it means by "I" or "you"."""
    if named:
        names = name_terms(named)
        return np.array([_names_match(candidate, named, names) for candidate in pool])
    roles = [candidate.role or candidate.speaker for candidate in pool]
    if query.asked_role is None:
        return np.zeros(len(pool))
    return np.array([0.0 if role is None else 1.0 if role == query.asked_role else -1.0 for role in roles])


def _names_match(candidate: Candidate, named: frozenset[str], names: frozenset[str]) -> float:
    """Compare one candidate with the named speakers. A fact has no speaker; naming somebody makes it theirs."""
    if candidate.speaker is not None:
        return 1.0 if candidate.speaker in named else -1.0
    return 1.0 if names & candidate.terms.keys() else 0.0


def _lexical(counts: Floats, lengths: Floats, idf: Floats, mean_length: float) -> tuple[Floats, Floats]:
    """Return BM25 scores and the share of the query's weight present; `lexical.saturation` over arrays."""
    relative = lengths / mean_length if mean_length > 0 else np.ones_like(lengths)
    saturated = counts * 2.2 / (counts + 1.2 * (0.5 + 0.5 * relative[:, None]))
    present = (counts > 0) @ idf / idf.sum() if idf.size else np.zeros(len(counts))
    return saturated @ idf, present


def _filled(values: Sequence[float | None]) -> Floats:
    """Put gaps at the lowest known value: a channel that skipped a candidate had better ones."""
    array = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    known = np.isfinite(array)
    return np.where(known, array, array[known].min() if known.any() else 0.0)


def _share(scores: Floats) -> Floats:
    """Scale so that the best candidate has 1; scores at or below zero have 0."""
    best = float(scores.max(initial=0.0))
    return np.maximum(scores, 0.0) / best if best > 0 else np.zeros_like(scores)


def _shifted(values: Floats, places: Indices) -> Floats:
    """Return the value of each candidate's neighbour, zero where there is none."""
    missing = (places < 0).reshape(-1, *[1] * (values.ndim - 1))
    return np.where(missing, 0.0, values[places])


def _best_of_session(scores: Floats, session: Indices) -> Floats:
    """Return for each candidate the best score of its session, at least zero."""
    best = np.zeros(int(session.max(initial=-1)) + 1)
    np.maximum.at(best, session, scores)
    return best[session]
