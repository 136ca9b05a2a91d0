"""What a retention policy has to know of memories: how old they are, and what classes they could belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Aged:
    """A memory as one branch shows it."""

    memory_id: UUID
    branch: str
    state: str
    kind: str
    tags: list[str]
    sensitivity: str
    written_at: datetime


def older_than(tx: Transaction, cube_id: UUID, age: timedelta, now: datetime, most: int) -> list[Aged]:
    """Memories first written so long ago, on every branch that shows a version of its own, the oldest first."""
    rows = tx.rows(
        "SELECT v.memory_id, b.name AS branch, v.state, v.kind, v.tags, v.sensitivity, m.created_at AS written_at "
        "FROM memories m JOIN memory_versions v ON v.tenant_id = m.tenant_id AND v.cube_id = m.cube_id "
        "AND v.memory_id = m.id AND v.to_revision IS NULL AND NOT v.tombstone AND v.erased_at IS NULL "
        "JOIN branches b ON b.tenant_id = v.tenant_id AND b.id = v.branch_id AND b.deleted_at IS NULL "
        "WHERE m.tenant_id = :tenant AND m.cube_id = :cube AND m.erased_at IS NULL AND m.created_at <= :before "
        "ORDER BY m.created_at, m.id, b.id LIMIT :most",
        cube=cube_id,
        before=now - age,
        most=most,
    )
    return [Aged(**row) for row in rows]


def cubes_to_retain(tx: Transaction, now: datetime, every: timedelta) -> list[UUID]:
    """Cubes with a retention policy that were not gone through for that long."""
    rows: Sequence[dict[str, UUID]] = [
        dict(row)
        for row in tx.rows(
            "SELECT id FROM cubes WHERE tenant_id = :tenant AND jsonb_typeof(policy -> 'retention') = 'array' "
            "AND policy -> 'retention' <> '[]' AND (retained_at IS NULL OR retained_at <= :before) ORDER BY id",
            before=now - every,
        )
    ]
    return [row["id"] for row in rows]


@dataclass(frozen=True, slots=True)
class Kept:
    """A cube with its retention classes as its policy spells them, and when they were last gone through."""

    cube_id: UUID
    cube: str
    revision: int
    classes: list[dict[str, Any]]
    retained_at: datetime | None


def kept(tx: Transaction, only: Sequence[UUID] | None, most: int) -> list[Kept]:
    """Cubes with a retention policy, by name."""
    rows = tx.rows(
        "SELECT c.id AS cube_id, c.name AS cube, b.head_revision AS revision, c.policy -> 'retention' AS classes, c.retained_at "
        "FROM cubes c JOIN branches b ON b.tenant_id = c.tenant_id AND b.cube_id = c.id AND b.name = 'main' "
        "AND b.deleted_at IS NULL WHERE c.tenant_id = :tenant AND jsonb_typeof(c.policy -> 'retention') = 'array' "
        "AND c.policy -> 'retention' <> '[]' AND (CAST(:only AS uuid[]) IS NULL OR c.id = ANY(:only)) "
        "ORDER BY c.name LIMIT :most",
        only=only,
        most=most,
    )
    return [Kept(**row) for row in rows]


def mark_run(tx: Transaction, cube_id: UUID, now: datetime) -> None:
    tx.run("UPDATE cubes SET retained_at = :now WHERE tenant_id = :tenant AND id = :cube", cube=cube_id, now=now)
