"""Why caches of separately computed texts are never glued together: copying a number out of either of two.

Two segments of about 120 tokens each tell of an ordinary day and one person's number; the model completes "Anna's phone
number is" for each. The task is one that this small model solves when it reads both (so that failing means something).
Segment B's cache is computed in four ways:

    joint         after segment A, as the service does
    glued         alone and put behind A's: B never saw A, repeats A's positions, and brings a second first token
    no mark       the same without B's beginning-of-sequence mark
    re-rotated    also with B's keys turned to the positions they now have

A small test: it shows that gluing harms, not that re-rotation is safe in general. So neither is offered.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Report, progress
from memos.encoders.kv_state import GroupKV, KVState, joined
from memos.encoders.transformers_engine import TransformersEngine
from memos.rules.kv_layout import Group

TRIALS = 24
PEOPLE = ("Anna", "Boris", "Clara", "Henry", "Irene", "Louis", "Maria", "Oscar", "Paula", "Sarah", "Thomas", "Wendy")
DAY = [
    "The morning was cold and the streets were still empty.",
    "Somebody had left a window open, and the rain had come in.",
    "They drank their tea slowly and talked about the summer.",
    "A dog barked twice behind the old bakery and then was quiet.",
    "The bus came late, as it did most days of the week.",
    "After lunch the children went down to the river to fish.",
    "In the evening the shops closed early because of the wind.",
    "Nobody could remember who had painted the fence.",
]
MARK = "<|im_start|>"


@dataclass(frozen=True, slots=True)
class Segment:
    text: str
    asked: str
    code: str


Compose = Callable[[TransformersEngine, Sequence[int], Sequence[int]], KVState]


def run(report: Report, engine: TransformersEngine) -> None:
    rng = random.Random(0)
    trials = []
    for _ in range(TRIALS):
        one, other = rng.sample(PEOPLE, 2)
        trials.append((_segment(rng, one), _segment(rng, other)))
    ways: dict[str, Compose] = {
        "joint": _joint,
        "glued": lambda e, a, b: _glued(e, a, b, keep_mark=True, rotate=False),
        "no mark": lambda e, a, b: _glued(e, a, b, keep_mark=False, rotate=False),
        "re-rotated": lambda e, a, b: _glued(e, a, b, keep_mark=False, rotate=True),
    }
    rows = []
    with progress("composing caches", len(ways) * TRIALS) as step:
        for name, compose in ways.items():
            right = {"A": 0, "B": 0}
            for first, second in trials:
                state = compose(engine, engine.tokenize(first.text).ids, engine.tokenize(second.text).ids)
                right["A"] += _copied(engine, state, first)
                right["B"] += _copied(engine, state, second)
                step()
            share = {segment: count / TRIALS for segment, count in right.items()}
            report.figures[f"composition.{name}"] = share
            rows.append([name, f"{share['A']:.2f}", f"{share['B']:.2f}"])
    report.table(f"Numbers copied exactly, {TRIALS} pairs of segments", ("way", "from A", "from B"), rows)
    for segment in ("A", "B"):
        report.goal(f"joint: numbers copied from {segment}", report.figures["composition.joint"][segment], ">=", 1.0)


def _segment(rng: random.Random, person: str) -> Segment:
    code = str(rng.randrange(1000, 10_000))
    sentences = rng.sample(DAY, len(DAY))
    sentences.insert(rng.randrange(2, len(DAY) - 1), f"{person}'s phone number is {code}.")
    return Segment(" ".join(sentences) + "\n", person, code)


def _copied(engine: TransformersEngine, state: KVState, segment: Segment) -> bool:
    question = engine.tokenize(f"{segment.asked}'s phone number is").ids
    answer = engine.detokenize(engine.generate(engine.restore(state), question, 6))
    return answer.strip().startswith(segment.code)


def _joint(engine: TransformersEngine, a: Sequence[int], b: Sequence[int]) -> KVState:
    return engine.build([*_mark(engine), *a, *b])


def _glued(engine: TransformersEngine, a: Sequence[int], b: Sequence[int], *, keep_mark: bool, rotate: bool) -> KVState:
    first, second = engine.build([*_mark(engine), *a]), engine.build([*_mark(engine), *b])
    kv = second.groups[Group.FULL]
    dropped = 0 if keep_mark else 1
    # Token j of B was computed at position j; with the mark gone it will stand at len(A) + j.
    k = _turned(kv.k, first.end - dropped, _theta(engine)) if rotate else kv.k
    moved = GroupKV(k[:, :, dropped:], kv.v[:, :, dropped:], first.end)
    return joined([first, KVState({Group.FULL: moved})], engine.identity.spec)


def _turned(keys: NDArray[np.float32], by: int, theta: float) -> NDArray[np.float32]:
    """Rotary keys [..., size] as if computed `by` positions later."""
    half = keys.shape[-1] // 2
    angles = by * theta ** (-np.arange(half, dtype=np.float64) / half)
    cosine, sine = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    first, second = keys[..., :half], keys[..., half:]
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def _theta(engine: TransformersEngine) -> float:
    return float(json.loads(engine.identity.positions)["rope_theta"])


def _mark(engine: TransformersEngine) -> tuple[int, ...]:
    return engine.tokenize(MARK, special=True).ids
