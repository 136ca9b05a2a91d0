"""Extractive summaries: which sentences of the sources say most, say it once, and fit a token cap.

Centrality is continuous LexRank (Erkan & Radev 2004): PageRank over the graph of cosine similarities between sentence
embeddings. It is blended with closeness to the centroid (Radev et al. 2004), which is steadier for a handful of
sentences, and with what a sentence is worth remembering (admission), because the most central sentence of a chat is
often "That's great!". Sentences are then taken greedily by maximal marginal relevance (Carbonell & Goldstein 1998),
and put back into source order, so that the summary reads as it happened.

Embeddings come in as an array; nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos.rules.admission import admission_score
from memos.rules.grounding import support, ungrounded
from memos.rules.sentences import split_sentences

Floats = NDArray[np.float32]

DAMPING: Final = 0.85
_ITERATIONS: Final = 50
_TOLERANCE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that may enter a summary. `source` is the index of the memory it comes from, `order` its place."""

    text: str
    source: int
    order: int
    speaker: str = ""


@dataclass(frozen=True, slots=True)
class SummaryPolicy:
    version: str = "summary-1"
    max_tokens: int = 160
    diversity: float = 0.3
    """0 takes the most central sentences, 1 only avoids repetition."""
    centroid_weight: float = 0.5
    admission_weight: float = 0.5
    min_admission: float = 0.25
    """Just above what a greeting with a name scores."""
    similarity_floor: float = 0.1
    """Weaker similarities are noise of the embedding and are cut from the graph."""


@dataclass(frozen=True, slots=True)
class Summary:
    """`sources` are the indices of the memories quoted, sorted."""

    text: str
    chosen: tuple[Candidate, ...]
    sources: tuple[int, ...]


DEFAULT_POLICY: Final = SummaryPolicy()


def candidates_of(texts: Sequence[str], speakers: Sequence[str] = ()) -> list[Candidate]:
    """The sentences of some memories, in order. Questions are left out: they ask, they do not tell."""
    found: list[Candidate] = []
    for source, text in enumerate(texts):
        speaker = speakers[source] if source < len(speakers) else ""
        for sentence in split_sentences(text):
            if not sentence.is_question:
                found.append(Candidate(sentence.text, source, len(found), speaker))
    return found


def summarise(
    candidates: Sequence[Candidate],
    vectors: Floats,
    count_tokens: Callable[[str], int],
    policy: SummaryPolicy = DEFAULT_POLICY,
) -> Summary:
    """Choose sentences within the token cap. `vectors` has one unit row [n, d] per candidate.

    The first sentence chosen is cut to the cap if it alone exceeds it, so a summary is only empty when nothing was given.
    """
    if vectors.shape[0] != len(candidates):
        raise ValueError(f"expected {len(candidates)} vectors, got {vectors.shape[0]}")
    if not candidates:
        return Summary("", (), ())
    scores = relevance(candidates, vectors, policy)
    chosen = _choose(candidates, vectors, scores, count_tokens, policy)
    text = " ".join(_line(candidate) for candidate in chosen)
    return Summary(text, tuple(chosen), tuple(sorted({candidate.source for candidate in chosen})))


def relevance(candidates: Sequence[Candidate], vectors: Floats, policy: SummaryPolicy) -> Floats:
    """What each sentence is worth to the summary, from 0 to 1."""
    central = _scaled(lexrank(vectors, floor=policy.similarity_floor))
    centroid = vectors.mean(axis=0)
    norm = float(np.linalg.norm(centroid))
    close = _scaled(vectors @ (centroid / norm)) if norm > 0 else np.zeros(len(candidates), dtype=np.float32)
    worth = np.array([admission_score(candidate.text) for candidate in candidates], dtype=np.float32)
    blended = (1.0 - policy.centroid_weight) * central + policy.centroid_weight * close
    scores = (1.0 - policy.admission_weight) * blended + policy.admission_weight * worth
    scores[worth < policy.min_admission] *= 0.1
    return scores.astype(np.float32)


def lexrank(vectors: Floats, *, floor: float = 0.1) -> Floats:
    """The stationary distribution of a random walk over similar sentences; sums to 1."""
    count = vectors.shape[0]
    similarity = vectors @ vectors.T
    similarity[similarity < floor] = 0.0
    np.fill_diagonal(similarity, 0.0)
    totals = similarity.sum(axis=1, keepdims=True)
    # A sentence like no other passes its weight on to all, as a page without links does.
    walk = np.where(totals > 0, similarity / np.where(totals > 0, totals, 1.0), 1.0 / count)
    rank = np.full(count, 1.0 / count)
    for _ in range(_ITERATIONS):
        step = (1.0 - DAMPING) / count + DAMPING * (walk.T @ rank)
        if float(np.abs(step - rank).sum()) < _TOLERANCE:
            break
        rank = step
    normed: Floats = (rank / rank.sum()).astype(np.float32)
    return normed


@dataclass(frozen=True, slots=True)
class Check:
    """The result of checking a summary, extractive or written by a model, against its sources."""

    passed: bool
    ungrounded: tuple[str, ...]
    coverage: float
    reasons: tuple[str, ...]


def check_summary(
    summary: str, sources: Sequence[str], facts: Sequence[str], *, min_coverage: float = 0.0, min_support: float = 0.6
) -> Check:
    """Refuse a summary that names a number or name its sources lack, says mostly other words, or covers too few facts.

    `coverage` is the share of the source facts whose terms the summary mostly holds; 1 when there are none.
    """
    missing = ungrounded(summary, sources)
    covered = fact_coverage(summary, facts)
    supported = support(summary, sources)
    reasons = []
    if not summary.strip():
        reasons.append("it is empty")
    if missing:
        reasons.append(f"not in its sources: {', '.join(missing)}")
    if supported < min_support:
        reasons.append(f"only {supported:.0%} of its words are in its sources")
    if covered < min_coverage:
        reasons.append(f"it covers {covered:.0%} of the facts, less than {min_coverage:.0%}")
    return Check(not reasons, missing, round(covered, 4), tuple(reasons))


def fact_coverage(summary: str, facts: Sequence[str], *, share: float = 0.6) -> float:
    """The share of facts of which the summary holds at least `share` of the terms."""
    if not facts:
        return 1.0
    return sum(support(fact, [summary]) >= share for fact in facts) / len(facts)


def _choose(
    candidates: Sequence[Candidate],
    vectors: Floats,
    scores: Floats,
    count_tokens: Callable[[str], int],
    policy: SummaryPolicy,
) -> list[Candidate]:
    costs = [count_tokens(_line(candidate)) for candidate in candidates]
    nearest = np.zeros(len(candidates), dtype=np.float32)
    left = set(range(len(candidates)))
    chosen: list[int] = []
    spent = 0
    while left:
        gains = {
            index: (1.0 - policy.diversity) * float(scores[index]) - policy.diversity * float(nearest[index])
            for index in left
            if spent + costs[index] <= policy.max_tokens
        }
        if not gains:
            break
        best = max(gains, key=lambda index: (gains[index], -index))
        if chosen and scores[best] < 0.1:
            break
        chosen.append(best)
        left.discard(best)
        spent += costs[best]
        nearest = np.maximum(nearest, vectors @ vectors[best])
    if not chosen:
        return [_cut(candidates[int(np.argmax(scores))], count_tokens, policy.max_tokens)]
    return [candidates[index] for index in sorted(chosen, key=lambda index: candidates[index].order)]


def _cut(candidate: Candidate, count_tokens: Callable[[str], int], max_tokens: int) -> Candidate:
    """The longest head of whole words that fits; at least one word."""
    words = candidate.text.split()
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        shorter = Candidate(" ".join(words[:middle]), candidate.source, candidate.order, candidate.speaker)
        if count_tokens(_line(shorter)) <= max_tokens:
            low = middle
        else:
            high = middle - 1
    return Candidate(" ".join(words[:low]), candidate.source, candidate.order, candidate.speaker)


def _line(candidate: Candidate) -> str:
    return f"{candidate.speaker}: {candidate.text}" if candidate.speaker else candidate.text


def _scaled(values: Floats) -> Floats:
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9:
        return np.ones_like(values)
    return ((values - low) / (high - low)).astype(np.float32)
