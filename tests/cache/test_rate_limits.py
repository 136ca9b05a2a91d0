"""Rate limits in Valkey, beside the rule they implement, and alone when Valkey is gone."""

from __future__ import annotations

from uuid import uuid4

import pytest
from redis import Redis

from memos.cache.rate_limits import RateLimiter
from memos.errors import TooBusy
from memos.rules.access import Limit
from tests.conftest import Servers


def taken(limiter: RateLimiter, limits: list[Limit], n: int) -> int:
    tenant, count = uuid4(), 0
    for _ in range(n):
        try:
            limiter.take(tenant, limits)
        except TooBusy:
            continue
        count += 1
    return count


def test_processes_share_one_bucket(servers: Servers) -> None:
    redis = Redis.from_url(servers.redis_url)
    tenant, limits = uuid4(), [Limit("tenant", 0.001, 5)]
    first, second = RateLimiter(redis), RateLimiter(redis)
    for limiter in (first, second, first, second, first):
        limiter.take(tenant, limits)
    with pytest.raises(TooBusy, match="this tenant") as refused:
        second.take(tenant, limits)
    assert refused.value.retry_after_s > 60
    redis.close()


def test_the_script_counts_as_the_rule_does(servers: Servers) -> None:
    redis = Redis.from_url(servers.redis_url)
    for burst in (1, 3, 10):
        limits = [Limit("k", 0.001, burst)]
        assert taken(RateLimiter(redis), limits, 15) == taken(RateLimiter(None), limits, 15) == burst
    redis.close()


def test_without_valkey_each_process_keeps_the_limit_itself() -> None:
    gone = Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.2)
    assert taken(RateLimiter(gone), [Limit("k", 0.001, 4)], 8) == 4


def test_the_clock_fills_the_bucket_again() -> None:
    now = [0.0]
    limiter, tenant = RateLimiter(None, clock=lambda: now[0]), uuid4()
    limits = [Limit("k", 1.0, 1)]
    limiter.take(tenant, limits)
    with pytest.raises(TooBusy):
        limiter.take(tenant, limits)
    now[0] = 1.5
    limiter.take(tenant, limits)


def test_looking_at_what_is_left_takes_nothing(servers: Servers) -> None:
    redis = Redis.from_url(servers.redis_url)
    gone = Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.2)
    limit, tenant = Limit("k", 0.001, 4), uuid4()
    for limiter in (RateLimiter(redis), RateLimiter(None), RateLimiter(gone)):
        assert limiter.left(tenant, limit) == 4
        for _ in range(3):
            limiter.take(tenant, [limit])
        for _ in range(5):
            assert limiter.left(tenant, limit) == pytest.approx(1, abs=0.1)
        limiter.take(tenant, [limit])
        assert limiter.left(tenant, limit) < 1
    redis.close()
