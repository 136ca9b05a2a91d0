"""A token bucket: so many calls a second on average, so many at once after a pause.

The bucket fills with `rate_per_s` up to `burst`; a call takes a token or is told how long to wait for the next one. The
script in `memos.cache.rate_limits` computes the same in Valkey; a test holds the two together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bucket:
    """`tokens` as of `at_s`, a time in seconds on any one clock."""

    tokens: float
    at_s: float


def take(bucket: Bucket | None, rate_per_s: float, burst: int, now_s: float) -> tuple[Bucket, float]:
    """The bucket afterwards, and how long to wait in seconds: 0 when a token was taken. None stands for a full bucket."""
    now = refilled(bucket, rate_per_s, burst, now_s)
    if now.tokens >= 1.0:
        return Bucket(now.tokens - 1.0, now.at_s), 0.0
    return now, (1.0 - now.tokens) / rate_per_s


def refilled(bucket: Bucket | None, rate_per_s: float, burst: int, now_s: float) -> Bucket:
    """The bucket as it stands now, nothing taken."""
    before = bucket or Bucket(float(burst), now_s)
    passed = max(0.0, now_s - before.at_s)
    return Bucket(min(float(burst), before.tokens + passed * rate_per_s), max(now_s, before.at_s))


def retry_after_s(wait_s: float) -> int:
    """For a header that knows whole seconds only."""
    return max(1, math.ceil(wait_s))
