from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from memos.rules.series import buckets, levels, percentile

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
moments = st.timedeltas(timedelta(days=-2), timedelta(days=1)).map(lambda away: NOW + away)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_one_of_the_values_and_enough_do_not_exceed_it(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile([], 0.5) is None
    assert percentile([1, 2, 3, 4], 0.5) == 2
    assert percentile([1, 2, 3, 4], 0.95) == 4


@given(st.lists(st.tuples(moments, st.floats(0, 1e4))))
def test_every_event_of_the_time_is_in_one_bucket(events: list[tuple[datetime, float]]) -> None:
    found = buckets(events, NOW, width=HOUR, count=24)
    assert len(found) == 24
    assert found[-1].start + HOUR == NOW
    assert sum(one.count for one in found) == sum(NOW - 24 * HOUR <= at <= NOW for at, _ in events)
    assert all((one.p50 is None) == (one.count == 0) for one in found)
    assert all(one.p50 <= one.p95 for one in found if one.p50 is not None and one.p95 is not None)


@given(st.lists(st.tuples(moments, st.none() | moments)))
def test_a_level_counts_what_is_open(spans: list[tuple[datetime, datetime | None]]) -> None:
    found = levels(spans, NOW, width=HOUR, count=12)
    assert [one.at for one in found] == [NOW - HOUR * n for n in range(12, -1, -1)]
    assert all(0 <= one.open <= len(spans) for one in found)
    assert found[-1].open == sum(begun <= NOW and (ended is None or ended > NOW) for begun, ended in spans)
