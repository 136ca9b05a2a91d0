"""What an operator counts: memories by state, kind and tier, how strong they are, what waits, how fast answers were.

Every statement here is bounded, so that a page of numbers costs the same in a large tenant as in a small one: what is
counted up to `COUNTED_WHOLE` memories is estimated from a sample of pages beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.rules import strength
from memos.store.transaction import Transaction
from memos.store.usage import INITIAL_STABILITY, days_since

COUNTED_WHOLE = 25_000
"""Memories that are counted one by one: some 50 ms. A tenant with more is sampled."""
_SAMPLED = 6_000
# Of the whole table, other tenants included: so many rows are read at most, however small the tenant's share of them.
_MOST_READ = 400_000
BANDS = 10
"""Bands of the strength distribution, each a tenth."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Memories on `main` branches that share a kind, state, tier and band of strength (0 weakest)."""

    kind: str
    state: str
    tier: str
    band: int
    memories: int


@dataclass(frozen=True, slots=True)
class Census:
    """`estimated`: drawn from a sample, and scaled so that what can be recalled adds up to its exact count."""

    cells: list[Cell]
    estimated: bool


@dataclass(frozen=True, slots=True)
class CubeRow:
    """`memories` is a counter of what can be recalled on `main`, never counted anew."""

    id: UUID
    name: str
    description: str
    revision: int
    memories: int
    branches: int
    created_at: datetime
    written_at: datetime | None


@dataclass(frozen=True, slots=True)
class QueueRow:
    """`oldest_due_at` of None: nothing is overdue. `lapsed` are running jobs whose worker has not been heard of in time."""

    kind: str
    queued: int
    due: int
    running: int
    lapsed: int
    failed: int
    oldest_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when a job was waiting or running; `ended_at` of None: it still is."""

    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Timing:
    asked_at: datetime
    took_ms: float


_RETAINED = (
    f"power(1.0 + {strength.FACTOR} * {days_since('coalesce(u.last_recalled_at, m.created_at)')} "
    f"/ coalesce(u.stability_days, {INITIAL_STABILITY}), -{strength.DECAY})"
)
_CENSUS = f"""
SELECT v.kind, v.state, coalesce(u.tier, 'plaintext') AS tier,
    CAST(least({BANDS - 1}, floor({BANDS} * {_RETAINED})) AS integer) AS band, count(*) AS memories
FROM memory_versions v {{sample}}
JOIN memories m ON m.tenant_id = v.tenant_id AND m.cube_id = v.cube_id AND m.id = v.memory_id
LEFT JOIN usage u ON u.tenant_id = v.tenant_id AND u.cube_id = v.cube_id AND u.memory_id = v.memory_id
WHERE v.tenant_id = :tenant AND v.branch_id = ANY(:branches) AND v.to_revision IS NULL AND NOT v.tombstone
    AND v.erased_at IS NULL
GROUP BY 1, 2, 3, 4
"""
_RECALLABLE = frozenset({"generated", "activated", "frozen"})


def census(tx: Transaction, now: datetime, only: Sequence[UUID] | None) -> Census:
    """The memories of the tenant's `main` branches, or of those of some cubes."""
    mains = tx.rows(
        "SELECT id, live_count FROM branches WHERE tenant_id = :tenant AND name = 'main' AND deleted_at IS NULL "
        "AND (CAST(:only AS uuid[]) IS NULL OR cube_id = ANY(:only))",
        only=only,
    )
    live = sum(int(row["live_count"]) for row in mains)
    percent = 100.0 if live <= COUNTED_WHOLE else _share(tx, live)
    sampled = percent < 100.0
    rows = tx.rows(
        _CENSUS.format(sample="TABLESAMPLE SYSTEM (:percent) REPEATABLE (7)" if sampled else ""),
        branches=[row["id"] for row in mains],
        now=now,
        **({"percent": percent} if sampled else {}),
    )
    found = [Cell(**row) for row in rows]
    if not sampled:
        return Census(found, estimated=False)
    seen = sum(cell.memories for cell in found if cell.state in _RECALLABLE)
    scale = live / max(seen, 1)
    return Census([Cell(c.kind, c.state, c.tier, c.band, round(c.memories * scale)) for c in found], estimated=True)


def _share(tx: Transaction, live: int) -> float:
    """How many percent of the table's pages to read."""
    rows = float(tx.scalar("SELECT greatest(reltuples, 1) FROM pg_class WHERE oid = 'memory_versions'::regclass"))
    return min(100.0, 100.0 * _SAMPLED / live, 100.0 * _MOST_READ / rows)


def cubes(
    tx: Transaction, only: Sequence[UUID] | None, part: str | None, after: UUID | None, limit: int
) -> list[CubeRow]:
    """In order of creation; `part` is a piece of a name."""
    rows = tx.rows(
        "SELECT c.id, c.name, c.description, c.last_revision AS revision, coalesce(m.live_count, 0) AS memories, "
        "(SELECT count(*) FROM branches b WHERE b.tenant_id = :tenant AND b.cube_id = c.id AND b.deleted_at IS NULL) "
        "AS branches, c.created_at, r.created_at AS written_at FROM cubes c "
        "LEFT JOIN branches m ON m.tenant_id = :tenant AND m.cube_id = c.id AND m.name = 'main' AND m.deleted_at IS NULL "
        "LEFT JOIN revisions r ON r.tenant_id = :tenant AND r.cube_id = c.id AND r.number = c.last_revision "
        "WHERE c.tenant_id = :tenant AND (CAST(:only AS uuid[]) IS NULL OR c.id = ANY(:only)) "
        "AND (CAST(:part AS text) IS NULL OR position(lower(:part) IN lower(c.name)) > 0) "
        "AND (CAST(:after AS uuid) IS NULL OR c.id > :after) ORDER BY c.id LIMIT :limit",
        only=only,
        part=part,
        after=after,
        limit=limit,
    )
    return [CubeRow(**row) for row in rows]


def queues(tx: Transaction, now: datetime, only: Sequence[UUID] | None) -> list[QueueRow]:
    """What waits, runs or has failed, by kind of job. What ended well is not counted: it is most of the table."""
    rows = tx.rows(
        "SELECT kind, count(*) FILTER (WHERE state = 'queued') AS queued, "
        "count(*) FILTER (WHERE state = 'queued' AND run_after <= :now) AS due, "
        "count(*) FILTER (WHERE state = 'running') AS running, "
        "count(*) FILTER (WHERE state = 'running' AND lease_until <= :now) AS lapsed, "
        "count(*) FILTER (WHERE state = 'failed') AS failed, "
        "min(run_after) FILTER (WHERE state = 'queued' AND run_after <= :now) AS oldest_due_at "
        "FROM jobs WHERE tenant_id = :tenant AND state IN ('queued', 'running', 'failed') "
        "AND (CAST(:only AS uuid[]) IS NULL OR cube_id = ANY(:only)) GROUP BY kind ORDER BY kind",
        now=now,
        only=only,
    )
    return [QueueRow(**row) for row in rows]


def spans(tx: Transaction, since: datetime, limit: int, only: Sequence[UUID] | None) -> list[Span]:
    """Of the newest jobs, those that were open at any time since."""
    rows = tx.rows(
        "SELECT created_at, CASE WHEN state IN ('queued', 'running') THEN NULL ELSE finished_at END AS ended_at FROM ("
        "SELECT * FROM jobs WHERE tenant_id = :tenant ORDER BY id DESC LIMIT :limit) j "
        "WHERE (state IN ('queued', 'running') OR finished_at >= :since) "
        "AND (CAST(:only AS uuid[]) IS NULL OR cube_id = ANY(:only))",
        since=since,
        limit=limit,
        only=only,
    )
    return [Span(**row) for row in rows]


def timings(tx: Transaction, since: datetime, limit: int, only: Sequence[UUID] | None) -> list[Timing]:
    """How long the newest traced answers took, newest first."""
    rows = tx.rows(
        "SELECT asked_at, took_ms FROM traces WHERE tenant_id = :tenant AND asked_at >= :since "
        "AND (CAST(:only AS uuid[]) IS NULL OR cube_ids <@ CAST(:only AS uuid[])) ORDER BY asked_at DESC LIMIT :limit",
        since=since,
        limit=limit,
        only=only,
    )
    return [Timing(**row) for row in rows]
