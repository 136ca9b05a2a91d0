"""Runs of a how-to in a conversation: somebody asks how, somebody answers with steps, and later says how it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from memos.rules.procedures import Ending, Trace, find_goal, find_steps, judge_ending

# Steps that come later than this are an answer to something else.
ANSWER_WITHIN = 4
# What is said after this many turns is about something else.
VERDICT_WITHIN = 8


@dataclass(frozen=True, slots=True)
class Said:
    """One turn, in the order of its session."""

    memory_id: UUID
    text: str
    role: str = "user"


def find_traces(turns: Sequence[Said]) -> list[Trace]:
    """The runs of one session in order. Each cites the question, the steps, and what told the ending."""
    traces: list[Trace] = []
    index = 0
    while index < len(turns):
        goal = find_goal(turns[index].text) if turns[index].role != "assistant" else ""
        answered = _answer(turns, index + 1) if goal else None
        if answered is None:
            index += 1
            continue
        steps, at = answered
        rest = [turn for turn in turns[at + 1 : at + 1 + VERDICT_WITHIN] if turn.role != "assistant"]
        ending, told = _verdict(rest)
        cited = (turns[index].memory_id, turns[at].memory_id, *told)
        traces.append(Trace(goal, steps, ending, tuple(dict.fromkeys(cited))))
        index = at + 1
    return traces


def _answer(turns: Sequence[Said], start: int) -> tuple[tuple[str, ...], int] | None:
    """The first steps given soon after a question, and where they stand."""
    for at in range(start, min(start + ANSWER_WITHIN, len(turns))):
        steps = find_steps(turns[at].text)
        if len(steps) > 1:
            return steps, at
    return None


def _verdict(turns: Sequence[Said]) -> tuple[Ending, tuple[UUID, ...]]:
    """How it went, by the last clear word before the next question how."""
    heard: list[Said] = []
    for turn in turns:
        if find_goal(turn.text):
            break
        heard.append(turn)
    ending = judge_ending([turn.text for turn in heard])
    told = [turn.memory_id for turn in heard if judge_ending([turn.text]) is ending]
    return ending, tuple(told[-1:]) if ending is not Ending.UNKNOWN else ()
