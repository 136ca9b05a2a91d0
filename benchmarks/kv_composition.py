"""Why caches of separately computed texts are never glued together: copying a number out of either of two.

Two segments of about 120 tokens each tell of an ordinary day, and each holds one person's number, which the model has to
copy after "Anna Keller's phone number is". There are two tasks:

    two kinds     one segment holds a phone number, the other a locker code: the model reading both solves it every time
    one kind      both hold phone numbers, so the model must tell two people apart. Reading both, this small model
                  mistakes one for the other about once in 48; that is its own limit and says nothing about caches

In each, segment B's cache is computed in four ways:

    joint         after segment A, as the service does
    glued         alone and put behind A's: B never saw A, repeats A's positions, and brings a second first token
    no mark       the same without B's beginning-of-sequence mark
    re-rotated    also with B's keys turned to the positions they now have

A small test: it shows that gluing harms, not that re-rotation is safe in general. So neither is offered.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Report, progress
from memos.encoders.kv_state import GroupKV, KVState, joined
from memos.encoders.transformers_engine import TransformersEngine
from memos.rules.kv_layout import Group

TRIALS = 24
TASKS = {"two kinds": ("phone number", "locker code"), "one kind": ("phone number", "phone number")}
PEOPLE = (
    "Anna Keller",
    "Boris Lindqvist",
    "Clara Okafor",
    "Henry Brandt",
    "Irene Moreau",
    "Louis Tanaka",
    "Maria Petrov",
    "Oscar Silva",
    "Paula Novak",
    "Sarah Hansen",
    "Thomas Ferrari",
    "Wendy Doyle",
)
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
    """`asked` is what the question begins with: whose number of which kind."""

    text: str
    asked: str
    code: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two segments' texts as tokens, and the cache of each computed alone behind a mark of its own."""

    b_ids: tuple[int, ...]
    first: KVState
    second: KVState


Compose = Callable[[TransformersEngine, Pair], KVState]


def run(report: Report, engine: TransformersEngine) -> None:
    ways: dict[str, Compose] = {
        "joint": _joint,
        "glued": lambda e, pair: _glued(e, pair, keep_mark=True, rotate=False),
        "no mark": lambda e, pair: _glued(e, pair, keep_mark=False, rotate=False),
        "re-rotated": lambda e, pair: _glued(e, pair, keep_mark=False, rotate=True),
    }
    rows = []
    with progress("composing caches", len(TASKS) * TRIALS) as step:
        for task, kinds in TASKS.items():
            right = {name: {"A": 0, "B": 0} for name in ways}
            for a, b in _trials(kinds):
                pair = _pair(engine, a, b)
                for name, compose in ways.items():
                    state = compose(engine, pair)
                    right[name]["A"] += _copied(engine, state, a)
                    right[name]["B"] += _copied(engine, state, b)
                step()
            for name, counts in right.items():
                share = {segment: count / TRIALS for segment, count in counts.items()}
                report.figures[f"composition.{task}.{name}"] = share
                rows.append([f"{task}: {name}", f"{share['A']:.2f}", f"{share['B']:.2f}"])
    report.table(f"Numbers copied exactly, {TRIALS} pairs of segments", ("way", "from A", "from B"), rows)
    for task in TASKS:
        for segment in ("A", "B"):
            joint = report.figures[f"composition.{task}.joint"][segment]
            report.goal(f"joint, {task}: numbers copied from {segment}", joint, ">=", 1.0)


def _trials(kinds: tuple[str, str]) -> list[tuple[Segment, Segment]]:
    rng = random.Random(0)
    trials = []
    for _ in range(TRIALS):
        one, other = rng.sample(PEOPLE, 2)
        trials.append((_segment(rng, one, kinds[0]), _segment(rng, other, kinds[1])))
    return trials


def _segment(rng: random.Random, person: str, kind: str) -> Segment:
    code = str(rng.randrange(1000, 10_000))
    sentences = rng.sample(DAY, len(DAY))
    sentences.insert(rng.randrange(2, len(DAY) - 1), f"{person}'s {kind} is {code}.")
    return Segment(" ".join(sentences) + "\n", f"{person}'s {kind}", code)


def _copied(engine: TransformersEngine, state: KVState, segment: Segment) -> bool:
    """Whether greedy decoding would copy the number: each of its tokens is the likeliest after those before it."""
    question, number = engine.tokenize(f"{segment.asked} is").ids, engine.tokenize(f" {segment.code}").ids
    logits = engine.logits(engine.restore(state), [*question, *number[:-1]])[len(question) - 1 :]
    return tuple(logits.argmax(axis=1).tolist()) == number


def _pair(engine: TransformersEngine, a: Segment, b: Segment) -> Pair:
    mark = engine.tokenize(MARK, special=True).ids
    a_ids, b_ids = engine.tokenize(a.text).ids, engine.tokenize(b.text).ids
    return Pair(b_ids, engine.build([*mark, *a_ids]), engine.build([*mark, *b_ids]))


def _joint(engine: TransformersEngine, pair: Pair) -> KVState:
    return joined([pair.first, engine.build(pair.b_ids, pair.first)], engine.identity.spec)


def _glued(engine: TransformersEngine, pair: Pair, *, keep_mark: bool, rotate: bool) -> KVState:
    kv = pair.second.groups[Group.FULL]
    dropped = 0 if keep_mark else 1
    # Token j of B was computed at position j; with the mark gone it will stand at len(A) + j.
    k = _turned(kv.k, pair.first.end - dropped, _theta(engine)) if rotate else kv.k
    moved = GroupKV(k[:, :, dropped:], kv.v[:, :, dropped:], pair.first.end)
    return joined([pair.first, KVState({Group.FULL: moved})], engine.identity.spec)


def _turned(keys: NDArray[np.float32], by: int, theta: float) -> NDArray[np.float32]:
    """Rotary keys [..., size] as if computed `by` positions later."""
    half = keys.shape[-1] // 2
    angles = by * theta ** (-np.arange(half, dtype=np.float64) / half)
    cosine, sine = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    first, second = keys[..., :half], keys[..., half:]
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def _theta(engine: TransformersEngine) -> float:
    return float(json.loads(engine.identity.positions)["rope_theta"])
