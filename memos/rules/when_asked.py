"""Which time a question is about, as windows on the calendar, and what a memory of that time gains by it.

"What happened last June?" shares no word with what was said in June. Each time a question names becomes a window;
memories said in it, or telling of it, gain evidence: much for a narrow window, less for a year. "Two weeks before the
trip" has no date of its own: it is counted from the memory that answers best, which tells of the trip.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from memos.rules.times import TimeExpression, find_times

GAIN: Final = 4.0
"""Evidence of a memory in a window of up to two months. The best of what is found by words alone often leads by as much."""
_WIDE_GAIN: Final = 1.5
_COUNTED_GAIN: Final = 8.0
"""Of a window counted from a memory: that one has the words of the question, and is not what is asked for."""
_WIDE: Final = timedelta(days=62)
_LONGEST: Final = timedelta(days=36_500)
_NUMBERS: Final = {
    "a": 1, "an": 1, "one": 1, "the": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "a couple of": 2, "a few": 3,
}  # fmt: skip
_UNITS: Final = {"day": (1, 1), "week": (7, 4), "month": (30, 16), "year": (365, 183)}
"""Days of a unit, and how many days off a count in it may be."""
_ANCHORED: Final = re.compile(
    r"\b(?P<number>a couple of|a few|\d{1,3}|an?|the|one|two|three|four|five|six|seven|eight|nine|ten)\s+"
    r"(?P<unit>day|week|month|year)s?\s+(?P<side>before|after|prior to|ahead of|following)\s+(?=\w)",
    re.IGNORECASE,
)
_READ_CHARACTERS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, half-open, and the evidence of what belongs to it."""

    begin: datetime
    until: datetime
    gain: float


@dataclass(frozen=True, slots=True)
class Offset:
    """So far from something that has a date."""

    distance: timedelta
    slack: timedelta

    def window(self, anchor: datetime) -> Window:
        day = anchor + self.distance
        return Window(day - self.slack, day + self.slack, _COUNTED_GAIN)


def windows(times: Iterable[TimeExpression], now: datetime) -> list[Window]:
    """The times a question names that lie in the past or reach into it: nothing was said in the future yet."""
    found = []
    for time in times:
        if time.relation == "since":
            begin, until = time.begin, now + timedelta(days=1)
        elif time.relation in ("until", "before"):
            begin, until = time.begin - _LONGEST, time.begin
        else:
            begin, until = time.begin, time.until
        if begin <= now and begin < until:
            found.append(_window(begin, until))
    return found


def offset(question: str) -> Offset | None:
    """ "Two weeks before the trip": how far from it, or nothing when a question counts from nothing."""
    match = _ANCHORED.search(question[:_READ_CHARACTERS])
    if match is None:
        return None
    word = match["number"].lower()
    days, slack = _UNITS[match["unit"].lower()]
    number = _NUMBERS[word] if word in _NUMBERS else int(word)
    sign = 1 if match["side"].lower() in ("after", "following") else -1
    return Offset(timedelta(days=sign * number * days), timedelta(days=slack))


def anchor_of(text: str, said_at: datetime) -> datetime:
    """When what a memory tells of happens: the day it names, or that on which it was said."""
    days = [time for time in find_times(text, said_at) if time.until - time.begin <= timedelta(days=1)]
    return days[0].begin if days else said_at


def _window(begin: datetime, until: datetime) -> Window:
    return Window(begin, until, GAIN if until - begin <= _WIDE else _WIDE_GAIN)
