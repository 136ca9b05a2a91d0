"""Grants: cubes shared with a key or a tenant. Only `memos_use_grant` leads from one tenant's identity to another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Grant:
    id: UUID
    cube_id: UUID
    ability: str
    to_key: UUID | None
    to_tenant: UUID | None
    purpose: str | None
    expires_at: datetime | None
    max_uses: int | None
    uses: int
    last_used_at: datetime | None
    created_by: UUID
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Used:
    """A grant that was just used once: whose identity to take on, and what it allows there."""

    tenant_id: UUID
    tenant_name: str
    grant_id: UUID
    ability: str


_COLUMNS = ", ".join(Grant.__dataclass_fields__)


def add(
    tx: Transaction,
    cube_id: UUID,
    ability: str,
    *,
    to_key: UUID | None,
    to_tenant: UUID | None,
    purpose: str | None,
    expires_at: datetime | None,
    max_uses: int | None,
    by: UUID,
    now: datetime,
) -> Grant:
    row = tx.row(
        "INSERT INTO grants (tenant_id, id, cube_id, ability, to_key, to_tenant, purpose, expires_at, max_uses, created_by, "
        "created_at) VALUES (:tenant, :id, :cube, :ability, CAST(:to_key AS uuid), CAST(:to_tenant AS uuid), "
        "CAST(:purpose AS text), CAST(:expires AS timestamptz), CAST(:most AS integer), :by, :now) "
        f"RETURNING {_COLUMNS}",
        id=uuid_utils.uuid7(),
        cube=cube_id,
        ability=ability,
        to_key=to_key,
        to_tenant=to_tenant,
        purpose=purpose,
        expires=expires_at,
        most=max_uses,
        by=by,
        now=now,
    )
    assert row is not None  # noqa: S101 - an insert without a conflict
    return Grant(**row)


def page(tx: Transaction, cube_id: UUID | None, limit: int, after: UUID | None) -> list[Grant]:
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM grants WHERE tenant_id = :tenant AND (CAST(:cube AS uuid) IS NULL OR cube_id = :cube) "
        "AND (CAST(:after AS uuid) IS NULL OR id > :after) ORDER BY id LIMIT :limit",
        cube=cube_id,
        after=after,
        limit=limit,
    )
    return [Grant(**row) for row in rows]


def get(tx: Transaction, cube_id: UUID, grant_id: UUID) -> Grant | None:
    row = tx.row(
        f"SELECT {_COLUMNS} FROM grants WHERE tenant_id = :tenant AND cube_id = :cube AND id = :id",
        cube=cube_id,
        id=grant_id,
    )
    return None if row is None else Grant(**row)


def revoke(tx: Transaction, cube_id: UUID, grant_id: UUID, now: datetime) -> None:
    tx.run(
        "UPDATE grants SET revoked_at = coalesce(revoked_at, :now) WHERE tenant_id = :tenant AND cube_id = :cube AND id = :id",
        cube=cube_id,
        id=grant_id,
        now=now,
    )


def received(tx: Transaction, key_id: UUID) -> list[Grant]:
    """What others share with a key of the transaction's tenant."""
    return [Grant(**row) for row in tx.rows(f"SELECT {_COLUMNS} FROM memos_received_grants(:key)", key=key_id)]


def use(tx: Transaction, cube_id: UUID, key_id: UUID, abilities: Sequence[str], purpose: str | None) -> Used | None:
    """Take one use of a grant with one of these abilities; None when there is none that stands."""
    row = tx.row(
        "SELECT tenant_id, tenant_name, grant_id, ability FROM memos_use_grant(CAST(:cube AS uuid), CAST(:key AS uuid), "
        "CAST(:abilities AS text[]), CAST(:purpose AS text))",
        cube=cube_id,
        key=key_id,
        abilities=list(abilities),
        purpose=purpose,
    )
    return None if row is None else Used(**row)
