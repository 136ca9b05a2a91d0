"""How-to knowledge that proved itself: steps seen more than once, each time followed by success.

A trace is what was done in one session: the steps in order, and whether it ended well. Steps come from numbered or
bulleted lists, "first ... then ..." and imperative lines; the ending is judged by what was said after them. A procedure
is distilled only when at least two traces with a good ending share most of their steps in the same order, and no trace
of the same steps ended badly more often than well. One lucky run is an anecdote; it stays an episode.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from memos.rules.lexical import terms
from memos.rules.sentences import split_sentences
from memos.rules.words import verb_base


class Ending(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Trace:
    """One run: `goal` is what was asked for, `steps` what was done, in order, from the memories `source_ids`."""

    goal: str
    steps: tuple[str, ...]
    ending: Ending
    source_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Procedure:
    """Steps as worded in the latest successful trace; only those that most traces share."""

    title: str
    steps: tuple[str, ...]
    source_ids: tuple[UUID, ...]
    successes: int
    failures: int

    @property
    def text(self) -> str:
        lines = [f"{number}. {step}" for number, step in enumerate(self.steps, start=1)]
        return "\n".join([f"How to {self.title}:", *lines])


@dataclass(frozen=True, slots=True)
class ProcedurePolicy:
    version: str = "procedures-1"
    min_successes: int = 2
    min_steps: int = 2
    max_steps: int = 20
    same_goal: float = 0.5
    """Share of common terms from which two goals are one."""
    same_step: float = 0.5
    kept_share: float = 0.6
    """Share of the successful traces a step must occur in."""


DEFAULT_POLICY: Final = ProcedurePolicy()

_SUCCESS: Final = re.compile(
    r"\b(?:(?:that|it|this) (?:works?|worked|fixed it|solved it|did it|did the trick)"
    r"|works (?:now|perfectly|great|fine|like a charm)"
    r"|(?:is|it's|now|all) (?:fixed|solved|working|green|done)|problem solved|success(?:ful(?:ly)?)?|passed|deployed|resolved"
    r"|thank(?:s| you)[^.!?]{0,40}(?:worked|fixed|solved|perfect)|that was it|finally works)\b",
    re.IGNORECASE,
)
_FAILURE: Final = re.compile(
    r"\b(?:(?:did|does|do) ?n(?:o|')?t (?:work|help)|did not (?:work|help)|does not (?:work|help)|still (?:fails?|failing|broken"
    r"|the same|not working|getting)|failed|error persists|no luck|made it worse|same (?:error|problem)|crash(?:ed|es)?)\b",
    re.IGNORECASE,
)
_SEQUENCE: Final = re.compile(
    r"^(?:(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|then|next|after (?:that|this)|afterwards|finally|lastly|now)\b[,:]?\s*"
    r"|(?:step \d+|\d+[.)]|[-*\u2022])[:.]?\s+)",
    re.IGNORECASE,
)
_GOAL: Final = re.compile(
    r"\b(?:how (?:do|can|should|would) (?:I|we|you)|how to|help me(?: to)?|I (?:need|want|have|would like|am trying|'d like) to"
    r"|steps (?:to|for)|please)\s+(?P<goal>[^.?!\n]{4,120})",
    re.IGNORECASE,
)


def judge_ending(texts: Sequence[str]) -> Ending:
    """What the turns after the steps say about how it went; the last clear word counts."""
    for text in reversed(texts):
        if _FAILURE.search(text):
            return Ending.FAILURE
        if _SUCCESS.search(text):
            return Ending.SUCCESS
    return Ending.UNKNOWN


def find_steps(text: str) -> tuple[str, ...]:
    """The steps of a how-to text: list items and "then ..." sentences that start with something to do."""
    steps: list[str] = []
    for sentence in split_sentences(text):
        body = _SEQUENCE.sub("", sentence.text).strip()
        marked = sentence.number is not None or body != sentence.text or _is_bullet(text, sentence.start)
        if marked and body and _is_imperative(body):
            steps.append(body.rstrip("."))
    return tuple(steps)


def find_goal(text: str) -> str:
    """What a request asks how to do, as an infinitive phrase; empty when it does not ask that."""
    match = _GOAL.search(text)
    return match["goal"].strip(" ,") if match else ""


def distil(traces: Sequence[Trace], policy: ProcedurePolicy = DEFAULT_POLICY) -> list[Procedure]:
    """Procedures from traces given oldest first, in the order in which their goals first appeared."""
    groups: list[list[Trace]] = []
    for trace in traces:
        if not trace.goal or len(trace.steps) < policy.min_steps:
            continue
        home = next((group for group in groups if _alike(group[0].goal, trace.goal) >= policy.same_goal), None)
        if home is None:
            groups.append([trace])
        else:
            home.append(trace)
    found = (_distilled(group, policy) for group in groups)
    return [procedure for procedure in found if procedure is not None]


def _distilled(group: Sequence[Trace], policy: ProcedurePolicy) -> Procedure | None:
    good = [trace for trace in group if trace.ending is Ending.SUCCESS]
    bad = [trace for trace in group if trace.ending is Ending.FAILURE]
    if len(good) < policy.min_successes or len(bad) >= len(good):
        return None
    model = good[-1]
    steps = [
        step
        for step in model.steps
        if sum(_has_step(trace, step, policy) for trace in good) >= policy.kept_share * len(good)
    ][: policy.max_steps]
    in_order = sum(_keeps_order(trace, steps, policy) for trace in good)
    if len(steps) < policy.min_steps or in_order < policy.min_successes:
        return None
    sources = tuple(dict.fromkeys(source for trace in good for source in trace.source_ids))
    return Procedure(model.goal, tuple(steps), sources, len(good), len(bad))


def _has_step(trace: Trace, step: str, policy: ProcedurePolicy) -> bool:
    return any(_alike(step, other) >= policy.same_step for other in trace.steps)


def _keeps_order(trace: Trace, steps: Sequence[str], policy: ProcedurePolicy) -> bool:
    """Whether the steps a trace shares appear in it in the same order."""
    places = [
        next(index for index, other in enumerate(trace.steps) if _alike(step, other) >= policy.same_step)
        for step in steps
        if _has_step(trace, step, policy)
    ]
    return places == sorted(places)


def _alike(first: str, second: str) -> float:
    mine, theirs = set(terms(first)), set(terms(second))
    return len(mine & theirs) / len(mine | theirs) if mine and theirs else 0.0


def _is_imperative(body: str) -> bool:
    words = body.split()
    first = words[0].strip('`*",').lower()
    return verb_base(first) == first or first in {
        "make",
        "set",
        "go",
        "do",
        "be",
        "ensure",
        "restart",
        "rebuild",
        "click",
        "type",
    }


def _is_bullet(text: str, start: int) -> bool:
    line_start = text.rfind("\n", 0, start) + 1
    return re.fullmatch(r"\s*(?:[-*\u2022\u2013]|\(?[a-z0-9]{1,2}\))\s+", text[line_start:start]) is not None
