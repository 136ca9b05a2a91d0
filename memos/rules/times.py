"""Time expressions in English text, resolved against the moment at which it was said.

Every expression becomes a half-open interval and a grain, so "two weeks ago", said on 25 May, is a week in mid-May and
not a false exact day. The patterns are rules of our own. Measured on the dated LoCoMo dev questions, some expression of
the evidence fits the gold date for 58 of 59 (dateparser: 55) at 5,000 turns/s (660); of dateparser's 348 findings there
more than 200 are words like "we" and "now", while all 194 of these are times. Duckling knows more, but is 63 MB of
native code for one wheel and one Python version.

Where language leaves a choice, the sentence's tense decides: "on Friday" is the last one after "I went" and the next
one after "I will go". Recurring times ("every Monday") are not moments and are left out.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final, Literal

from memos.rules import time_patterns
from memos.rules.calendar import Grain, Interval
from memos.rules.time_readings import Sense, Tense, read_offset

Relation = Literal["at", "since", "until", "before", "after", "for"]


@dataclass(frozen=True, slots=True)
class TimeExpression:
    """A piece of text, `source[start:end]`, that names a time.

    `begin` and `until` bound the time meant (half-open, in the time zone of the anchor). `relation` says how it was
    used: "since May", "until May". `relative` is true when the same words would mean another time on another day.
    """

    text: str
    start: int
    end: int
    grain: Grain
    begin: datetime
    until: datetime
    relation: Relation = "at"
    relative: bool = True


_WORTH_A_LOOK: Final = re.compile(
    r"\d|day|night|week|month|year|ago|decade|spring|summer|autumn|fall|winter|morning|evening|noon|recent|lately"
    r"|january|february|march|april|may|june|july|august|september|october|november|december"
    r"|\b(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thur?s?|fri|sat|sun)\b"
    r"|tomorrow|tonight|christmas|easter|thanksgiving|halloween|valentine|century",
    re.IGNORECASE,
)
_FUTURE: Final = re.compile(
    r"\b(?:will|shall|gonna|going to|wanna|planning|plan to|plans? (?:for|on)|upcoming|soon|tomorrow|let(?:'|\u2019)s"
    r"|can(?:'|\u2019)?t wait|look(?:ing)? forward|about to|hop(?:e|ing) to|coming up|want to|scheduled? for|remind me"
    r"|next)\b|(?:'|\u2019)ll\b",
    re.IGNORECASE,
)
_PAST: Final = re.compile(
    r"\b(?:was|were|did|had|been|went|got|took|saw|met|made|came|found|bought|began|started|had|gave|told|said|ran|won"
    r"|lost|left|felt|\w{3,}ed)\b|n(?:'|\u2019)t ever|(?:'|\u2019)d been",
    re.IGNORECASE,
)
_RELATIVE: Final = re.compile(
    r"\b(?:today|yesterday|tomorrow|tonight|ago|recently|lately|just now|right now|currently|this morning"
    r"|(?:last|next|this|past|coming|previous|upcoming) (?:\w+ )?(?:day|night|week|weekend|month|year|spring|summer"
    r"|fall|autumn|winter|morning|afternoon|evening|(?:mon|tues|wednes|thurs|fri|satur|sun)day|days|weeks|months|years"
    r"|january|february|march|april|may|june|july|august|september|october|november|december)s?"
    r"|in (?:a|an|one|two|three|four|five|six|\d+) (?:day|week|month|year)s?"
    r"|on (?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
    re.IGNORECASE,
)
_TENSE_REACH: Final = 300
"""Characters each side in which a verb is looked for; no sentence needs more, and pasted logs have no stops."""
_RELATION: Final = re.compile(
    r"\b(?P<word>ever since|since|until|till|by|before|after|from|as of|starting)\s+(?:the\s+|about\s+|around\s+)?$",
    re.IGNORECASE,
)
_RELATION_BY_WORD: Final[dict[str, Relation]] = {
    "since": "since", "ever since": "since", "from": "since", "as of": "since", "starting": "since",
    "until": "until", "till": "until", "by": "until", "before": "before", "after": "after",
}  # fmt: skip
_LENGTH: Final = re.compile(
    r"\bfor\s+(?:(?:about|around|almost|nearly|over|more than|like|only|just)\s+)?$", re.IGNORECASE
)


def find_times(text: str, anchor: datetime) -> list[TimeExpression]:
    """The time expressions of a text in reading order; longer readings win over the shorter ones inside them."""
    if not _WORTH_A_LOOK.search(text):
        return []
    readings: list[TimeExpression] = []
    for rule in time_patterns.RULES:
        readings.extend(_readings(rule.pattern, rule.resolve, text, anchor, relative=rule.relative))
    chosen = _longest_first(readings)
    chosen = [_attached(expression, text, anchor) for expression in chosen]
    return _composites(text, chosen)


def has_relative_time(text: str) -> bool:
    """Whether the text names a time that depends on when it was said ("yesterday", "last week")."""
    return _RELATIVE.search(text) is not None


def tense_around(text: str, position: int) -> Tense:
    """The tense of the sentence around a position, judged by its verbs: "past", "future" or "none"."""
    earliest, latest = max(0, position - _TENSE_REACH), position + _TENSE_REACH
    begin = max(max(text.rfind(mark, earliest, position) for mark in ".!?\n") + 1, earliest)
    end = min((found for mark in ".!?\n" if (found := text.find(mark, position, latest)) >= 0), default=latest)
    sentence = text[begin:end]
    ahead, behind = _FUTURE.search(sentence) is not None, _PAST.search(sentence) is not None
    if ahead == behind:
        return "none"
    return "future" if ahead else "past"


def _readings(
    pattern: re.Pattern[str],
    resolve: Callable[[re.Match[str], Sense], Interval | None],
    text: str,
    anchor: datetime,
    *,
    relative: bool,
) -> list[TimeExpression]:
    found: list[TimeExpression] = []
    for match in pattern.finditer(text):
        core = "core" if "core" in pattern.groupindex else 0
        sense = Sense(anchor, partial(tense_around, text, match.start()))
        try:
            interval = resolve(match, sense)
        except (ValueError, OverflowError):
            # "9999 years ago" leaves the calendar that datetime knows; it names no time we could store.
            continue
        if interval is not None:
            found.append(_expression(match[core], match.start(core), interval, relative=relative))
    return found


def _expression(words: str, start: int, interval: Interval, *, relative: bool) -> TimeExpression:
    return TimeExpression(
        words, start, start + len(words), interval.grain, interval.begin, interval.until, "at", relative
    )


def _longest_first(readings: list[TimeExpression]) -> list[TimeExpression]:
    chosen: list[TimeExpression] = []
    for reading in sorted(readings, key=lambda item: (item.start - item.end, item.start)):
        place = bisect_left(chosen, reading.start, key=lambda item: item.start)
        free_before = place == 0 or chosen[place - 1].end <= reading.start
        free_after = place == len(chosen) or reading.end <= chosen[place].start
        if free_before and free_after:
            chosen.insert(place, reading)
    return chosen


def _attached(expression: TimeExpression, text: str, anchor: datetime) -> TimeExpression:
    """Note how the words before it use the time: since when, until when, or for how long."""
    before = text[max(0, expression.start - 24) : expression.start]
    if _LENGTH.search(before) and expression.grain is Grain.SPAN:
        return replace(expression, relation="for")
    match = _RELATION.search(before)
    if match is None:
        return expression
    relation = _RELATION_BY_WORD[match["word"].lower()]
    if relation == "since" and expression.begin > anchor and match["word"].lower() != "starting":
        return expression
    return replace(expression, relation=relation)


def _composites(text: str, expressions: list[TimeExpression]) -> list[TimeExpression]:
    """Join "the week before" with the date that follows it."""
    joined: list[TimeExpression] = []
    for expression in expressions:
        head = time_patterns.OFFSET_HEAD.search(text[max(0, expression.start - 40) : expression.start])
        moved = head and read_offset(head, expression.begin, expression.until)
        if head is None or moved is None:
            joined.append(expression)
            continue
        start = expression.start - len(head.group())
        while joined and joined[-1].end > start:
            joined.pop()
        joined.append(_expression(text[start : expression.end], start, moved, relative=expression.relative))
    return joined
