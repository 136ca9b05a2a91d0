"""Quotas and what is used of them, for a tenant and for each of its keys.

Counters move in the transaction that writes, last of all: the tenant's row is what its writers meet at, so it is held
as shortly as can be.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.errors import QuotaExceeded
from memos.store.transaction import Transaction

TENANT = "tenant"
RETRY_AFTER_S = 3_600
"""Room comes from erasing or from a larger quota, not from waiting a moment."""


@dataclass(frozen=True, slots=True)
class Quota:
    """`subject` is `tenant` or a key's id; a limit of None is none."""

    subject: str
    rate_per_s: float | None
    burst: int | None
    max_memories: int | None
    max_bytes: int | None
    memories: int
    bytes: int


def charge(tx: Transaction, author: UUID | None, *, memories: int, size_bytes: int) -> None:
    """Count what a revision added. Raises `QuotaExceeded` when that is more than a quota allows."""
    if memories <= 0 and size_bytes <= 0:
        return
    subjects = [TENANT] if author is None else [TENANT, str(author)]
    rows = tx.rows(
        "WITH used AS (INSERT INTO quota_usage (tenant_id, subject, memories, bytes) "
        "SELECT :tenant, s, :memories, :size FROM unnest(CAST(:subjects AS text[])) AS s ORDER BY s "
        "ON CONFLICT (tenant_id, subject) DO UPDATE SET memories = quota_usage.memories + :memories, "
        "bytes = quota_usage.bytes + :size RETURNING subject, memories, bytes) "
        "SELECT u.subject, u.memories, u.bytes, q.max_memories, q.max_bytes FROM used u "
        "JOIN quotas q ON q.tenant_id = :tenant AND q.subject = u.subject "
        "WHERE u.memories > q.max_memories OR u.bytes > q.max_bytes",
        subjects=subjects,
        memories=memories,
        size=size_bytes,
    )
    for row in rows:
        whose = "this tenant" if row["subject"] == TENANT else "this key"
        what = "memories" if row["max_memories"] is not None and row["memories"] > row["max_memories"] else "bytes"
        raise QuotaExceeded(
            f"{whose} may store {row['max_' + what]:,} {what} and this would make {row[what]:,}; erase some, or ask for more",
            retry_after_s=RETRY_AFTER_S,
        )


def refund(tx: Transaction, *, memories: int, size_bytes: int) -> None:
    """What was erased is the tenant's again. What a key has written stays written."""
    tx.run(
        "UPDATE quota_usage SET memories = greatest(0, memories - :memories), bytes = greatest(0, bytes - :size) "
        "WHERE tenant_id = :tenant AND subject = :subject",
        subject=TENANT,
        memories=memories,
        size=size_bytes,
    )


def stored(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID] | None = None) -> tuple[int, int]:
    """(memories, bytes) of a cube, or of some of its memories, that are not erased."""
    row = tx.row(
        "SELECT (SELECT count(*) FROM memories m WHERE m.tenant_id = :tenant AND m.cube_id = :cube AND m.erased_at IS NULL "
        "AND (CAST(:ids AS uuid[]) IS NULL OR m.id = ANY(:ids))) AS memories, "
        "(SELECT coalesce(sum(octet_length(c.text)), 0) FROM contents c WHERE c.tenant_id = :tenant AND c.cube_id = :cube "
        "AND (CAST(:ids AS uuid[]) IS NULL OR c.memory_id = ANY(:ids))) AS bytes",
        cube=cube_id,
        ids=None if memory_ids is None else list(memory_ids),
    )
    return (0, 0) if row is None else (int(row["memories"]), int(row["bytes"]))


def everyone(tx: Transaction) -> list[Quota]:
    """Limits and use, the tenant's first."""
    rows = tx.rows(
        "SELECT coalesce(q.subject, u.subject) AS subject, q.rate_per_s, q.burst, q.max_memories, q.max_bytes, "
        "coalesce(u.memories, 0) AS memories, coalesce(u.bytes, 0) AS bytes "
        "FROM (SELECT * FROM quotas WHERE tenant_id = :tenant) q "
        "FULL JOIN (SELECT * FROM quota_usage WHERE tenant_id = :tenant) u ON u.subject = q.subject "
        "ORDER BY coalesce(q.subject, u.subject) <> 'tenant', 1"
    )
    return [Quota(**row) for row in rows]


def put(
    tx: Transaction,
    subject: str,
    *,
    rate_per_s: float | None,
    burst: int | None,
    max_memories: int | None,
    max_bytes: int | None,
    now: datetime,
) -> None:
    tx.run(
        "INSERT INTO quotas (tenant_id, subject, rate_per_s, burst, max_memories, max_bytes, updated_at) "
        "VALUES (:tenant, :subject, CAST(:rate AS real), CAST(:burst AS integer), CAST(:memories AS bigint), "
        "CAST(:bytes AS bigint), :now) ON CONFLICT (tenant_id, subject) DO UPDATE SET rate_per_s = excluded.rate_per_s, "
        "burst = excluded.burst, max_memories = excluded.max_memories, max_bytes = excluded.max_bytes, "
        "updated_at = excluded.updated_at",
        subject=subject,
        rate=rate_per_s,
        burst=burst,
        memories=max_memories,
        bytes=max_bytes,
        now=now,
    )
