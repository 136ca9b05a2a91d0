"""Candidates as objects, for offline learning and for tests: written one by one, ranked as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from memos.rules.pool import NOWHERE, Pool
from memos.rules.ranking_features import QueryFeatures
from memos.rules.speakers import named_speakers


@dataclass(frozen=True, slots=True)
class Candidate:
    """One version that some channel returned, or a neighbour of one; see `Pool` for what the fields mean.

    `terms` counts at least the query's terms in its text, `length` counts all. `dense` is None where not computed.
    """

    version_id: int
    kind: str
    session_id: str | None
    ordinal: int | None
    speaker: str | None
    dense: float | None
    terms: Mapping[str, int]
    length: int
    strength: float = 1.0
    trust: float = 1.0
    superseded: bool = False
    role: str | None = None
    asks: bool = False
    folded: bool = False


def named_among(query: QueryFeatures, candidates: Sequence[Candidate]) -> frozenset[str]:
    """The speakers among the candidates whom a query names."""
    return named_speakers(query.text, {c.speaker for c in candidates if c.speaker})


def pool_from(candidates: Sequence[Candidate], query: QueryFeatures) -> Pool:
    """The same as columns."""
    terms, named = query.terms, named_among(query, candidates)
    numbers: dict[str, int] = {}

    def session(one: Candidate) -> int:
        return 0 if one.session_id is None else numbers.setdefault(one.session_id, len(numbers) + 1)

    def in_role(one: Candidate) -> int:
        said = one.role or one.speaker
        return 0 if said is None else 1 if said == query.asked_role else -1

    counts = np.array([[c.terms.get(term, 0) for term in terms] for c in candidates], dtype=np.float64)
    return Pool(
        version_id=np.array([c.version_id for c in candidates], dtype=np.int64),
        turn=np.array([c.kind == "turn" for c in candidates], dtype=np.bool_),
        session=np.array([session(c) for c in candidates], dtype=np.int64),
        ordinal=np.array([NOWHERE if c.ordinal is None else c.ordinal for c in candidates], dtype=np.int64),
        spoken=np.array(
            [0 if c.speaker is None else 1 if c.speaker in named else -1 for c in candidates], dtype=np.int64
        ),
        in_role=np.array([in_role(c) for c in candidates], dtype=np.int64),
        dense=np.array([np.nan if c.dense is None else c.dense for c in candidates], dtype=np.float64),
        counts=counts.reshape(len(candidates), len(terms)),
        length=np.array([c.length for c in candidates], dtype=np.float64),
        asks=np.array([c.asks for c in candidates], dtype=np.bool_),
        trust=np.array([c.trust for c in candidates], dtype=np.float64),
        strength=np.array([c.strength for c in candidates], dtype=np.float64),
        superseded=np.array([c.superseded for c in candidates], dtype=np.bool_),
        folded=np.array([c.folded for c in candidates], dtype=np.bool_),
    )
