"""Ranges as RFC 9110 has them: one range of bytes is honoured, anything else is the whole, what lies outside is 416."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.streaming import STEP_BYTES, RangeNotSatisfiable, asked_range, steps, unchanged

ETAG = '"abc"'


@given(size=st.integers(1, 10_000), start=st.integers(0, 12_000), length=st.integers(1, 12_000))
@settings(deadline=None, max_examples=200)
def test_a_range_lies_within(size: int, start: int, length: int) -> None:
    header = f"bytes={start}-{start + length - 1}"
    if start >= size:
        with pytest.raises(RangeNotSatisfiable):
            asked_range(header, None, ETAG, size)
        return
    assert asked_range(header, None, ETAG, size) == (start, min(size, start + length))
    assert asked_range(f"bytes={start}-", None, ETAG, size) == (start, size)
    assert asked_range(f"bytes=-{length}", None, ETAG, size) == (max(0, size - length), size)


@pytest.mark.parametrize(
    "header", [None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "bytes=5-4"]
)
def test_what_is_not_one_range_is_the_whole(header: str | None) -> None:
    assert asked_range(header, None, ETAG, 10) is None


def test_a_range_of_something_else_is_the_whole() -> None:
    assert asked_range("bytes=0-1", '"other"', ETAG, 10) is None
    assert asked_range("bytes=0-1", ETAG, ETAG, 10) == (0, 2)
    with pytest.raises(RangeNotSatisfiable):
        asked_range("bytes=-0", None, ETAG, 10)


@pytest.mark.parametrize(
    ("header", "known"),
    [(None, False), ("*", True), (ETAG, True), (f'"x", W/{ETAG}', True), ('"x"', False), ("abc", False)],
)
def test_who_has_it_is_told_so(header: str | None, known: bool) -> None:
    assert unchanged(header, ETAG) is known


@given(parts=st.lists(st.binary(max_size=40), max_size=4), data=st.data())
@settings(deadline=None, max_examples=100)
def test_steps_are_the_bytes_asked_for(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    assert b"".join(steps(parts, start, end)) == whole[start:end]


def test_steps_are_long_and_no_longer() -> None:
    assert [len(step) for step in steps([bytes(5), bytes(STEP_BYTES + 3)], 2, STEP_BYTES + 8)] == [3, STEP_BYTES, 3]
