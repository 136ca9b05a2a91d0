"""Turns of phrase that start one state and may end another: "moved from Rome to Lyon", "quit my job", "broke up with".

What follows a verb is elsewhere read by its grammar; these few say more than their grammar does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from memos.rules.attributes import Form
from memos.rules.statements import Statement, clean_value
from memos.rules.words import word_set

ADVERBS: Final = word_set(
    """
    just also still always really never now even already so actually ever both finally recently currently
    often usually sometimes all totally definitely only once then first kinda too soon probably
    """
)
NO_VALUE: Final = word_set(
    """
    it that this them him her you me us one so there here what how why something anything everything nothing
    stuff things to not no
    """
)


def changes(body: str, subject: str) -> list[Statement]:
    """What such a phrase at the beginning of a clause says of its subject; none when it begins with none."""
    for change in _CHANGES:
        match = change.pattern.match(body)
        if match:
            return [
                Statement(subject, attribute, value, Form.RELATION, negated=ended, ended=ended, confidence=0.9)
                for attribute, raw, ended in change.read(match)
                if (value := _short(raw)) or ended
            ]
    return []


@dataclass(frozen=True, slots=True)
class _Change:
    """A turn of phrase that starts one state and may end another. `read` yields (attribute, value, ended) triples."""

    pattern: re.Pattern[str]
    read: Callable[[re.Match[str]], list[tuple[str, str, bool]]]


def _short(raw: str | None) -> str:
    value = clean_value(raw or "")
    return "" if value.lower() in NO_VALUE else re.sub(r"^(?:the city of|a|an)\s+(?=\S)", "", value)


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:(?:{'|'.join(sorted(ADVERBS))}|have|had|am)\s+)*(?:{pattern})", re.IGNORECASE)


_STOP: Final = r"(?=\s+(?:in|on|at|as|for|with|because|last|this|next|again|now|too|and|but|so|since|\d)\b|[,.!;]|$)"

_CHANGES: Final[tuple[_Change, ...]] = (
    _Change(
        _compiled(rf"(?:moved|relocated|moving)\s+(?:back\s+|away\s+)?from\s+(?P<old>.+?)\s+to\s+(?P<new>.+?){_STOP}"),
        lambda m: [("live in", m["old"], True), ("live in", m["new"], False)],
    ),
    _Change(
        _compiled(
            rf"(?:moved|relocated)\s+(?:back\s+)?to\s+(?P<new>(?:a |an |the )?(?-i:[A-Z]).*?|the (?:suburbs|city|country"
            rf"(?:side)?|coast|beach|mountains)){_STOP}"
        ),
        lambda m: [("live in", m["new"], False)],
    ),
    _Change(
        _compiled(
            r"(?:switched|changed|converted|migrated|upgraded)\s+(?:over\s+)?from\s+(?P<old>.+?)\s+to\s+(?P<new>.+)$"
        ),
        lambda m: [("use", m["old"], True), ("use", m["new"], False)],
    ),
    _Change(
        _compiled(r"(?:switched|converted|migrated)\s+(?:over\s+)?to\s+(?P<new>.+)$"),
        lambda m: [("use", m["new"], False)],
    ),
    _Change(
        _compiled(
            r"(?:quit|lost|left|resigned from|was laid off from|was fired from|got fired from|got laid off from)\s+"
            rf"(?:my|our|the)\s+(?:\w+\s+)?(?:job|position|role|post)(?:\s+at\s+(?P<place>.+?){_STOP})?"
            rf"(?:\s+as\s+(?:an?\s+)?(?P<role>.+?){_STOP})?"
        ),
        lambda m: (
            [("job", m["role"], True)]
            if m["role"]
            else [("work for", m["place"], True)]
            if m["place"]
            else [("job", "", True), ("work for", "", True)]
        ),
    ),
    _Change(
        _compiled(
            r"(?:started|got|took|accepted|landed|began)\s+(?:an?|my)\s+(?:new\s+|first\s+)?(?:job|position|role)\b"
            rf"(?:\s+(?:at|with|for)\s+(?P<place>.+?){_STOP})?(?:\s+as\s+(?:an?\s+)?(?P<role>.+?){_STOP})?"
        ),
        lambda m: [("work for", m["place"] or "", False), ("job", m["role"] or "", False)],
    ),
    _Change(
        _compiled(rf"(?:started\s+)?work(?:ing|ed)?\s+(?:now\s+)?as\s+(?:an?\s+)?(?P<role>.+?){_STOP}"),
        lambda m: [("job", m["role"], False)],
    ),
    _Change(
        _compiled(rf"(?:got|am|was)?\s*(?:married)\s+(?:to\s+)?(?P<who>(?-i:[A-Z][\w'-]*(?: [A-Z][\w'-]*)*)){_STOP}"),
        lambda m: [("married to", m["who"], False)],
    ),
    _Change(
        _compiled(rf"(?:broke up with|split up with|divorced|separated from)\s+(?P<who>.+?){_STOP}"),
        lambda m: [("married to", m["who"], True)],
    ),
)
