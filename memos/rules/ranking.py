"""One order out of several channels: a linear score over normalised evidence, learned once and the same for all data.

Rank fusion throws away how far the best candidate leads, which matters here, so scores are fused instead. The
evidence of a turn is its own, that of the turns around it, that of its session, and who said it. What is
superseded, weak or little trusted then loses a fixed amount, so that it needs better evidence to come first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memos.rules.pool import Floats, Pool
from memos.rules.ranking_features import (
    FEATURES,
    QueryFeatures,
    Statistics,
    asks,
    feature_matrix,
    query_features,
)
from memos.rules.ranking_weights import LEARNED, Weights
from memos.rules.routing_weights import ROUTING

__all__ = [
    "LEARNED",
    "QueryFeatures",
    "Ranked",
    "Ranking",
    "Statistics",
    "Weights",
    "asks",
    "order",
    "query_features",
    "rank",
]


# The weights were learned on English. A sentence encoder of that training tells little about other scripts, where all
# cosines are high, and nothing about a bare number; what such a query and a memory share is their words, so those lead.
_DENSE_ELSEWHERE = 0.2
_LEXICAL_ELSEWHERE = 3.0


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate's place. `score` estimates the chance that it answers the query; it falls along the order.

    `evidence` is the sum that the score was squeezed from, and `channels` says what each feature added to it, for
    `explain`. `cosine` is that with the query.
    """

    version_id: int
    score: float
    evidence: float
    channels: dict[str, float]
    cosine: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """A pool in order: `places` are indices into it, best first."""

    pool: Pool
    places: NDArray[np.intp]
    evidence: Floats
    parts: Floats
    standing: Floats
    again: Floats | None
    walked: Floats | None
    weights: Weights

    def __len__(self) -> int:
        return len(self.places)

    def best(self, limit: int) -> list[Ranked]:
        """The first `limit`, spelled out."""
        first = self.places[: max(limit, 0)]
        parts = self.parts[first].tolist()
        scores = _chance(self.evidence[first], self.weights).tolist()
        found = []
        for row, index in enumerate(first.tolist()):
            channels = dict(zip(FEATURES, parts[row], strict=True))
            channels["standing"] = float(self.standing[index])
            if self.again is not None:
                channels["feedback"] = float(self.again[index])
            if self.walked is not None:
                channels["graph"] = float(self.walked[index])
            version_id, cosine = int(self.pool.version_id[index]), float(self.pool.dense[index])
            found.append(Ranked(version_id, scores[row], float(self.evidence[index]), channels, cosine))
        return found

    def evidence_by_version(self) -> dict[int, float]:
        return dict(zip(self.pool.version_id.tolist(), self.evidence.tolist(), strict=True))

    def evidence_of_best(self, limit: int) -> list[float]:
        best: list[float] = self.evidence[self.places[:limit]].tolist()
        return best


def order(
    query: QueryFeatures,
    candidates: Pool,
    statistics: Statistics,
    weights: Weights,
    feedback: Mapping[str, float] | None = None,
    named: Collection[str] = (),
    gains: Mapping[int, float] | None = None,
) -> Ranking:
    """Put candidates in order, best first; ties go to the lower version id.

    The result depends on the set of candidates only, not on their order. A version given twice counts once.
    `feedback` gives evidence for terms that stand in `counts` after the query's own, from looking again (see `routing`).
    `named` are the speakers that the query names, `gains` evidence by version id from walking the graph.
    """
    pool = candidates.sorted()
    features = feature_matrix(query, pool, statistics, named)
    parts = features * np.array([_weight(name, query, weights) for name in FEATURES])
    standing = _standing(pool, weights)
    again = None if feedback is None else _feedback(query, pool, feedback)
    walked = None if gains is None else np.array([gains.get(one, 0.0) for one in pool.version_id.tolist()])
    more = sum(part for part in (again, walked) if part is not None)
    # Rounding makes equal evidence equal whatever the order of additions, so ties are ties on every machine.
    evidence = np.round(parts.sum(axis=1) + standing + more, 9)
    # A stable sort of what stands in the order of version ids.
    return Ranking(pool, np.argsort(-evidence, kind="stable"), evidence, parts, standing, again, walked, weights)


def rank(
    query: QueryFeatures,
    candidates: Pool,
    statistics: Statistics,
    weights: Weights,
    limit: int,
    named: Collection[str] = (),
) -> list[Ranked]:
    """The best `limit` candidates; see `order`."""
    return order(query, candidates, statistics, weights, named=named).best(limit)


def _weight(feature: str, query: QueryFeatures, weights: Weights) -> float:
    learned = weights.features[feature]
    if query.latin:
        return learned
    if feature == "lexical":
        return max(learned, _LEXICAL_ELSEWHERE)
    return learned * _DENSE_ELSEWHERE if feature.startswith("dense") else learned


def _feedback(query: QueryFeatures, pool: Pool, words: Mapping[str, float]) -> Floats:
    """Evidence from the added words a candidate holds: the weight of those, as a share of the best's."""
    weights = np.array(list(words.values()), dtype=np.float64)
    held = (pool.counts[:, len(query.terms) : len(query.terms) + len(weights)] > 0) @ weights
    best = float(held.max(initial=0.0))
    return np.asarray(ROUTING.feedback * held / best if best > 0 else np.zeros(len(pool)))


def _standing(pool: Pool, weights: Weights) -> Floats:
    """Return what a candidate loses for not being current, strong and trusted: never above zero."""
    strength, trust = np.clip(pool.strength, 0.0, 1.0), np.clip(pool.trust, 0.0, 1.0)
    lost = weights.weak * (1.0 - strength) + weights.untrusted * (1.0 - trust) + weights.superseded * pool.superseded
    return np.asarray(-lost, dtype=np.float64)


def _chance(evidence: Floats, weights: Weights) -> Floats:
    """Squeeze evidence into 0 to 1 by the logistic curve fitted with the weights; the order stays."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(weights.slope * evidence + weights.offset, -30.0, 30.0))))
