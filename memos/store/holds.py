"""Legal holds: what must stay, on a whole cube or on one memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Hold:
    id: UUID
    cube_id: UUID
    memory_id: UUID | None
    reason: str
    placed_by: UUID
    placed_at: datetime
    released_by: UUID | None
    released_at: datetime | None


_COLUMNS = ", ".join(Hold.__dataclass_fields__)


def place(tx: Transaction, cube_id: UUID, memory_id: UUID | None, reason: str, by: UUID, now: datetime) -> Hold:
    row = tx.row(
        "INSERT INTO holds (tenant_id, id, cube_id, memory_id, reason, placed_by, placed_at) "
        f"VALUES (:tenant, :id, :cube, CAST(:memory AS uuid), :reason, :by, :now) RETURNING {_COLUMNS}",
        id=uuid_utils.uuid7(),
        cube=cube_id,
        memory=memory_id,
        reason=reason,
        by=by,
        now=now,
    )
    assert row is not None  # noqa: S101 - an insert without a conflict
    return Hold(**row)


def page(tx: Transaction, *, cube_id: UUID | None, active: bool | None, limit: int, after: UUID | None) -> list[Hold]:
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM holds WHERE tenant_id = :tenant AND (CAST(:cube AS uuid) IS NULL OR cube_id = :cube) "
        "AND (CAST(:active AS boolean) IS NULL OR (released_at IS NULL) = :active) "
        "AND (CAST(:after AS uuid) IS NULL OR id > :after) ORDER BY id LIMIT :limit",
        cube=cube_id,
        active=active,
        after=after,
        limit=limit,
    )
    return [Hold(**row) for row in rows]


def get(tx: Transaction, hold_id: UUID) -> Hold | None:
    row = tx.row(f"SELECT {_COLUMNS} FROM holds WHERE tenant_id = :tenant AND id = :id", id=hold_id)
    return None if row is None else Hold(**row)


def release(tx: Transaction, hold_id: UUID, by: UUID, now: datetime) -> None:
    """Releasing twice is once."""
    tx.run(
        "UPDATE holds SET released_at = :now, released_by = :by WHERE tenant_id = :tenant AND id = :id "
        "AND released_at IS NULL",
        id=hold_id,
        by=by,
        now=now,
    )


def active(tx: Transaction, cube_id: UUID) -> tuple[bool, set[UUID]]:
    """(whether the whole cube is held, the memories held one by one)."""
    rows = tx.tuples(
        "SELECT memory_id FROM holds WHERE tenant_id = :tenant AND cube_id = :cube AND released_at IS NULL",
        cube=cube_id,
    )
    return any(row[0] is None for row in rows), {row[0] for row in rows if row[0] is not None}


def held(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID]) -> set[UUID]:
    """Those of these memories that must stay."""
    whole, single = active(tx, cube_id)
    return set(memory_ids) if whole else single.intersection(memory_ids)
