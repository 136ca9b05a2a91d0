"""The patterns behind times.py: one rule a shape, a regular expression and how to read it.

Patterns are tried everywhere in a text and the longest reading wins, so a rule need not know the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from memos.rules import time_readings as readings
from memos.rules.calendar import Interval
from memos.rules.time_readings import Sense


@dataclass(frozen=True, slots=True)
class Rule:
    pattern: re.Pattern[str]
    resolve: Callable[[re.Match[str], Sense], Interval | None]
    relative: bool


_MONTH: Final = (
    r"(?:(?:january|february|march|april|may|june|july|august|september|october|november|december)\b"
    r"|(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\b(?:\.(?=\s))?)"
)
_UNAMBIGUOUS_MONTH: Final = (
    r"(?:January|February|April|June|July|August|September|October|November|December|Jan|Feb|Apr|Sept|Oct|Nov|Dec)\b"
)
_WEEKDAY: Final = (
    r"(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday|mon|tues?|wed|thu(?:rs?)?|fri|sat|sun)\b"
)
_FULL_WEEKDAY: Final = r"(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b"
_COUNT: Final = (
    r"(?:\d{1,4}|half an?|an? half|an? couple(?: of)?|couple(?: of)?|an? few|few|several|an?|one|two|three|four|five"
    r"|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty)"
)
_UNIT: Final = r"(?:day|night|week|weekend|fortnight|month|year|decade)"
_SEASON: Final = r"(?:spring|summer|autumn|fall|winter)"
_YEAR: Final = r"(?:1[5-9]\d\d|20\d\d)"
_DAY_NUMBER: Final = r"(?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?"
_PART: Final = r"(?:morning|afternoon|evening|night|noon)"
_HOLIDAY: Final = (
    r"(?:christmas eve|christmas(?: day)?|boxing day|new year(?:'|\u2019)s (?:eve|day)|new year(?:'|\u2019)?s?"
    r"|valentine(?:'|\u2019)s(?: day)?|independence day|halloween|thanksgiving|easter)"
)


_WHICH: Final = r"(?P<which>this past|this coming|last|past|this|next|coming|previous|upcoming)"
_NO_WHICH: Final = r"(?P<which>)"
_THIRD: Final = r"(?:(?P<third>early(?: in)?|mid|middle of|late(?: in)?|beginning of|start of|end of)[ -](?:the )?)?"
# Words before a bare month, year or weekday that show it is meant as a time.
_LEAD: Final = r"(?:in|since|until|till|by|during|from|of|before|after|around|for|through|late|early|mid|to)"


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


# A group named `core` is the expression itself, where the pattern needs to see more than that.
RULES: Final[tuple[Rule, ...]] = (
    Rule(_compile(r"\b(?P<year>\d{4})[-/](?P<month>\d{1,2})[-/](?P<day>\d{1,2})\b"), readings.read_iso, relative=False),
    Rule(
        _compile(r"\b(?P<first>\d{1,2})/(?P<second>\d{1,2})/(?P<year>\d{4}|\d\d)\b"),
        readings.read_slashed,
        relative=False,
    ),
    Rule(
        _compile(
            rf"\b(?:{_WEEKDAY},? )?(?:the )?(?P<day>{_DAY_NUMBER})(?: of)? (?P<month>{_MONTH})(?:,? (?P<year>{_YEAR})\b)?"
        ),
        readings.read_day_month,
        relative=False,
    ),
    Rule(
        _compile(
            rf"\b(?:{_WEEKDAY},? )?(?P<month>{_MONTH}) (?:the )?(?P<day>{_DAY_NUMBER})\b(?!:)(?:,? (?P<year>{_YEAR})\b)?"
        ),
        readings.read_day_month,
        relative=False,
    ),
    Rule(
        _compile(rf"\b{_THIRD}(?P<month>{_MONTH})(?: of|,)? (?P<year>{_YEAR})\b"),
        readings.read_month_year,
        relative=False,
    ),
    Rule(_compile(rf"\b{_THIRD}{_WHICH} (?P<month>{_MONTH})"), readings.read_month_alone, relative=True),
    Rule(
        _compile(rf"\b{_LEAD}[ -](?:the )?(?P<core>{_NO_WHICH}{_THIRD}(?P<month>{_MONTH}))"),
        readings.read_month_alone,
        relative=True,
    ),
    Rule(re.compile(rf"\b(?P<which>)(?P<month>{_UNAMBIGUOUS_MONTH})"), readings.read_month_alone, relative=True),
    Rule(
        _compile(rf"\b{_LEAD}[ -](?:the year |like )?(?P<core>{_THIRD}(?P<year>{_YEAR}))\b(?![-/.:,]?\d)"),
        readings.read_year,
        relative=False,
    ),
    Rule(_compile(rf"(?<=\()(?P<year>{_YEAR})(?=\))"), readings.read_year, relative=False),
    Rule(
        _compile(r"\bthe (?:early |mid |late |mid-)?(?:'|\u2019)?(?P<decade>(?:1[89]|20)?\d0)s\b"),
        readings.read_decade,
        relative=False,
    ),
    Rule(
        _compile(rf"\b{_THIRD}{_WHICH} (?P<season>{_SEASON})\b(?:(?: of|,)? (?P<year>{_YEAR})\b)?"),
        readings.read_season,
        relative=True,
    ),
    Rule(
        _compile(
            rf"\b(?:in|during|over|for|by|since|until) (?:the )?(?P<core>{_NO_WHICH}{_THIRD}(?P<season>{_SEASON}))\b"
            rf"(?:(?: of|,)? (?P<year>{_YEAR})\b)?"
        ),
        readings.read_season,
        relative=True,
    ),
    Rule(
        _compile(rf"\b{_NO_WHICH}(?P<season>{_SEASON})(?: of|,)? (?P<year>{_YEAR})\b"),
        readings.read_season,
        relative=False,
    ),
    Rule(
        _compile(rf"\b(?:{_WHICH} )?(?P<holiday>{_HOLIDAY})\b(?:(?: of|,)? (?P<year>{_YEAR})\b)?"),
        readings.read_holiday,
        relative=True,
    ),
    Rule(
        _compile(
            rf"\b(?:(?:the )?day before yesterday|(?:the )?day after tomorrow|last night|tonight|this {_PART}"
            rf"|(?:yesterday|tomorrow|today)(?: {_PART})?)\b(?!(?:'|\u2019)s)"
        ),
        readings.read_day_word,
        relative=True,
    ),
    Rule(_compile(r"\bthe other (?:day|night|week)\b"), readings.read_other_day, relative=True),
    Rule(_compile(r"\b(?:recently|lately)\b"), readings.read_recently, relative=True),
    Rule(
        _compile(rf"\b{_THIRD}{_WHICH} (?P<unit>week|weekend|month|year|decade)\b"),
        readings.read_which_unit,
        relative=True,
    ),
    Rule(
        _compile(rf"\b{_WHICH} (?P<weekday>{_WEEKDAY})(?: (?P<part>{_PART})\b)?"),
        readings.read_which_weekday,
        relative=True,
    ),
    Rule(
        _compile(
            rf"\b(?:on|by|until|till|since|from|this) (?P<core>{_NO_WHICH}(?P<weekday>{_WEEKDAY})(?: (?P<part>{_PART})\b)?)(?!s)"
        ),
        readings.read_which_weekday,
        relative=True,
    ),
    Rule(
        _compile(rf"(?<!every )(?<!each )\b{_NO_WHICH}(?P<weekday>{_FULL_WEEKDAY})(?: (?P<part>{_PART})\b)?"),
        readings.read_which_weekday,
        relative=True,
    ),
    Rule(
        _compile(rf"\b(?P<count>{_COUNT})[ -](?P<unit>hour|minute|{_UNIT})s? (?:ago|back)\b"),
        readings.read_ago,
        relative=True,
    ),
    Rule(
        _compile(rf"\b(?:in|within) (?P<core>(?:about )?(?P<count>{_COUNT})[ -](?P<unit>{_UNIT})s?)\b(?! of)"),
        readings.read_ahead,
        relative=True,
    ),
    Rule(
        _compile(rf"\b(?P<count>{_COUNT})[ -](?P<unit>{_UNIT})s? from (?:now|today)\b"),
        readings.read_ahead,
        relative=True,
    ),
    Rule(
        _compile(rf"\b(?:the |these )?(?P<which>last|past|next|coming) (?P<count>{_COUNT})?[ -]?(?P<unit>{_UNIT})s\b"),
        readings.read_stretch,
        relative=True,
    ),
    Rule(
        _compile(
            rf"\bfor (?:(?:about|around|almost|nearly|over|more than|like|only|just) )?"
            rf"(?P<core>{_NO_WHICH}(?P<count>{_COUNT})[ -](?P<unit>{_UNIT})s?)\b(?! old)(?! of)"
        ),
        readings.read_length,
        relative=True,
    ),
    Rule(
        _compile(
            r"\b(?P<third>early|mid|middle of|late|beginning of|start of|end of)[ -]the (?P<unit>week|month|year)\b"
        ),
        readings.read_edge,
        relative=True,
    ),
)

OFFSET_HEAD: Final = _compile(
    rf"(?:\bthe |\b)(?:(?P<count>{_COUNT}) )?(?P<unit>day|week|weekend|month|year|{_FULL_WEEKDAY})s? "
    r"(?P<direction>before|after|following|preceding|of) (?:the )?$"
)
