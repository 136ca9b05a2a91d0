"""When a failed job is tried again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.backoff import FIRST_WAIT_S, LONGEST_WAIT_S, MOST_ATTEMPTS, Failure, retry_in_s

FAILURES = st.sampled_from(list(Failure))
JITTER = st.floats(0, 1)


@settings(deadline=None, max_examples=100)
@given(FAILURES, st.integers(1, 10_000), JITTER)
def test_a_wait_is_bounded_and_attempts_end(failure: Failure, attempt: int, jitter: float) -> None:
    wait_s = retry_in_s(failure, attempt, jitter)
    if attempt >= MOST_ATTEMPTS[failure]:
        assert wait_s is None
    else:
        assert wait_s is not None
        assert FIRST_WAIT_S / 2 <= wait_s <= LONGEST_WAIT_S


@settings(deadline=None, max_examples=50)
@given(st.integers(1, MOST_ATTEMPTS[Failure.TRANSIENT] - 2), JITTER)
def test_with_the_same_jitter_waits_never_shrink(attempt: int, jitter: float) -> None:
    now, later = retry_in_s(Failure.TRANSIENT, attempt, jitter), retry_in_s(Failure.TRANSIENT, attempt + 1, jitter)
    assert now is not None
    assert later is not None
    assert later >= now


def test_what_cannot_succeed_is_not_tried_again() -> None:
    assert retry_in_s(Failure.PERMANENT, 1, 0.5) is None


def test_an_outage_of_half_an_hour_is_outlasted() -> None:
    waits = [retry_in_s(Failure.TRANSIENT, n, 0.0) or 0.0 for n in range(1, MOST_ATTEMPTS[Failure.TRANSIENT])]
    assert sum(waits) > 1_000
    assert sum(2 * w for w in waits) > 1_800
