"""Fields of the wire shapes, by their properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from api.schemas.fields import JsonObject, Moment, Name, Share, Storable, TagName, Text, Time
from api.schemas.limits import Limits, apply_limits, current_limits
from memos.errors import TooLarge
from memos.settings import Settings

EASY = settings(max_examples=100, deadline=None)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=50)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


def accepted(kind: Any, value: object) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return None


@EASY
@given(ANY_TEXT)
def test_a_storable_text_is_kept_as_it_is_and_can_be_stored(text: str) -> None:
    storable = "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
    assert accepted(Storable, text) == (text if storable else None)


@EASY
@given(st.dictionaries(ANY_TEXT, JSON, max_size=4))
def test_accepted_json_can_be_written(value: dict[str, Any]) -> None:
    kept = accepted(JsonObject, value)
    if kept is not None:
        assert b"\\u0000" not in to_json(kept, inf_nan_mode="constants").replace(b"\\\\", b"")
        assert kept == value


@EASY
@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),  # noqa: DTZ001 - the offset comes next
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_a_time_keeps_its_moment_and_turns_to_utc(naive: datetime, offset_min: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    kept = accepted(Time, moment.isoformat())
    assert kept == moment
    assert kept.tzinfo == UTC
    assert accepted(Moment, moment.isoformat()) == moment
    assert accepted(Time, naive.isoformat()) is None
    assert accepted(Moment, naive.isoformat()) is None


@EASY
@given(ANY_TEXT)
def test_a_name_can_stand_in_a_path(text: str) -> None:
    name = accepted(Name, text)
    if name is not None:
        assert name == text.strip()
        assert 1 <= len(name) <= 200
        assert "/" not in name


@EASY
@given(st.text(max_size=30))
def test_a_tag_is_never_taken_for_a_revision_or_a_time(text: str) -> None:
    tag = accepted(TagName, text)
    if tag is not None:
        assert accepted(Moment, tag) == tag


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), ("7", 7), (2**31 - 1, 2**31 - 1), ("before", "before"), ("٣", "٣")],
)
def test_moments(value: object, expected: object) -> None:
    assert accepted(Moment, value) == expected


@pytest.mark.parametrize("value", [-1, 2**31, "9" * 5_000, True, 1.5, None, "", "x" * 201, [], "2026-13-01T00:00:00Z"])
def test_what_is_no_moment(value: object) -> None:
    assert accepted(Moment, value) is None


@pytest.mark.parametrize("value", [True, "0.5", float("nan"), -0.1, 1.1])
def test_what_is_no_share(value: object) -> None:
    assert accepted(Share, value) is None


def test_limits_are_those_of_the_app_that_is_parsing() -> None:
    assert current_limits() == Limits.of(Settings.model_construct())
    apply_limits(Limits(text_bytes=10, items=1, page=1, body_bytes=10))
    try:
        assert accepted(Text, "ten bytes.") == "ten bytes."
        with pytest.raises(TooLarge):
            accepted(Text, "ééééé.")
    finally:
        apply_limits(Limits.of(Settings.model_construct()))
