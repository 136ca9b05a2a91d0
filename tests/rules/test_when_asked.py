"""Windows of time that questions are about, and days counted from what has a date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.rules.times import find_times
from memos.rules.when_asked import GAIN, anchor_of, offset, windows

NOW = datetime(2024, 9, 1, tzinfo=UTC)


def asked(question: str) -> list[tuple[str, str]]:
    found = windows(find_times(question, NOW), NOW)
    return [(window.begin.date().isoformat(), window.until.date().isoformat()) for window in found]


def test_a_named_time_is_a_window_on_the_past() -> None:
    assert asked("What did Ola do last May?") == [("2024-05-01", "2024-06-01")]
    assert asked("What happened yesterday?") == [("2024-08-31", "2024-09-01")]
    assert asked("Since May?") == [("2024-05-01", "2024-09-02")]
    assert asked("What will we do next year?") == []
    assert asked("Where does Ola live?") == []


def test_a_wide_window_tells_less_than_a_narrow_one() -> None:
    [year] = windows(find_times("in 2019", NOW), NOW)
    [month] = windows(find_times("in June", NOW), NOW)
    assert 0 < year.gain < month.gain == GAIN


@pytest.mark.parametrize(
    ("question", "days"),
    [
        ("What did Ola do two weeks before the trip?", -14),
        ("what happened the day after the wedding", 1),
        ("3 months prior to the move", -90),
        ("a week after Tom left", 7),
        ("What did we do before the trip?", None),
    ],
)
def test_an_offset_is_counted_from_something(question: str, days: int | None) -> None:
    found = offset(question)
    assert (None if found is None else found.distance) == (None if days is None else timedelta(days=days))


def test_an_anchor_is_the_day_a_memory_names_or_that_of_its_saying() -> None:
    said = datetime(2024, 5, 20, 9, tzinfo=UTC)
    assert anchor_of("We fly on 3 October 2024.", said).date().isoformat() == "2024-10-03"
    assert anchor_of("Our trip starts!", said) == said


@given(st.text(max_size=80))
def test_any_question_is_read_and_no_window_is_empty(question: str) -> None:
    offset(question)
    for window in windows(find_times(question, NOW), NOW):
        assert window.begin < window.until
        assert window.begin <= NOW
        assert window.gain > 0
