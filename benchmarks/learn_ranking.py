"""Learn the ranking's weights from conversations with known evidence, and check that they transfer.

    python -m benchmarks.learn_ranking --locomo FILE --longmemeval FILE[.xz] [--cache FILE]

Listwise logistic regression: for each question, the softmax over all turns should put its mass on the evidence
(ListNet, Cao et al. 2007, with equal mass on each evidence turn; a question with several of them counts more, see
`MANY`). The features are the product's own, of the candidates that it would rank (the first look at a large cube), as its
plan for the question weighs them. Printed are:
figures with each LoCoMo conversation left out in turn, figures of weights learned on one data set on the other,
and the weights learned on both, ready to be pasted into memos/rules/ranking_weights.py. Questions whose labels
are marked as wrong are scored but not learned from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.candidates import Candidate, named_among, pool_from
from memos.encoders.embedder import build_embedder
from memos.rules import routing
from memos.rules.embedding_text import Described, own_text, query_text
from memos.rules.lexical import frequencies
from memos.rules.ranking_features import (
    FEATURES,
    QueryFeatures,
    Statistics,
    asks,
    feature_matrix,
    query_features,
)
from memos.rules.ranking_weights import LEARNED
from memos.rules.understanding import understand

Floats = NDArray[np.float64]
RIDGE = 0.01
"""Weight decay on standardised features; anything from 0.003 to 0.03 gives the same figures within a point."""

MANY = 0.5
"""A question with n evidence turns counts n to this power. When all count alike, recall@10 of multi-hop questions, their
conversation left out, is 1.7 points lower; when each evidence turn counts (1), questions with one answer lose."""

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""The plan depends on the question's words only."""

FREE = frozenset({"length", "asks", "answers", "opens"})
"""Features that are no evidence in themselves, and so may have a weight below zero."""


@dataclass(frozen=True, slots=True)
class Turn:
    label: str
    session: str
    ordinal: int
    name: str | None
    role: str | None
    created_at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    category: str
    evidence: frozenset[str]
    evidence_sessions: frozenset[str]
    wrong_label: bool


@dataclass(frozen=True, slots=True)
class Conversation:
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One question with the features of every candidate, in the order of `labels`."""

    question: Question
    labels: tuple[str, ...]
    sessions: tuple[str, ...]
    features: Floats


def read_locomo(path: Path) -> list[Conversation]:
    """Read LoCoMo-format conversations; adversarial questions (category 5) have no evidence to find."""
    found = []
    for sample in json.loads(path.read_text()):
        held = sample["conversation"]
        turns = []
        for number in sorted(int(key[8:]) for key in held if re.fullmatch(r"session_\d+", key)):
            moment = _utc(held[f"session_{number}_date_time"], "%I:%M %p on %d %B, %Y")
            for ordinal, turn in enumerate(held[f"session_{number}"]):
                caption = f" [image: {turn['blip_caption']}]" if turn.get("blip_caption") else ""
                turns.append(
                    Turn(
                        turn["dia_id"],
                        f"s{number}",
                        ordinal,
                        turn["speaker"],
                        None,
                        moment,
                        turn["text"] + caption,
                    ),
                )
        sessions = {turn.label: turn.session for turn in turns}
        questions = []
        for asked in sample["qa"]:
            evidence = frozenset(asked["evidence"]) & sessions.keys()
            if asked["category"] != 5 and evidence:
                wrong = asked.get("label_error") is not None
                over = frozenset(sessions[label] for label in evidence)
                questions.append(Question(asked["question"], str(asked["category"]), evidence, over, wrong))
        found.append(Conversation(tuple(turns), tuple(questions)))
    return found


def read_longmemeval(path: Path) -> list[Conversation]:
    """Read LongMemEval: one corpus per question; those that ask to abstain have nothing to find."""
    text = lzma.decompress(path.read_bytes()).decode() if path.suffix == ".xz" else path.read_text()
    found = []
    for entry in json.loads(text):
        if "_abs" in entry["question_id"]:
            continue
        dates = [_utc(day, "%Y/%m/%d (%a) %H:%M") for day in entry["haystack_dates"]]
        turns, evidence, sessions = [], set(), set()
        for place, messages in enumerate(entry["haystack_sessions"]):
            if entry["haystack_session_ids"][place] in entry["answer_session_ids"]:
                sessions.add(f"s{place}")
            for ordinal, message in enumerate(messages):
                label = f"s{place}:{ordinal}"
                moment = dates[place]
                turns.append(Turn(label, f"s{place}", ordinal, None, message["role"], moment, message["content"]))
                if message.get("has_answer"):
                    evidence.add(label)
        question = Question(
            entry["question"], entry["question_type"], frozenset(evidence), frozenset(sessions), wrong_label=False
        )
        found.append(Conversation(tuple(turns), (question,)))
    return found


def _utc(text: str, pattern: str) -> datetime:
    return datetime.strptime(text, pattern).replace(tzinfo=UTC)


def cases_of(
    conversation: Conversation, embed: Callable[[list[str]], Floats], *, near: int | None = None, around: int = 1
) -> list[Case]:
    """Compute the features of every turn, or of the `near` best per channel with their neighbours."""
    turns = conversation.turns
    speakers = {turn.name for turn in turns if turn.name}
    described = [Described(t.text, t.name or t.role, t.created_at) for t in turns]
    vectors = embed([own_text(d) for d in described])
    queries = embed([query_text(q.text, speakers) for q in conversation.questions])
    counts = [frequencies(turn.text) for turn in turns]
    lengths = [sum(c.values()) for c in counts]
    documents = Counter(term for held in counts for term in held)
    statistics = Statistics(len(turns), sum(lengths) / len(turns), documents)
    everyone = [
        Candidate(
            version_id=index, kind="turn", session_id=turn.session, ordinal=turn.ordinal,
            speaker=turn.name or turn.role, dense=0.0,
            terms=counts[index], length=lengths[index], role=turn.role, asks=asks(turn.text),
        )
        for index, turn in enumerate(turns)
    ]  # fmt: skip
    found = []
    for question, vector in zip(conversation.questions, queries, strict=True):
        cosines = vectors @ vector
        asked = query_features(question.text)
        pool = [replace(c, dense=float(cosines[c.version_id])) for c in everyone]
        if near is not None:
            pool = bounded(asked, pool, statistics, near, around)
        features = feature_matrix(asked, pool_from(pool, asked), statistics, named_among(asked, pool))
        labels = tuple(turns[c.version_id].label for c in pool)
        sessions = tuple(turns[c.version_id].session for c in pool)
        found.append(Case(question, labels, sessions, features))
    return found


def ranked(conversation: Conversation, embed: Callable[[list[str]], Floats]) -> list[Case]:
    """What the first look would rank, with each feature as strong as the plan for the question makes it."""
    probe, found = routing.PROBES["mid"], []
    for case in cases_of(conversation, embed, near=probe.per_channel, around=probe.neighbours):
        weights = routing.plan(understand(case.question.text, NOW), "auto", None).weights
        strength = np.array([weights.features[name] / LEARNED.features[name] for name in FEATURES])
        found.append(replace(case, features=case.features * strength))
    return found


def bounded(
    query: QueryFeatures, pool: Sequence[Candidate], statistics: Statistics, near: int, around: int
) -> list[Candidate]:
    """Keep what a large cube's channels would return: the nearest, the best by words, and turns beside those."""
    lexical = feature_matrix(query, pool_from(pool, query), statistics, named_among(query, pool))[
        :, FEATURES.index("lexical")
    ]
    dense = np.array([c.dense for c in pool], dtype=np.float64)
    hits = {*np.argsort(-dense, kind="stable")[:near].tolist()}
    hits |= {i for i in np.argsort(-lexical, kind="stable")[:near].tolist() if lexical[i] > 0}
    places = {(c.session_id, c.ordinal): i for i, c in enumerate(pool)}
    for index in tuple(hits):
        for step in range(-around, around + 1):
            beside = places.get((pool[index].session_id, (pool[index].ordinal or 0) + step))
            if beside is not None:
                hits.add(beside)
    return [pool[i] for i in sorted(hits)]


def learn(cases: Sequence[Case]) -> Floats:
    """Return one weight per feature."""
    used = [case for case in cases if not case.question.wrong_label and hit(case).any()]
    stacked = np.concatenate([case.features for case in used])
    spread = stacked.std(axis=0) + 1e-6
    scaled = stacked / spread
    sizes = np.array([len(case.labels) for case in used])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    group = np.repeat(np.arange(len(used)), sizes)
    counts = np.array([hit(case).sum() ** MANY for case in used])
    share = (counts / counts.sum())[group]
    wanted = np.concatenate([hit(case) / hit(case).sum() for case in used])

    def loss(weights: Floats) -> tuple[float, Floats]:
        scores = scaled @ weights
        scores = scores - np.maximum.reduceat(scores, starts)[group]
        mass = np.exp(scores)
        total = np.add.reduceat(mass, starts)[group]
        value = -(share * wanted * (scores - np.log(total))).sum() + RIDGE * weights @ weights
        return float(value), scaled.T @ (share * (mass / total - wanted)) + 2 * RIDGE * weights

    # Evidence may not count against a candidate: a search whose hits sink when they match better cannot be explained.
    bounds = [(None, None) if name in FREE else (0.0, None) for name in FEATURES]
    solved = minimize(loss, np.zeros(scaled.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(solved.x / spread, dtype=np.float64)


def calibrate(cases: Sequence[Case], weights: Floats) -> tuple[float, float]:
    """Fit slope and offset of the logistic curve from score to the chance of being evidence (Platt 1999)."""
    scores = np.concatenate([case.features @ weights for case in cases])
    wanted = np.concatenate([hit(case) for case in cases])

    def loss(curve: Floats) -> float:
        z = curve[0] * scores + curve[1]
        return float(np.mean(np.logaddexp(0.0, z) - wanted * z))

    solved = minimize(loss, np.array([1.0, -5.0]), method="Nelder-Mead")
    return float(solved.x[0]), float(solved.x[1])


def hit(case: Case) -> Floats:
    return np.array([label in case.question.evidence for label in case.labels], dtype=np.float64)


def measure(case: Case, weights: Floats) -> dict[str, float]:
    """Score one question: shares of evidence turns and sessions found, and the rank of the first."""
    order = np.argsort(-np.round(case.features @ weights, 9), kind="stable")
    labels = [case.labels[i] for i in order]
    evidence = case.question.evidence
    sessions = list(dict.fromkeys(case.sessions[i] for i in order))[:5]
    first = next((place for place, label in enumerate(labels, 1) if label in evidence), None)
    got = {k: len(evidence & set(labels[:k])) for k in (5, 10, 50)}
    figures = {f"recall@{k}": n / len(evidence) for k, n in got.items()} if evidence else {}
    if evidence:
        figures |= {
            "any@10": float(got[10] > 0),
            "all@10": float(got[10] == len(evidence)),
            "mrr": 1.0 / first if first else 0.0,
        }
    return figures | {"session_all@5": float(case.question.evidence_sessions <= set(sessions))}


def report(title: str, cases: Sequence[Case], weights: Floats | Sequence[Floats]) -> None:
    """Print mean figures; `weights` are one vector for all, or one per case."""
    each = [weights] * len(cases) if isinstance(weights, np.ndarray) else list(weights)
    rows = [(case.question.category, measure(case, w)) for case, w in zip(cases, each, strict=True)]
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    means = {name: np.mean([row[name] for _, row in rows if name in row]) for name in names}
    print(f"{title:34s}", "  ".join(f"{name} {means[name]:.3f}" for name in sorted(means)))
    groups = sorted({category for category, _ in rows})
    shares = {g: np.mean([r["recall@10"] for c, r in rows if c == g and "recall@10" in r]) for g in groups}
    print(" " * 34, "recall@10 by category:", "  ".join(f"{g} {share:.3f}" for g, share in shares.items()))


def cached(path: Path, embed: Callable[[list[str]], Any], width: int) -> Callable[[list[str]], Floats]:
    """Keep vectors on disk, as LongMemEval's 24,000 long turns take minutes."""
    names: list[str] = []
    rows: list[NDArray[np.float16]] = []
    if path.exists():
        with np.load(path, allow_pickle=False) as stored:
            names, rows = stored["names"].tolist(), list(stored["rows"])
    known = dict(zip(names, rows, strict=True))

    def look_up(texts: list[str]) -> Floats:
        keys = [hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            known.update(zip(missing, np.asarray(embed(list(missing.values())), dtype=np.float16), strict=True))
            np.savez(path, names=np.array(list(known)), rows=np.stack(list(known.values())))
        return np.array([known[key] for key in keys], dtype=np.float64).reshape(-1, width)

    return look_up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--locomo", type=Path, required=True)
    parser.add_argument("--longmemeval", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/learn_ranking.npz"))
    parser.add_argument("--embedder", default="minilm")
    chosen = parser.parse_args()
    chosen.cache.parent.mkdir(parents=True, exist_ok=True)
    embedder = build_embedder(chosen.embedder, cache_dir=chosen.cache.parent)
    embed = cached(chosen.cache, embedder.embed, embedder.dimensions)
    run(chosen.locomo, chosen.longmemeval, embed)


def run(locomo: Path, longmemeval: Path | None, embed: Callable[[list[str]], Floats]) -> None:
    """Learn, check and print, with any way to embed."""
    folds = [ranked(talk, embed) for talk in read_locomo(locomo)]
    apart = [learn([c for j, fold in enumerate(folds) if j != i for c in fold]) for i in range(len(folds))]
    turns = [case for fold in folds for case in fold]
    report("LoCoMo, conversation left out", turns, [w for f, w in zip(folds, apart, strict=True) for _ in f])
    everything = turns
    if longmemeval is not None:
        long = [case for talk in read_longmemeval(longmemeval) for case in ranked(talk, embed)]
        report("LoCoMo -> LongMemEval", long, learn(turns))
        report("LongMemEval -> LoCoMo", turns, learn(long))
        both = [learn([c for j, f in enumerate(folds) if j != i for c in f] + long) for i in range(len(folds))]
        report("LoCoMo left out + LongMemEval", turns, [w for f, w in zip(folds, both, strict=True) for _ in f])
        halves = [learn(turns + long[i::2]) for i in (1, 0)]
        report("LongMemEval halves + LoCoMo", long, [halves[i % 2] for i in range(len(long))])
        everything = turns + long
    final = learn(everything)
    report("final on LoCoMo (seen)", turns, final)
    shipped = np.array([LEARNED.features[name] for name in FEATURES])
    report("shipped on LoCoMo (seen)", turns, shipped)
    slope, offset = calibrate(everything, final)
    print(json.dumps(dict(zip(FEATURES, np.round(final, 4).tolist(), strict=True)), indent=4))
    print(f"slope {slope:.4f} offset {offset:.4f}")


if __name__ == "__main__":
    main()
