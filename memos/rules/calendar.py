"""Calendar arithmetic on half-open intervals: the week around a day, the third of a month, the nearest Friday.

Weeks run from Monday to Sunday (ISO 8601). Seasons are those of the northern hemisphere, by whole months, since the
texts say nothing about where they were written; winter belongs to the year in which it starts. All functions keep the
time zone of what they are given and never read a clock.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final


class Grain(StrEnum):
    """How precise a time expression is."""

    PART = "part"
    """Morning, afternoon, evening or night of a day."""
    DAY = "day"
    WEEKEND = "weekend"
    WEEK = "week"
    MONTH = "month"
    SEASON = "season"
    YEAR = "year"
    DECADE = "decade"
    SPAN = "span"
    """Any other stretch, such as the last three weeks."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Half-open: `begin` belongs to it, `until` does not."""

    begin: datetime
    until: datetime
    grain: Grain


SEASON_STARTS: Final = {"spring": 3, "summer": 6, "fall": 9, "autumn": 9, "winter": 12}
_PARTS: Final = {
    "morning": (5, 12),
    "afternoon": (12, 18),
    "evening": (17, 23),
    "night": (18, 29),
    "noon": (12, 13),
}
_FIXED_HOLIDAYS: Final = {
    "christmas eve": (12, 24),
    "christmas": (12, 25),
    "boxing day": (12, 26),
    "new year's eve": (12, 31),
    "new year's day": (1, 1),
    "new year": (1, 1),
    "new year's": (1, 1),
    "valentine's day": (2, 14),
    "valentine's": (2, 14),
    "independence day": (7, 4),
    "halloween": (10, 31),
}
HOLIDAYS: Final = frozenset(_FIXED_HOLIDAYS) | {"thanksgiving", "easter"}


def midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def day(moment: datetime, offset: int = 0) -> Interval:
    begin = midnight(moment) + timedelta(days=offset)
    return Interval(begin, begin + timedelta(days=1), Grain.DAY)


def part_of_day(moment: datetime, name: str) -> Interval:
    """Night runs past midnight, as people mean it."""
    first_hour, last_hour = _PARTS[name]
    begin = midnight(moment)
    return Interval(begin + timedelta(hours=first_hour), begin + timedelta(hours=last_hour), Grain.PART)


def week(moment: datetime, offset: int = 0) -> Interval:
    begin = midnight(moment) + timedelta(days=7 * offset - moment.weekday())
    return Interval(begin, begin + timedelta(days=7), Grain.WEEK)


def weekend(moment: datetime, offset: int = 0) -> Interval:
    """Saturday and Sunday of the week around the moment."""
    begin = week(moment, offset).begin + timedelta(days=5)
    return Interval(begin, begin + timedelta(days=2), Grain.WEEKEND)


def month(moment: datetime, offset: int = 0) -> Interval:
    begin = shift_months(midnight(moment).replace(day=1), offset)
    return Interval(begin, shift_months(begin, 1), Grain.MONTH)


def year(moment: datetime, number: int) -> Interval:
    """The calendar year `number`, in the time zone of the moment."""
    begin = midnight(moment).replace(year=number, month=1, day=1)
    return Interval(begin, begin.replace(year=number + 1), Grain.YEAR)


def decade(moment: datetime, first_year: int) -> Interval:
    begin = year(moment, first_year).begin
    return Interval(begin, begin.replace(year=first_year + 10), Grain.DECADE)


def season(moment: datetime, name: str, year_number: int) -> Interval:
    begin = midnight(moment).replace(year=year_number, month=SEASON_STARTS[name], day=1)
    return Interval(begin, shift_months(begin, 3), Grain.SEASON)


def span(begin: datetime, until: datetime) -> Interval:
    return Interval(begin, until, Grain.SPAN)


def shift_months(moment: datetime, months: int) -> datetime:
    """The same day so many months away, or the month's last day where it has no such day."""
    index = moment.year * 12 + moment.month - 1 + months
    year_number, month_index = divmod(index, 12)
    last_day = calendar.monthrange(year_number, month_index + 1)[1]
    return moment.replace(year=year_number, month=month_index + 1, day=min(moment.day, last_day))


def shift(moment: datetime, count: float, unit: str) -> datetime:
    """Move by `count` units: hour, day, week, weekend, month, year or decade (fractions only make sense to weeks)."""
    if unit in {"month", "year", "decade"}:
        months = {"month": 1, "year": 12, "decade": 120}[unit]
        return shift_months(moment, round(count * months))
    hours = {
        "minute": 1 / 60,
        "hour": 1,
        "day": 24,
        "night": 24,
        "week": 168,
        "weekend": 168,
        "fortnight": 336,
    }[unit]
    return moment + timedelta(hours=count * hours)


def around(moment: datetime, unit: str) -> Interval:
    """The interval of a unit's own size that someone means by "<n> units ago", given the shifted moment."""
    if unit in {"minute", "hour", "day", "night"}:
        return day(moment)
    if unit in {"week", "fortnight"}:
        begin = midnight(moment) - timedelta(days=3)
        return Interval(begin, begin + timedelta(days=7), Grain.WEEK)
    if unit == "weekend":
        return weekend(moment)
    if unit == "month":
        return month(moment)
    return year(moment, moment.year) if unit == "year" else decade(moment, moment.year // 10 * 10)


def nearest_weekday(moment: datetime, weekday: int, direction: int) -> Interval:
    """The closest such weekday strictly before (direction -1) or strictly after (+1) the moment's own day."""
    distance = (direction * (weekday - moment.weekday())) % 7 or 7
    return day(moment, direction * distance)


def dated(moment: datetime, year_number: int, month_number: int, day_number: int) -> Interval | None:
    """One day of the calendar, or nothing when there is no such day."""
    try:
        begin = midnight(moment).replace(year=year_number, month=month_number, day=day_number)
    except ValueError:
        return None
    return day(begin)


def holiday(moment: datetime, name: str, year_number: int) -> Interval | None:
    """A holiday of `HOLIDAYS` in a year; Thanksgiving is that of the United States."""
    if name == "thanksgiving":
        first = date(year_number, 11, 1)
        return dated(moment, year_number, 11, 1 + (3 - first.weekday()) % 7 + 21)
    if name == "easter":
        easter = easter_sunday(year_number)
        return dated(moment, year_number, easter.month, easter.day)
    month_number, day_number = _FIXED_HOLIDAYS[name]
    return dated(moment, year_number, month_number, day_number)


def easter_sunday(year_number: int) -> date:
    """Western Easter by the anonymous Gregorian computus (Meeus 1991, chapter 8)."""
    golden = year_number % 19
    century, rest = divmod(year_number, 100)
    correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - century // 4 - correction + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (rest // 4) - epact - rest % 4) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    total = epact + weekday - 7 * late + 114
    return date(year_number, total // 31, total % 31 + 1)


def third(interval: Interval, which: str) -> Interval:
    """The early, middle or late third of an interval."""
    step = (interval.until - interval.begin) / 3
    index = {"early": 0, "mid": 1, "late": 2}[which]
    return Interval(interval.begin + index * step, interval.begin + (index + 1) * step, Grain.SPAN)
