"""Rate limits shared by all processes through Valkey; by this process alone while Valkey does not answer.

Losing Valkey must not stop the service, nor open it: each process then keeps the whole limit to itself, so that at
worst the limit is multiplied by the number of processes.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog
from redis import Redis, RedisError

from memos.errors import TooBusy
from memos.rules.access import Limit
from memos.rules.token_bucket import Bucket, refilled, retry_after_s, take

PAUSE_S = 5.0
"""How long Valkey is left alone after it did not answer."""
MOST_BUCKETS = 10_000
_PREFIX = "memos:rate:"

# The clock is Valkey's, so that processes need not agree on theirs. Returns the wait in microseconds; 0: taken.
SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 't', 'a')
local tokens, at = tonumber(kept[1]) or burst, tonumber(kept[2]) or now
tokens = math.min(burst, tokens + math.max(0, now - at) * rate)
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = math.ceil((1 - tokens) / rate * 1000000) end
redis.call('HSET', KEYS[1], 't', tostring(tokens), 'a', tostring(math.max(now, at)))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 1000)
return wait
"""

# What is left, without taking any of it.
LEFT = """
local clock = redis.call('TIME')
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 't', 'a')
if not kept[1] then return tostring(burst) end
return tostring(math.min(burst, kept[1] + math.max(0, clock[1] + clock[2] / 1000000 - kept[2]) * rate))
"""

log = structlog.get_logger(__name__)


class RateLimiter:
    """Thread-safe."""

    def __init__(self, redis: Redis | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._script = None if redis is None else redis.register_script(SCRIPT)
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._alone_until = 0.0

    def take(self, tenant_id: UUID, limits: Sequence[Limit]) -> None:
        """Take a token under every limit. Raises `TooBusy`, with the time to wait, when one has none left."""
        for limit in limits:
            wait_s = self._wait_s(_key(tenant_id, limit), limit)
            if wait_s > 0.0:
                whose = "this tenant" if limit.subject == "tenant" else "this key"
                raise TooBusy(
                    f"{whose} may make {limit.rate_per_s:g} requests a second", retry_after_s=retry_after_s(wait_s)
                )

    def left(self, tenant_id: UUID, limit: Limit) -> float:
        """Requests that may be made at once now, from 0 to the burst. Takes none; for people to look at."""
        key = _key(tenant_id, limit)
        if self._redis is not None and self._clock() >= self._alone_until:
            try:
                return float(self._redis.eval(LEFT, 1, key, limit.rate_per_s, limit.burst))
            except RedisError:  # a look is no reason to leave Valkey alone: the next request will find out
                pass
        with self._lock:
            bucket = self._buckets.get(key)
        return refilled(bucket, limit.rate_per_s, limit.burst, self._clock()).tokens

    def _wait_s(self, key: str, limit: Limit) -> float:
        if self._script is not None and self._clock() >= self._alone_until:
            try:
                waited = self._script(keys=[key], args=[limit.rate_per_s, limit.burst])
                return int(waited) / 1_000_000
            except RedisError as error:
                self._alone_until = self._clock() + PAUSE_S
                log.warning("rate_limits_alone", error=type(error).__name__, pause_s=PAUSE_S)
        with self._lock:
            bucket, wait_s = take(self._buckets.get(key), limit.rate_per_s, limit.burst, self._clock())
            self._buckets[key] = bucket
            self._buckets.move_to_end(key)
            while len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        return wait_s


def _key(tenant_id: UUID, limit: Limit) -> str:
    return f"{_PREFIX}{{{tenant_id}}}:{limit.subject}"
