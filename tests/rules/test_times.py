"""Time expressions: what they mean on a given day, and that nothing breaks the reading."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.rules import calendar
from memos.rules.calendar import Grain
from memos.rules.times import find_times, has_relative_time, tense_around

THURSDAY = datetime(2023, 5, 25, 13, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "found", "begin", "until", "grain"),
    [
        ("I ran a race last Saturday.", "last Saturday", "2023-05-20", "2023-05-21", Grain.DAY),
        ("We camped two weekends ago.", "two weekends ago", "2023-05-13", "2023-05-15", Grain.WEEKEND),
        ("I painted it last year.", "last year", "2022-01-01", "2023-01-01", Grain.YEAR),
        ("It began three years ago.", "three years ago", "2020-01-01", "2021-01-01", Grain.YEAR),
        ("We met the week before 9 June 2023.", "the week before 9 June 2023", "2023-06-02", "2023-06-09", Grain.WEEK),
        ("the Friday before 15 July 2023", "the Friday before 15 July 2023", "2023-07-14", "2023-07-15", Grain.DAY),
        ("I was born on 12 March 1987.", "12 March 1987", "1987-03-12", "1987-03-13", Grain.DAY),
        ("On March 3rd, 2021 we met.", "March 3rd, 2021", "2021-03-03", "2021-03-04", Grain.DAY),
        ("It was the 8th of May", "the 8th of May", "2023-05-08", "2023-05-09", Grain.DAY),
        ("We go camping next month.", "next month", "2023-06-01", "2023-07-01", Grain.MONTH),
        ("I lost it yesterday.", "yesterday", "2023-05-24", "2023-05-25", Grain.DAY),
        ("the day before yesterday", "the day before yesterday", "2023-05-23", "2023-05-24", Grain.DAY),
        ("In the summer of 2019 I moved.", "summer of 2019", "2019-06-01", "2019-09-01", Grain.SEASON),
        ("Last summer we sailed.", "Last summer", "2022-06-01", "2022-09-01", Grain.SEASON),
        ("It was in May.", "May", "2023-05-01", "2023-06-01", Grain.MONTH),
        ("In the 1990s it was quiet.", "the 1990s", "1990-01-01", "2000-01-01", Grain.DECADE),
        ("Released 2023-05-08.", "2023-05-08", "2023-05-08", "2023-05-09", Grain.DAY),
        ("Due 5/8/2023", "5/8/2023", "2023-05-08", "2023-05-09", Grain.DAY),
        ("Due 25/8/2023", "25/8/2023", "2023-08-25", "2023-08-26", Grain.DAY),
        ("On Monday I went home.", "Monday", "2023-05-22", "2023-05-23", Grain.DAY),
        ("I will go on Monday.", "Monday", "2023-05-29", "2023-05-30", Grain.DAY),
        ("a couple of months ago we met", "a couple of months ago", "2023-03-01", "2023-04-01", Grain.MONTH),
        ("this past weekend was fun", "this past weekend", "2023-05-20", "2023-05-22", Grain.WEEKEND),
        ("Last Christmas was cold.", "Last Christmas", "2022-12-25", "2022-12-26", Grain.DAY),
        ("next Thanksgiving", "next Thanksgiving", "2023-11-23", "2023-11-24", Grain.DAY),
        ("the past few weeks", "the past few weeks", "2023-05-04", "2023-05-25", Grain.SPAN),
        ("mid-June 2022", "mid-June 2022", "2022-06-11", "2022-06-21", Grain.SPAN),
    ],
)
def test_what_an_expression_means(text: str, found: str, begin: str, until: str, grain: Grain) -> None:
    (expression,) = find_times(text, THURSDAY)
    assert (expression.text, expression.grain) == (found, grain)
    assert (expression.begin.date().isoformat(), expression.until.date().isoformat()) == (begin, until)
    assert text[expression.start : expression.end] == found


@pytest.mark.parametrize(
    "text",
    ["every Monday I run", "March on!", "I may go", "It costs 2000 dollars", "9999 years ago", "", "🎉🎉", "we sat"],
)
def test_what_names_no_time(text: str) -> None:
    assert find_times(text, THURSDAY) == []


@pytest.mark.parametrize(
    ("text", "relation"),
    [("since 2016", "since"), ("until May", "until"), ("for 3 years", "for"), ("by the end of the month", "until")],
)
def test_how_a_time_is_used(text: str, relation: str) -> None:
    assert find_times(f"I have lived here {text}.", THURSDAY)[0].relation == relation


def test_part_of_a_day() -> None:
    (expression,) = find_times("See you tomorrow evening!", THURSDAY)
    assert expression.begin.isoformat() == "2023-05-26T17:00:00+00:00"
    assert expression.grain is Grain.PART


def test_times_keep_the_zone_of_the_anchor() -> None:
    zone = timezone(timedelta(hours=9))
    (expression,) = find_times("yesterday", datetime(2023, 5, 25, 1, tzinfo=zone))
    assert expression.begin == datetime(2023, 5, 24, tzinfo=zone)


def test_tense_decides_only_when_it_is_clear() -> None:
    assert tense_around("I went there.", 3) == "past"
    assert tense_around("I will go there.", 3) == "future"
    assert tense_around("I was told I will go.", 3) == "none"


def test_relative_times_are_those_that_depend_on_the_day() -> None:
    assert has_relative_time("I ran last week")
    assert not has_relative_time("I ran on 8 May 2023")


anchors = st.integers(-(20 * 365), 130 * 365).map(lambda days: THURSDAY + timedelta(days=days - 365 * 53, minutes=days))


@given(st.text(max_size=200), anchors)
def test_any_text_is_read_without_error(text: str, anchor: datetime) -> None:
    for expression in find_times(text, anchor):
        assert expression.begin < expression.until
        assert text[expression.start : expression.end] == expression.text


WORDS = """
    the last next this past two 3 a few week weekend month year day Monday Friday May June 2019 in on since until for
    before after ago summer early end of yesterday 12 31st February 1990s from now , .
"""


@given(st.lists(st.sampled_from(WORDS.split()), max_size=12).map(" ".join), anchors)
def test_any_mixture_of_time_words_is_read_without_overlap(text: str, anchor: datetime) -> None:
    previous_end = 0
    for expression in find_times(text, anchor):
        assert expression.start >= previous_end
        assert expression.begin < expression.until
        previous_end = expression.end


@given(anchors, st.integers(-400, 400))
def test_units_hold_the_moment_they_surround(anchor: datetime, offset: int) -> None:
    moment = anchor + timedelta(days=offset)
    for interval in (
        calendar.day(moment),
        calendar.week(moment),
        calendar.month(moment),
        calendar.year(moment, moment.year),
    ):
        assert interval.begin <= moment < interval.until
    assert calendar.week(moment).begin.weekday() == 0


@given(anchors, st.integers(0, 6), st.sampled_from([-1, 1]))
def test_the_nearest_weekday_is_within_a_week_and_not_today(anchor: datetime, weekday: int, direction: int) -> None:
    interval = calendar.nearest_weekday(anchor, weekday, direction)
    distance = (interval.begin - calendar.midnight(anchor)).days * direction
    assert interval.begin.weekday() == weekday
    assert 1 <= distance <= 7


@pytest.mark.parametrize(
    ("year", "easter"),
    [(1961, date(1961, 4, 2)), (2000, date(2000, 4, 23)), (2024, date(2024, 3, 31)), (2038, date(2038, 4, 25))],
)
def test_easter(year: int, easter: date) -> None:
    assert calendar.easter_sunday(year) == easter


@given(anchors, st.integers(-600, 600))
def test_shifting_months_keeps_the_day_where_there_is_one(anchor: datetime, months: int) -> None:
    shifted = calendar.shift_months(anchor, months)
    assert (shifted.year - anchor.year) * 12 + shifted.month - anchor.month == months
    assert shifted.day <= anchor.day
