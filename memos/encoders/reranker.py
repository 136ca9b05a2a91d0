"""The reranking port: read a query together with each candidate, and say how well they go together.

The real one is late interaction (Khattab & Zaharia 2020, "ColBERT"): every token of the query looks for its
best match among the tokens of the candidate, and the matches are averaged. The tokens' states are the
embedder's own, so no second model is needed. A token that few candidates contain says more about which one is
meant, so tokens weigh by their inverse document frequency (Spaerck Jones 1972, in BM25's form), counted over
the candidates themselves: on the measured corpora as good as counting over the whole cube, and it needs no
statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memos.encoders.embedder import TokenEmbedder
from memos.encoders.texts import plain_words


class Reranker(Protocol):
    """Thread-safe."""

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one score per text, higher for better. Scores compare within one call only."""


class MaxSimReranker:
    """Late interaction over token states that are computed on the spot: about the cost of embedding each
    text.

    Who has stored the states calls `maxsim` and `inverse_document_frequencies` directly, at 2 ms for 50
    candidates.
    """

    def __init__(self, embedder: TokenEmbedder, *, weigh_by_rarity: bool = True) -> None:
        self._embedder = embedder
        self._weigh_by_rarity = weigh_by_rarity

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        [query_states] = self._embedder.token_states([query])
        weights = None
        if self._weigh_by_rarity:
            [query_ids] = self._embedder.token_ids([query])
            weights = inverse_document_frequencies(query_ids, self._embedder.token_ids(texts))
        return maxsim(query_states, self._embedder.token_states(texts), weights)


class OverlapReranker:
    """The fake: which share of the query's distinct words a text contains."""

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        wanted = set(plain_words(query))
        shares = [len(wanted & set(plain_words(text))) / max(len(wanted), 1) for text in texts]
        return np.array(shares, dtype=np.float32)


def maxsim(
    query: NDArray[np.float16],
    candidates: Sequence[NDArray[np.float16]],
    weights: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return per candidate the mean, over query tokens, of the highest cosine with one of its own tokens.

    `query` is [tokens, dimensions], each candidate too, all rows of length 1; `weights` [tokens] are positive,
    and equal when not given. A query or a candidate without tokens scores 0.
    """
    scores = np.zeros(len(candidates), dtype=np.float32)
    filled = np.array([index for index, states in enumerate(candidates) if len(states)], dtype=np.intp)
    if not len(query) or not len(filled):
        return scores
    lengths = [len(candidates[index]) for index in filled]
    # One product for all candidates, then the maximum over each one's stretch of columns.
    states = np.concatenate([candidates[index] for index in filled]).astype(np.float32)
    similarities = query.astype(np.float32) @ states.T
    starts = np.cumsum([0, *lengths[:-1]])
    best = np.maximum.reduceat(similarities, starts, axis=1)
    shares = np.ones(len(query), dtype=np.float32) if weights is None else weights
    scores[filled] = shares @ best / shares.sum()
    return scores


def inverse_document_frequencies(
    query_ids: NDArray[np.int32], candidate_ids: Sequence[NDArray[np.int32]]
) -> NDArray[np.float32]:
    """Return the weight of each query token [tokens]: log(1 + (n - df + 0.5) / (df + 0.5)), always positive.

    n is the number of candidates and df how many of them contain the token.
    """
    frequencies = np.zeros(len(query_ids), dtype=np.float32)
    for ids in candidate_ids:
        frequencies += np.isin(query_ids, ids)
    rarity = (len(candidate_ids) - frequencies + 0.5) / (frequencies + 0.5)
    return np.log1p(rarity).astype(np.float32)
