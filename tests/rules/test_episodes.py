"""Topics cover a session; periods bound a history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from memos.rules.episodes import EpisodePolicy, SessionSpan, depth_scores, group_periods, split_topics

START = datetime(2024, 1, 1, tzinfo=UTC)


@given(st.integers(0, 80), st.integers(0, 99), st.integers(1, 5), st.integers(1, 30))
def test_topics_cover_the_session_in_order_and_are_bounded(count: int, seed: int, shortest: int, longest: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
    policy = EpisodePolicy(min_turns=shortest, max_turns=longest)
    topics = split_topics(vectors, policy)
    covered = [turn for topic in topics for turn in range(topic.first, topic.last + 1)]
    assert covered == list(range(count))
    assert all(topic.last - topic.first < longest for topic in topics)


def test_a_change_of_subject_is_found() -> None:
    random = np.random.default_rng(1)
    first, second = np.eye(8)[0], np.eye(8)[1]
    turns = [first + random.normal(0, 0.1, 8) for _ in range(9)] + [second + random.normal(0, 0.1, 8) for _ in range(8)]
    topics = split_topics(np.array(turns, dtype=np.float32))
    assert [topic.first for topic in topics] == [0, 9]


def test_one_topic_stays_whole() -> None:
    assert len(split_topics(np.ones((12, 4), dtype=np.float32))) == 1


def test_depth_is_measured_against_the_hills_on_both_sides() -> None:
    depths = depth_scores(np.array([0.9, 0.2, 0.8], dtype=np.float32))
    np.testing.assert_allclose(depths, [0.0, 1.3, 0.0], atol=1e-6)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3)), max_size=30), st.integers(1, 10), st.integers(1, 60))
def test_periods_hold_every_session_once_and_are_bounded(spans: list[tuple[int, int]], most: int, days: int) -> None:
    sessions = [
        SessionSpan(f"s{number}", START + timedelta(days=day), START + timedelta(days=day, hours=hours))
        for number, (day, hours) in enumerate(spans)
    ]
    by_id = {session.session_id: session for session in sessions}
    periods = group_periods(sessions, EpisodePolicy(period_sessions=most, period_days=days))
    assert sorted(name for period in periods for name in period) == sorted(by_id)
    for period in periods:
        assert len(period) <= most
        if len(period) > 1:
            assert by_id[period[-1]].begins_at - by_id[period[0]].begins_at <= timedelta(days=days)
    assert group_periods(sessions[::-1], EpisodePolicy(period_sessions=most, period_days=days)) == periods


def test_a_longer_history_leaves_closed_periods_alone() -> None:
    sessions = [
        SessionSpan(f"s{day:03}", START + timedelta(days=day), START + timedelta(days=day)) for day in range(0, 200, 3)
    ]
    before, after = group_periods(sessions[:40]), group_periods(sessions)
    assert after[: len(before) - 1] == before[:-1]
