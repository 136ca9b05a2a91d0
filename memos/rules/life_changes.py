"""Turns of phrase that start one state of a life and may end another: moving, changing jobs, marrying, parting.

"I moved from Rome to Milan" says two things at once, and "I quit" says that something is over without saying what holds
instead. Grammar alone reads neither, so these few are written out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from memos.rules.attributes import Form
from memos.rules.statements import Statement, clean_value
from memos.rules.words import word_set

NO_VALUE: Final = word_set(
    """
    it that this them him her you me us one so there here what how why something anything everything nothing
    stuff things to not no
    """
)
ADVERBS: Final = word_set(
    """
    just also still always really never now even already so actually ever both finally recently currently
    often usually sometimes all totally definitely only once then first kinda too soon probably
    """
)


@dataclass(frozen=True, slots=True)
class _Change:
    """A turn of phrase that starts one state and may end another. `read` yields (attribute, value, ended) triples."""

    pattern: re.Pattern[str]
    read: Callable[[re.Match[str]], list[tuple[str, str, bool]]]


def changes_of(body: str, subject: str) -> list[Statement]:
    """What a clause without its subject says that starts or ends, or nothing. Only turns of phrase of the list are read."""
    for change in _CHANGES:
        match = change.pattern.match(body)
        if match:
            return [
                Statement(subject, attribute, value, Form.RELATION, negated=ended, ended=ended, confidence=0.9)
                for attribute, raw, ended in change.read(match)
                if (value := _short(raw)) or ended
            ]
    return []


def _short(raw: str | None) -> str:
    value = clean_value(raw or "")
    value = re.sub(r"\s+with\s+(?:my|our|his|her|their)\b.*$", "", value)
    return "" if value.lower() in NO_VALUE else re.sub(r"^(?:the city of|a|an)\s+(?=\S)", "", value)


_ADVERB: Final = rf"(?:{'|'.join(sorted(ADVERBS))})"


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:(?:{_ADVERB}|have|had|am)\s+)*(?:{pattern})", re.IGNORECASE)


_STOP: Final = r"(?=\s+(?:in|on|at|as|for|with|because|last|this|next|again|now|too|and|but|so|since|\d)\b|[,.!;]|$)"

# What one is, when somebody says "I am a ...": words that end like an occupation, and some that do not.
_OCCUPATION: Final = (
    r"(?:[a-z]+(?:ologist|ographer|itect|ician|eer|entist|yst|ntant|mancer)|(?:soft|hard)ware developer|nurse|teacher|lecturer"
    r"|professor|tutor|doctor|surgeon|paramedic|midwife|vet|lawyer|solicitor|barrister|judge|designer|developer|programmer"
    r"|manager|director|chef|cook|baker|butcher|barista|waiter|waitress|bartender|writer|author|journalist|reporter|editor"
    r"|translator|interpreter|artist|painter|actor|actress|plumber|carpenter|welder|builder|roofer|gardener|farmer|pilot"
    r"|driver|courier|cashier|receptionist|secretary|assistant|consultant|adviser|advisor|therapist|pharmacist|economist"
    r"|chemist|librarian|hairdresser|barber|police officer|firefighter|soldier|sailor|researcher|postdoc|cto|ceo|cfo"
    r"|freelancer|tester|recruiter|trainer|coach|social worker|flight attendant|team lead|tech lead|intern|apprentice)"
)
_NO_EMPLOYER: Final = (
    r"(?!(?:facebook|twitter|instagram|discord|slack|reddit|linkedin|tiktok|whatsapp|telegram|zoom|mastodon|bluesky"
    r"|x)\b)"
)
_NO_TRADE: Final = (
    r"(?!(?:\S+\s+){0,2}(?:good|great|bad|terrible|awful|decent|amateur|hobby|home|keen|avid|better|slow|fast|careful|nervous"
    r"|aspiring|former|retired|ex|future)\b)"
)
"""A good cook cooks at home."""
_NAME: Final = r"(?-i:[A-Z]).*?"


def _places(match: re.Match[str]) -> list[tuple[str, str, bool]]:
    return [("work for", match["place"] or "", False), ("job", match["role"] or "", False)]


_CHANGES: Final[tuple[_Change, ...]] = (
    _Change(
        _compiled(
            rf"(?:now\s+)?work(?:ing)?\s+(?:at|for)\s+(?P<place>.+?)\s+as\s+(?:an?\s+|the\s+)?(?P<role>.+?){_STOP}"
            rf"|joined\s+(?:the\s+)?(?P<place2>{_NAME})\s+as\s+(?:an?\s+|the\s+)?(?P<role2>.+?){_STOP}"
        ),
        lambda m: [("work for", m["place"] or m["place2"], False), ("job", m["role"] or m["role2"], False)],
    ),
    _Change(
        # Without a date one joins friends for dinner more often than a firm.
        _compiled(
            rf"joined\s+{_NO_EMPLOYER}(?P<place>{_NAME})(?=\s+(?:in\s+(?-i:[A-Z\d])|last\s|this\s|\w+\s+\w+\s+ago\b))"
            rf"|(?:started|began)\s+(?:to\s+)?work(?:ing)?\s+(?:at|for)\s+(?P<place2>.+?){_STOP}"
        ),
        lambda m: [("work for", m["place"] or m["place2"], False)],
    ),
    _Change(
        re.compile(
            rf"(?:{_ADVERB}\s+)*am\s+(?:{_ADVERB}\s+)*an?\s+{_NO_TRADE}(?P<role>(?:[a-z-]+\s+){{0,3}}?{_OCCUPATION})"
            rf"(?:\s+(?:at|for|with)\s+(?P<place>(?:the\s+)?{_NAME}))?{_STOP}",
            re.IGNORECASE,
        ),
        _places,
    ),
    _Change(
        _compiled(rf"(?:(?:got|was|been|being)\s+)?promoted\s+to\s+(?:an?\s+|the\s+)?(?P<role>.+?){_STOP}"),
        lambda m: [("job", m["role"], False)],
    ),
    _Change(
        _compiled(
            rf"(?:(?:quit|resigned from)\s+(?P<place>{_NAME}){_STOP}"
            r"|left\s+(?P<place2>(?-i:[A-Z][\w&'-]*(?: [A-Z][\w&'-]*)*))[.!]?$)"
        ),
        lambda m: [("work for", m["place"] or m["place2"], True)],
    ),
    _Change(
        _compiled(
            r"(?:quit|resigned from)\s+(?:my|our|the)\s+(?:\w+\s+)?(?:company|firm|hospital|school|university|agency|bank|startup"
            rf"|office|restaurant|shop|store){_STOP}"
        ),
        lambda _: [("work for", "", True), ("job", "", True)],
    ),
    _Change(
        _compiled(r"can\s*not\s+(?:stand|bear)\s+(?!to\b)(?P<what>.+)$"),
        lambda m: [("stand", m["what"], False)],
    ),
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
            rf"(?:\s+(?:at|with|for)\s+(?P<later>.+?){_STOP})?"
        ),
        lambda m: [("work for", m["place"] or m["later"] or "", False), ("job", m["role"] or "", False)],
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
