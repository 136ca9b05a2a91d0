"""Learn the router's confidence from questions with known evidence, and show what looking again would cost and bring.

    python -m benchmarks.learn_routing --locomo FILE --longmemeval FILE[.xz] [--cache FILE]

The target is whether any evidence turn is among the first ten of the first look; the features are the product's own
(`memos.rules.routing.shape`). Logistic regression with a little ridge, checked with each LoCoMo conversation left out: area
under ROC, Brier score, and five bins of equal size. The numbers printed last go into memos/rules/routing_weights.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.learn_ranking import NOW, Case, cached, cases_of, hit, read_locomo, read_longmemeval
from memos.encoders.embedder import build_embedder
from memos.rules import routing
from memos.rules.ranking_features import FEATURES
from memos.rules.understanding import understand

Floats = NDArray[np.float64]
RIDGE = 0.02


@dataclass(frozen=True, slots=True)
class Judged:
    """One question: the shape of its scores, whether the first ten hold evidence, and which conversation it is of."""

    shape: Floats
    found: bool
    group: int


def judged(case: Case, group: int) -> Judged | None:
    """None for questions without marked evidence."""
    if not case.question.evidence:
        return None
    plan = routing.plan(understand(case.question.text, NOW), "auto", None)
    scores = np.round(case.features @ np.array([plan.weights.features[name] for name in FEATURES]), 9)
    order = np.argsort(-scores, kind="stable")
    seen = routing.shape(scores[order].tolist())
    if seen is None:
        return None
    return Judged(np.array([seen.first, seen.lead, seen.entropy]), bool(hit(case)[order[:10]].any()), group)


def learn(rows: Sequence[Judged]) -> tuple[Floats, float]:
    """Return one weight per feature, and the offset."""
    features = np.stack([row.shape for row in rows])
    found = np.array([row.found for row in rows], dtype=np.float64)
    middle, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
    scaled = np.c_[(features - middle) / spread, np.ones(len(rows))]

    def loss(weights: Floats) -> float:
        z = scaled @ weights
        return float(np.mean(np.logaddexp(0.0, z) - found * z) + RIDGE * weights[:-1] @ weights[:-1])

    solved = minimize(loss, np.zeros(scaled.shape[1])).x
    weights = np.asarray(solved[:-1] / spread, dtype=np.float64)
    return weights, float(solved[-1] - weights @ middle)


def check(rows: Sequence[Judged]) -> None:
    """Print how well the confidence of each conversation is told by the others."""
    groups = sorted({row.group for row in rows if row.group >= 0})
    sure, found = [], []
    for group in groups:
        weights, offset = learn([row for row in rows if row.group != group])
        held_out = [row for row in rows if row.group == group]
        sure += [1.0 / (1.0 + np.exp(-(row.shape @ weights + offset))) for row in held_out]
        found += [row.found for row in held_out]
    told, was = np.array(sure), np.array(found, dtype=np.float64)
    good, bad = told[was > 0], told[was == 0]
    area = np.mean((good[:, None] > bad[None]) + 0.5 * (good[:, None] == bad[None]))
    print(
        f"conversation left out: area under ROC {area:.3f}, Brier {np.mean((told - was) ** 2):.4f}, questions {len(was)}"
    )
    for part in np.array_split(np.argsort(told), 5):
        print(f"  confidence {told[part].mean():.2f}  found {was[part].mean():.2f}")
    for least in (0.8, 0.85, 0.9, 0.95):
        print(
            f"  below {least}: {np.mean(told < least):.2f} of the questions, {np.mean(told[was == 0] < least):.2f} of the misses"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--locomo", type=Path, required=True)
    parser.add_argument("--longmemeval", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/learn_ranking.npz"))
    parser.add_argument("--embedder", default="minilm")
    chosen = parser.parse_args()
    chosen.cache.parent.mkdir(parents=True, exist_ok=True)
    embedder = build_embedder(chosen.embedder, cache_dir=chosen.cache.parent)
    run(chosen.locomo, chosen.longmemeval, cached(chosen.cache, embedder.embed, embedder.dimensions))


def run(locomo: Path, longmemeval: Path | None, embed: Callable[[list[str]], Floats]) -> None:
    """Learn, check and print, with any way to embed."""
    probe = routing.PROBES["mid"]
    talks = [(talk, group) for group, talk in enumerate(read_locomo(locomo))]
    talks += [(talk, -1) for talk in read_longmemeval(longmemeval)] if longmemeval is not None else []
    rows = [
        row
        for talk, group in talks
        for case in cases_of(talk, embed, near=probe.per_channel, around=probe.neighbours)
        if (row := judged(case, group)) is not None
    ]
    check(rows)
    weights, offset = learn(rows)
    for name, value in zip(("first", "lead", "entropy", "offset"), (*weights, offset), strict=True):
        print(f"    {name}: float = {value:.4f}")


if __name__ == "__main__":
    main()
