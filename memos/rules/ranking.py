"""One order out of several channels: a linear score over normalised evidence, learned once and the same for all data.

Rank fusion throws away how far the best candidate leads, which matters here, so scores are fused instead. The
evidence of a turn is its own, that of the turns around it, that of its session, and who said it. What is
superseded, weak or little trusted then loses a fixed amount, so that it needs better evidence to come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from memos.rules.ranking_features import (
    FEATURES,
    Candidate,
    Floats,
    QueryFeatures,
    Statistics,
    asks,
    feature_matrix,
    query_features,
)
from memos.rules.ranking_weights import LEARNED, Weights

__all__ = [
    "LEARNED",
    "Candidate",
    "QueryFeatures",
    "Ranked",
    "Statistics",
    "Weights",
    "asks",
    "query_features",
    "rank",
]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate's place. `score` estimates the chance that it answers the query; it falls along the order.

    `evidence` is the sum that the score was squeezed from, and `channels` says what each feature added to it, for
    `explain`.
    """

    version_id: int
    score: float
    evidence: float
    channels: dict[str, float]


def rank(
    query: QueryFeatures,
    candidates: Iterable[Candidate],
    statistics: Statistics,
    weights: Weights,
    limit: int,
    feedback: Mapping[int, float] | None = None,
) -> list[Ranked]:
    """Return the best `limit` candidates, best first; ties go to the lower version id.

    The result depends on the set of candidates only, not on their order. A version given twice counts once.
    `feedback` is further evidence by version id, from looking again (see `routing`).
    """
    unique = {candidate.version_id: candidate for candidate in candidates}
    pool = [unique[version_id] for version_id in sorted(unique)]
    if not pool or limit <= 0:
        return []
    parts = feature_matrix(query, pool, statistics) * np.array([weights.features[name] for name in FEATURES])
    standing = _standing(pool, weights)
    # Rounding makes equal evidence equal whatever the order of additions, so ties are ties on every machine.
    again = np.array([(feedback or {}).get(candidate.version_id, 0.0) for candidate in pool])
    evidence = np.round(parts.sum(axis=1) + standing + again, 9)
    ids = np.array([candidate.version_id for candidate in pool])
    best = np.lexsort((ids, -evidence))[:limit]
    scores = _chance(evidence, weights)
    return [
        Ranked(
            version_id=int(ids[index]),
            score=float(scores[index]),
            evidence=float(evidence[index]),
            channels=dict(zip(FEATURES, parts[index].tolist(), strict=True))
            | {"standing": float(standing[index])}
            | ({} if feedback is None else {"feedback": float(again[index])}),
        )
        for index in best
    ]


def _standing(pool: list[Candidate], weights: Weights) -> Floats:
    """Return what a candidate loses for not being current, strong and trusted: never above zero."""
    strength = np.clip(np.array([c.strength for c in pool], dtype=np.float64), 0.0, 1.0)
    trust = np.clip(np.array([c.trust for c in pool], dtype=np.float64), 0.0, 1.0)
    superseded = np.array([c.superseded for c in pool], dtype=np.float64)
    lost = weights.weak * (1.0 - strength) + weights.untrusted * (1.0 - trust) + weights.superseded * superseded
    return np.asarray(-lost, dtype=np.float64)


def _chance(evidence: Floats, weights: Weights) -> Floats:
    """Squeeze evidence into 0 to 1 by the logistic curve fitted with the weights; the order stays."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(weights.slope * evidence + weights.offset, -30.0, 30.0))))
