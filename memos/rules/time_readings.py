"""What each shape of time expression means: from the groups its pattern matched to an interval.

The patterns themselves are in time_patterns.py. Each reading answers nothing when the words turn out to name no time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from memos.rules import calendar
from memos.rules.calendar import Grain, Interval

Tense = Literal["past", "future", "none"]


@dataclass(frozen=True, slots=True)
class Sense:
    """What decides an ambiguous expression: when it was said, and the tense of its sentence, judged when asked for."""

    anchor: datetime
    judge: Callable[[], Tense]

    @property
    def tense(self) -> Tense:
        return self.judge()


_MONTHS: Final = {
    "january": 1, "february": 2, "march": 3, "april": 4, "may": 5, "june": 6, "july": 7, "august": 8, "september": 9,
    "october": 10, "november": 11, "december": 12, "jan": 1, "feb": 2, "mar": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8,
    "sep": 9, "sept": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_WEEKDAYS: Final = {"mon": 0, "tue": 1, "wed": 2, "thu": 3, "fri": 4, "sat": 5, "sun": 6}
_COUNTS: Final = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "half a": 0.5, "half an": 0.5,
    "a couple": 2, "couple": 2, "a few": 3, "few": 3, "several": 4, "a half": 0.5,
}  # fmt: skip


def count_of(words: str) -> float:
    cleaned = re.sub(r"\s+of$", "", re.sub(r"\s+", " ", words.lower().strip()))
    cleaned = re.sub(r"^an (?=couple|few|half)", "a ", cleaned)
    return float(cleaned) if cleaned.isdigit() else float(_COUNTS[cleaned])


def _month_number(words: str) -> int:
    return _MONTHS[words.lower().rstrip(".")]


def weekday_number(words: str) -> int:
    return _WEEKDAYS[words.lower()[:3]]


def _year_for(sense: Sense, candidate: Callable[[int], Interval | None]) -> Interval | None:
    """The year left unsaid: the latest past one, the next to come, or without tense the nearest."""
    around = [candidate(sense.anchor.year + offset) for offset in (-1, 0, 1)]
    options = [interval for interval in around if interval is not None]
    today = calendar.midnight(sense.anchor)
    if sense.tense == "past":
        options = [interval for interval in options if interval.begin <= sense.anchor] or options
        return max(options, key=lambda interval: interval.begin, default=None)
    if sense.tense == "future":
        options = [interval for interval in options if interval.until > today] or options
        return min(options, key=lambda interval: interval.begin, default=None)
    return min(options, key=lambda interval: abs(interval.begin - today), default=None)


def read_iso(match: re.Match[str], sense: Sense) -> Interval | None:
    return calendar.dated(sense.anchor, int(match["year"]), int(match["month"]), int(match["day"]))


def read_slashed(match: re.Match[str], sense: Sense) -> Interval | None:
    """Month first, as in the United States, unless that is impossible."""
    first, second, number = int(match["first"]), int(match["second"]), int(match["year"])
    number += 2000 if number < 70 else 1900 if number < 100 else 0
    month, day = (second, first) if first > 12 else (first, second)
    return calendar.dated(sense.anchor, number, month, day)


def read_day_month(match: re.Match[str], sense: Sense) -> Interval | None:
    month = _month_number(match["month"])
    number = int(re.sub(r"\D", "", match["day"]))
    if match["year"]:
        return calendar.dated(sense.anchor, int(match["year"]), month, number)
    return _year_for(sense, lambda year: calendar.dated(sense.anchor, year, month, number))


def read_month_year(match: re.Match[str], sense: Sense) -> Interval | None:
    begin = calendar.year(sense.anchor, int(match["year"])).begin
    return _thirded(match, calendar.month(begin.replace(month=_month_number(match["month"]))))


def read_month_alone(match: re.Match[str], sense: Sense) -> Interval | None:
    month = _month_number(match["month"])
    this_year = calendar.year(sense.anchor, sense.anchor.year).begin.replace(month=month)
    which = (match["which"] or "").lower()
    if which in {"last", "past", "this past", "previous"}:
        earlier = month < sense.anchor.month
        return _thirded(match, calendar.month(this_year, 0 if earlier else -12))
    if which in {"next", "coming", "this coming", "upcoming"}:
        later = month > sense.anchor.month
        return _thirded(match, calendar.month(this_year, 0 if later else 12))
    if which == "this":
        return _thirded(match, calendar.month(this_year))
    found = _year_for(sense, lambda year: calendar.month(this_year, 12 * (year - this_year.year)))
    return found and _thirded(match, found)


def _thirded(match: re.Match[str], interval: Interval) -> Interval:
    part = (match.groupdict().get("third") or "").lower().rstrip("-")
    if not part:
        return interval
    if part.startswith(("early", "beginning", "start")):
        return calendar.third(interval, "early")
    return calendar.third(interval, "mid" if part.startswith("mid") else "late")


def read_year(match: re.Match[str], sense: Sense) -> Interval:
    return _thirded(match, calendar.year(sense.anchor, int(match["year"])))


def read_decade(match: re.Match[str], sense: Sense) -> Interval:
    first = int(match["decade"])
    return calendar.decade(sense.anchor, first + (1900 if first >= 20 else 2000) if first < 100 else first)


def read_season(match: re.Match[str], sense: Sense) -> Interval | None:
    name = match["season"].lower()
    which = (match["which"] or "").lower()

    def in_year(year: int) -> Interval:
        return calendar.season(sense.anchor, name, year)

    if match["year"]:
        return _thirded(match, in_year(int(match["year"])))
    years = [sense.anchor.year + offset for offset in (-2, -1, 0, 1, 2)]
    if which in {"last", "past", "this past", "previous"}:
        return _thirded(
            match, max((s for y in years if (s := in_year(y)).until <= sense.anchor), key=lambda s: s.begin)
        )
    if which in {"next", "coming", "this coming", "upcoming"}:
        return _thirded(match, min((s for y in years if (s := in_year(y)).begin > sense.anchor), key=lambda s: s.begin))
    if which == "this":
        current = [s for y in years if (s := in_year(y)).begin <= sense.anchor < s.until]
        return _thirded(match, current[0] if current else in_year(sense.anchor.year))
    found = _year_for(sense, in_year)
    return found and _thirded(match, found)


def read_holiday(match: re.Match[str], sense: Sense) -> Interval | None:
    name = match["holiday"].lower().replace("\u2019", "'").replace("christmas day", "christmas")
    name = re.sub(r"^new years?$", "new year", name)
    if match["year"]:
        return calendar.holiday(sense.anchor, name, int(match["year"]))
    which = (match["which"] or "").lower()
    tense: Tense = "past" if which in {"last", "past"} else "future" if which == "next" else sense.tense
    return _year_for(Sense(sense.anchor, lambda: tense), lambda year: calendar.holiday(sense.anchor, name, year))


def read_day_word(match: re.Match[str], sense: Sense) -> Interval:
    words = re.sub(r"\s+", " ", match.group().lower())
    offset = next(
        offset
        for head, offset in (
            ("day before yesterday", -2), ("day after tomorrow", 2), ("yesterday", -1), ("last night", -1),
            ("tomorrow", 1), ("", 0),
        )
        if head in words
    )  # fmt: skip
    interval = calendar.day(sense.anchor, offset)
    part = re.search(r"(?:morning|afternoon|evening|night|noon)$|tonight", words)
    if part is None:
        return interval
    return calendar.part_of_day(interval.begin, "night" if part.group() == "tonight" else part.group())


def read_other_day(_: re.Match[str], sense: Sense) -> Interval:
    return calendar.span(calendar.midnight(sense.anchor) - timedelta(days=7), sense.anchor)


def read_recently(_: re.Match[str], sense: Sense) -> Interval:
    return calendar.span(calendar.midnight(sense.anchor) - timedelta(days=30), sense.anchor)


def read_which_unit(match: re.Match[str], sense: Sense) -> Interval | None:
    which, unit = re.sub(r"^this ", "", match["which"].lower()), match["unit"].lower()
    offset = -1 if which in {"last", "past", "previous"} else 1 if which in {"next", "coming", "upcoming"} else 0
    if unit == "weekend":
        return _weekend(which, sense.anchor)
    if unit == "week":
        return _thirded(match, calendar.week(sense.anchor, offset))
    if unit == "month":
        return _thirded(match, calendar.month(sense.anchor, offset))
    if unit == "year":
        return _thirded(match, calendar.year(sense.anchor, sense.anchor.year + offset))
    return calendar.decade(sense.anchor, sense.anchor.year // 10 * 10 + 10 * offset)


def _weekend(which: str, anchor: datetime) -> Interval:
    """On a Saturday or Sunday "last weekend" is the one a week ago; on other days it is the one just past."""
    if which in {"next", "coming", "upcoming"}:
        return calendar.weekend(anchor, 1 if anchor.weekday() >= 5 else 0 if which != "next" else 1)
    if which in {"last", "past", "previous"}:
        return calendar.weekend(anchor, -1)
    return calendar.weekend(anchor)


def read_which_weekday(match: re.Match[str], sense: Sense) -> Interval | None:
    weekday = weekday_number(match["weekday"])
    which = (match["which"] or "").lower()
    if which in {"last", "past", "this past", "previous"}:
        interval = calendar.nearest_weekday(sense.anchor, weekday, -1)
    elif which in {"next", "coming", "this coming", "upcoming"}:
        interval = calendar.nearest_weekday(sense.anchor, weekday, +1)
    elif which == "this":
        interval = calendar.day(calendar.week(sense.anchor).begin, weekday)
    elif weekday == sense.anchor.weekday() and sense.tense == "none":
        interval = calendar.day(sense.anchor)
    else:
        interval = calendar.nearest_weekday(sense.anchor, weekday, +1 if sense.tense == "future" else -1)
    return calendar.part_of_day(interval.begin, match["part"].lower()) if match["part"] else interval


def read_ago(match: re.Match[str], sense: Sense) -> Interval:
    unit = match["unit"].lower()
    return calendar.around(calendar.shift(sense.anchor, -count_of(match["count"]), unit), unit)


def read_ahead(match: re.Match[str], sense: Sense) -> Interval:
    unit = match["unit"].lower()
    return calendar.around(calendar.shift(sense.anchor, count_of(match["count"]), unit), unit)


def read_stretch(match: re.Match[str], sense: Sense) -> Interval:
    """ "The last three weeks" reaches back from now, "the next few days" ahead, "for two years" back as well."""
    count, unit = count_of(match["count"] or "few"), match["unit"].lower()
    if (match["which"] or "").lower() in {"next", "coming"}:
        return calendar.span(sense.anchor, calendar.shift(sense.anchor, count, unit))
    return calendar.span(calendar.shift(sense.anchor, -count, unit), sense.anchor)


def read_length(match: re.Match[str], sense: Sense) -> Interval | None:
    """ "For two weeks" is a stretch up to now, except ahead in time: "I will be there for two weeks" names no moment."""
    return None if sense.tense == "future" else read_stretch(match, sense)


def read_edge(match: re.Match[str], sense: Sense) -> Interval | None:
    """ "The end of the month": a third of the current one."""
    unit = match["unit"].lower()
    whole = {
        "week": calendar.week(sense.anchor),
        "month": calendar.month(sense.anchor),
        "year": calendar.year(sense.anchor, sense.anchor.year),
    }[unit]
    return _thirded(match, whole)


def read_offset(match: re.Match[str], begin: datetime, until: datetime) -> Interval | None:
    """What "the week before", matched by `time_patterns.OFFSET_HEAD`, means next to the interval that follows it."""
    unit, direction = match["unit"].lower(), match["direction"].lower()
    last_day = until - timedelta(seconds=1)
    sign = -1 if direction in {"before", "preceding"} else +1
    if direction == "of":
        return (
            {"week": calendar.week(begin), "weekend": calendar.weekend(begin)}.get(unit) if not match["count"] else None
        )
    if unit[:3] in _WEEKDAYS:
        return calendar.nearest_weekday(begin if sign < 0 else last_day, weekday_number(unit), sign)
    count = count_of(match["count"]) if match["count"] else 1.0
    base = begin if sign < 0 else last_day
    if unit == "weekend":
        # From a Saturday or Sunday the next weekend is a week ahead; the one before is always in an earlier week.
        first = -1 if sign < 0 else 1 if base.weekday() >= 5 else 0
        return calendar.weekend(base, first + sign * round(count - 1))
    if unit == "week" and count == 1:
        edge = calendar.midnight(begin) if sign < 0 else calendar.midnight(until)
        return Interval(
            min(edge, edge + sign * timedelta(days=7)), max(edge, edge + sign * timedelta(days=7)), Grain.WEEK
        )
    return calendar.around(calendar.shift(base, sign * count, unit), unit)
