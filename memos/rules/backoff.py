"""When a job that failed is tried again: exponential backoff, bounded, with jitter.

Jitter spreads retries of jobs that failed together (a database that was away), so that they do not come back together:
the "equal jitter" of M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: half of the wait is
certain, the other half is drawn.
"""

from __future__ import annotations

from enum import StrEnum

FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 600.0


class Failure(StrEnum):
    """What kind of failure it was, which decides whether trying again can help."""

    TRANSIENT = "transient"
    """A server is away or overloaded. Twelve attempts outlast an outage of about three quarters of an hour."""
    PERMANENT = "permanent"
    """The job asks for what cannot be: trying again would fail the same way."""
    UNEXPECTED = "unexpected"
    """A defect, or a time limit. Three attempts tell chance from habit."""


MOST_ATTEMPTS = {Failure.TRANSIENT: 12, Failure.PERMANENT: 1, Failure.UNEXPECTED: 3}


def retry_in_s(failure: Failure, attempt: int, jitter: float) -> float | None:
    """Seconds to wait after the failed attempt number `attempt` (from 1), or None to give up. `jitter` is in [0, 1]."""
    if attempt >= MOST_ATTEMPTS[failure]:
        return None
    # The exponent is capped first: 2.0 ** 2000 is an error, not a long wait.
    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt - 1, 32))
    return wait_s * (0.5 + 0.5 * jitter)
