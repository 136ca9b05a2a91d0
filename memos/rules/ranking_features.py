"""What the ranking looks at: per candidate one row of numbers, all computed together in numpy.

Most numbers are relative to the query's best candidate or shares between 0 and 1, so that weights learned on one
corpus hold on another. Neighbours are the turns right before and after in the same session: evidence comes in
runs, and an answer seldom repeats the words of the question before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos.rules import lexical
from memos.rules.pool import NOWHERE, Booleans, Floats, Pool
from memos.rules.scripts import script_of
from memos.rules.speakers import asked_role, name_terms

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
_READ_CHARACTERS: Final = 2_000


@dataclass(frozen=True, slots=True)
class QueryFeatures:
    """What the ranking knows of a query before any candidate: text, terms in order, whose words it is after."""

    text: str
    terms: tuple[str, ...]
    asked_role: str | None
    latin: bool = True
    """Whether it is written in the script that the weights were learned on."""


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
    return QueryFeatures(
        query, tuple(lexical.query_terms(query)), asked_role(query), script_of(query[:_READ_CHARACTERS]) == "latin"
    )


def asks(text: str) -> bool:
    """Tell whether a text holds a question, by its marks in Latin, Arabic, CJK, Greek and Armenian writing."""
    return any(mark in text for mark in "?\u061f\uff1f\u037e\u055e")


def feature_matrix(query: QueryFeatures, pool: Pool, statistics: Statistics, named: Collection[str] = ()) -> Floats:
    """Return one row per candidate and one column per name in `FEATURES`. `pool.counts` begins with the query's terms.

    `named` are the speakers that the query names; `pool.spoken` is about them.

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
    # Whom no candidate is by is a word like any other.
    named = named if (pool.spoken == 1).any() else ()
    topic = _topic(query, named)
    terms = [query.terms[place] for place in topic]
    counts, lengths = pool.counts[:, topic], pool.length
    idf = np.array([lexical.idf(statistics.document_frequency.get(t, 0), statistics.documents) for t in terms])
    before_counts, before_lengths = _shifted(counts, links.before), _shifted(lengths, links.before)
    own, _ = _lexical(counts, lengths, idf, statistics.mean_length)
    context, context_coverage = _lexical(
        counts + before_counts, lengths + before_lengths, idf, statistics.mean_length * 2.0
    )
    dense = _filled(pool.dense)
    speaker = _speaker(query, pool, named)
    dense_share, lexical_share, context_share = _share(dense), _share(own), _share(context)
    base = _BASE_DENSE * dense_share + _BASE_LEXICAL * lexical_share + _BASE_CONTEXT * context_share
    mixed = base + _BASE_NEIGHBOUR * (_shifted(base, links.before) + _shifted(base, links.after))
    asking = pool.asks.astype(np.float64)
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
        "opens": (pool.turn & (pool.ordinal == 0)).astype(np.float64),
    }
    return np.stack([columns[name] for name in FEATURES], axis=1)


def neighbours(pool: Pool) -> Neighbours:
    """Link turns of one session whose ordinals follow each other; a turn that is missing breaks the chain."""
    told = pool.turn & (pool.session != 0)
    # A memory outside any conversation is a session of its own: nobody shares its score.
    alone = np.arange(len(pool)) - len(pool)
    _, session = np.unique(np.where(told, pool.session, alone), return_inverse=True)
    before = np.full(len(pool), -1, dtype=np.intp)
    after = np.full(len(pool), -1, dtype=np.intp)
    placed = np.flatnonzero(told & (pool.ordinal != NOWHERE))
    order = placed[np.lexsort((placed, pool.ordinal[placed], session[placed]))]
    # Of two turns in one place the later stands in it.
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = (np.diff(session[order]) != 0) | (np.diff(pool.ordinal[order]) != 0)
    order = order[last]
    first, second = order[:-1], order[1:]
    follows = (session[first] == session[second]) & (pool.ordinal[second] - pool.ordinal[first] == 1)
    before[second[follows]] = first[follows]
    after[first[follows]] = second[follows]
    return Neighbours(before, after, session)


def _topic(query: QueryFeatures, named: Collection[str]) -> list[int]:
    """Return the places of the query's terms that name no speaker, or of all if it holds nothing else."""
    names = name_terms(named)
    places = [place for place, term in enumerate(query.terms) if term not in names]
    return places or list(range(len(query.terms)))


def _speaker(query: QueryFeatures, pool: Pool, named: Collection[str]) -> Floats:
    """Compare who speaks with whom the query names, or else with the role it means by "I" or "you"."""
    if named:
        # A fact has no speaker; naming somebody makes it theirs.
        names = name_terms(named)
        places = [place for place, term in enumerate(query.terms) if term in names]
        naming = (pool.counts[:, places] > 0).any(axis=1)
        return np.where(pool.spoken == 0, naming, pool.spoken).astype(np.float64)
    return pool.in_role.astype(np.float64) if query.asked_role else np.zeros(len(pool))


def _lexical(counts: Floats, lengths: Floats, idf: Floats, mean_length: float) -> tuple[Floats, Floats]:
    """Return BM25 scores and the share of the query's weight present; `lexical.saturation` over arrays."""
    relative = lengths / mean_length if mean_length > 0 else np.ones_like(lengths)
    saturated = counts * 2.2 / (counts + 1.2 * (0.5 + 0.5 * relative[:, None]))
    present = (counts > 0) @ idf / idf.sum() if idf.size else np.zeros(len(counts))
    return saturated @ idf, present


def _filled(values: Floats) -> Floats:
    """Put gaps at the lowest known value: a channel that skipped a candidate had better ones."""
    known: Booleans = np.isfinite(values)
    return values if known.all() else np.where(known, values, values[known].min() if known.any() else 0.0)


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
