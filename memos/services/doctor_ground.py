"""The doctor on the ground the service stands on: clocks, connections, tables, indexes, deliveries, folders."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from redis import Redis, RedisError

from memos.services.findings import Finding, fail, ok, warn
from memos.services.signing import SECRET_FILE
from memos.store import erasure, health, webhooks
from memos.store.engine import Database

# Clocks order revisions and leases of several machines; what NTP keeps is within milliseconds.
SKEW_S, WRONG_S = 1.0, 30.0
NEARLY_ALL = 0.8
MUCH_DEAD, MANY_DEAD = 0.3, 10_000
OLD_TRANSACTIONS, TOO_OLD = 1_000_000_000, 1_800_000_000
LATE_S = 900.0
# A blob is written in seconds; what is older in `tmp` belongs to nobody who lives.
LEFT_AFTER_S = 3_600.0

TABLES = frozenset(erasure.WIPES) | {
    "tenants", "api_keys", "cubes", "branches", "revisions", "revision_tags", "postings", "terms", "speakers", "facets",
    "audit",
    "audit_heads", "transitions", "receipts", "erasure_marks", "events", "event_heads", "webhooks", "deliveries",
}  # fmt: skip


def tables(database: Database) -> Iterator[Finding]:
    missing = health.missing_tables(database, TABLES)
    if missing:
        yield fail(
            "tables", f"missing: {', '.join(missing)}", "run 'memos migrate'; if they were dropped, restore a backup"
        )
    else:
        yield ok("tables", f"all {len(TABLES)} that this version reads and writes are there")


def clocks(database: Database, redis: Redis | None) -> Iterator[Finding]:
    """The difference to each server's clock, less the time the question took."""
    skews = {"PostgreSQL": _skew(lambda: health.clock(database))}
    if redis is not None:
        with suppress(RedisError):  # the broker's own check says so
            skews["the broker"] = _skew(lambda: _redis_clock(redis))
    worst = max(skews, key=lambda name: abs(skews[name]))
    detail = f"{worst} is {skews[worst]:+.2f} s from this machine"
    if abs(skews[worst]) > WRONG_S:
        yield fail("clocks", detail, "set up time synchronisation (chrony, systemd-timesyncd) on all machines")
    elif abs(skews[worst]) > SKEW_S:
        yield warn("clocks", detail, "see that time synchronisation runs on all machines")
    else:
        yield ok("clocks", detail)


def connections(database: Database, *, wanted: int) -> Iterator[Finding]:
    """`wanted` is what the processes of this configuration may open at most."""
    found = health.connections(database)
    detail = f"{found.used} of {found.most} in use, {found.ours} by memos; this configuration may open {wanted}"
    if found.used >= found.most * NEARLY_ALL:
        yield warn("connections", detail, "find who holds them in pg_stat_activity; then raise max_connections")
    elif wanted > found.most:
        yield warn("connections", detail, "lower MEMOS_POOL_SIZE or raise max_connections (docs/running.md, 'Sizing')")
    else:
        yield ok("connections", detail)


def indexes(database: Database) -> Iterator[Finding]:
    broken = health.broken_indexes(database)
    for name in broken:
        yield fail("index health", f"{name} is not valid", f"run 'REINDEX INDEX CONCURRENTLY {name}' as the owner")
    worn = health.worn_tables(database, share=MUCH_DEAD, fewest=MANY_DEAD)
    for one in worn:
        yield warn(
            "index health",
            f"{one.table}: {one.dead:,} dead rows beside {one.live:,}",
            f"run 'VACUUM {one.table}' as the owner; if it stays, look for a transaction that never ends",
        )
    age = health.transaction_age(database)
    if age > OLD_TRANSACTIONS:
        verdict = fail if age > TOO_OLD else warn
        yield verdict("index health", f"{age:,} transactions since the last freeze", "run 'VACUUM FREEZE' as the owner")
    if not broken and not worn and age <= OLD_TRANSACTIONS:
        yield ok("index health", "every index is valid, no table is worn")


def deliveries(database: Database) -> Iterator[Finding]:
    depths = {state: (number, oldest_s) for state, number, oldest_s in webhooks.depths(database)}
    waiting, late_s = depths.get("waiting", (0, 0.0))
    dead, _ = depths.get("dead", (0, 0.0))
    detail = f"{waiting} messages wait, the oldest overdue by {late_s:.0f} s; {dead} were given up"
    if late_s > LATE_S:
        yield warn("webhooks", detail, "see that workers and beat run, and that they keep up with their jobs")
    elif dead:
        yield warn(
            "webhooks", detail, "see 'GET /v1/webhooks/{id}/deliveries?state=dead'; redeliver once the endpoint is back"
        )
    else:
        yield ok("webhooks", detail)


def folders(data_dir: Path, kv_dir: Path) -> Iterator[Finding]:
    secret = data_dir / SECRET_FILE
    if secret.exists() and secret.stat().st_mode & 0o077:
        yield warn("secret", f"others may read {secret}", f"run 'chmod 600 {secret}'")
    if not kv_dir.is_dir():
        yield ok("KV folder", f"{kv_dir} is not there yet; it is made with the first cache")
        return
    if not os.access(kv_dir, os.R_OK | os.W_OK | os.X_OK):
        yield fail("KV folder", f"{kv_dir} cannot be written", "give it to the account the service runs as")
        return
    old = time.time() - LEFT_AFTER_S
    left = [path for path in (kv_dir / "tmp").glob("*") if path.is_file() and path.stat().st_mtime < old]
    if left:
        size = sum(path.stat().st_size for path in left)
        yield warn(
            "KV folder",
            f"{len(left)} half-written files ({size / 2**20:.0f} MiB) in {kv_dir / 'tmp'}",
            f"delete the files in {kv_dir / 'tmp'} that are older than an hour: their writers have died",
        )
    else:
        yield ok("KV folder", f"{kv_dir} can be written and holds nothing half-written")


def _skew(ask: Callable[[], float]) -> float:
    before = time.time()
    there = ask()
    return there - (before + time.time()) / 2


def _redis_clock(redis: Redis) -> float:
    seconds, microseconds = redis.time()
    return float(seconds) + float(microseconds) / 1e6
