"""Tenants and their keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import uuid_utils.compat as uuid_utils
from sqlalchemy import Connection, text

from memos.errors import Conflict, NotFound
from memos.rules.access import ALL_SCOPES, LABELS, Principal, Scope, hash_key
from memos.rules.header import Sensitivity
from memos.store.schema import owner_connection
from memos.store.transaction import Transaction

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class TenantView:
    id: UUID
    name: str
    operator: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeyView:
    id: UUID
    name: str
    scopes: list[str]
    cube_ids: list[UUID] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    clearance: str
    rotated_at: datetime | None
    previous_until: datetime | None


_KEY = ", ".join(KeyView.__dataclass_fields__)


def bootstrap(owner_url: str, key: str) -> bool:
    """The operating tenant `default` with its owner key; whether the key is new. Runs as the schema's owner, because
    the app role may not make an operator."""
    with owner_connection(owner_url) as connection:
        tenant_id = _become_default(connection) or uuid_utils.uuid7()
        _become(connection, tenant_id)
        connection.execute(
            text("INSERT INTO tenants (id, name, operator) VALUES (:id, :name, true) ON CONFLICT (id) DO NOTHING"),
            {"id": tenant_id, "name": DEFAULT_TENANT},
        )
        made = connection.execute(
            text(
                "INSERT INTO api_keys (tenant_id, id, name, hash, scopes) VALUES (:tenant, :id, 'owner', :hash, :scopes) "
                "ON CONFLICT (hash) DO NOTHING"
            ),
            {"tenant": tenant_id, "id": uuid_utils.uuid7(), "hash": hash_key(key), "scopes": sorted(ALL_SCOPES)},
        ).rowcount
        connection.commit()
    return bool(made)


def has_keys(owner_url: str) -> bool:
    """Whether the operating tenant has a key that works."""
    with owner_connection(owner_url) as connection:
        if (tenant_id := _become_default(connection)) is None:
            return False
        _become(connection, tenant_id)
        found = connection.execute(text("SELECT 1 FROM api_keys WHERE revoked_at IS NULL LIMIT 1")).scalar()
    return found is not None


def _become_default(connection: Connection) -> UUID | None:
    """The default tenant's id. Row-level security binds the owner too, so the question is asked as `memos_system`."""
    connection.execute(text("SET LOCAL ROLE memos_system"))
    found = connection.execute(text("SELECT id FROM tenants WHERE name = :name"), {"name": DEFAULT_TENANT}).scalar()
    connection.execute(text("RESET ROLE"))
    return found


def _become(connection: Connection, tenant_id: UUID) -> None:
    connection.execute(text("SELECT set_config('memos.tenant_id', :tenant, true)"), {"tenant": str(tenant_id)})


def create(tx: Transaction, name: str) -> TenantView:
    """A tenant of its own. The database refuses unless the caller's tenant operates the service."""
    tenant_id = uuid_utils.uuid7()
    made = tx.scalar("SELECT memos_create_tenant(CAST(:id AS uuid), :name)", id=tenant_id, name=name)
    if not made:
        raise Conflict(f"a tenant named {name!r} exists already")
    return find(tx, str(tenant_id))


def list_tenants(tx: Transaction) -> list[TenantView]:
    """Every tenant for the operator, one's own for anybody else."""
    return [TenantView(**row) for row in tx.rows("SELECT id, name, operator, created_at FROM memos_list_tenants()")]


def find(tx: Transaction, reference: str) -> TenantView:
    """A tenant by id or name, among those the caller may see."""
    if (tenant := known(tx, reference)) is None:
        raise NotFound("no such tenant")
    return tenant


def known(tx: Transaction, reference: str) -> TenantView | None:
    """The same, or nothing."""
    return next((one for one in list_tenants(tx) if reference in (str(one.id), one.name)), None)


def insert_key(
    tx: Transaction,
    key: str,
    name: str,
    scopes: frozenset[Scope],
    cube_ids: Sequence[UUID] | None,
    expires_at: datetime | None,
    clearance: str = Sensitivity.SECRET,
) -> KeyView:
    row = tx.row(
        "INSERT INTO api_keys (tenant_id, id, name, hash, scopes, cube_ids, expires_at, clearance) "
        f"VALUES (:tenant, :id, :name, :hash, :scopes, CAST(:cubes AS uuid[]), :expires, :clearance) RETURNING {_KEY}",
        id=uuid_utils.uuid7(),
        name=name,
        hash=hash_key(key),
        scopes=sorted(scopes),
        cubes=None if cube_ids is None else list(cube_ids),
        expires=expires_at,
        clearance=clearance,
    )
    assert row is not None  # noqa: S101 - a random key cannot collide
    return KeyView(**row)


def find_key(tx: Transaction, key_id: UUID) -> KeyView | None:
    row = tx.row(f"SELECT {_KEY} FROM api_keys WHERE tenant_id = :tenant AND id = :id", id=key_id)
    return None if row is None else KeyView(**row)


def has_key(tx: Transaction, key_id: UUID) -> bool:
    return find_key(tx, key_id) is not None


def key_names(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, str]:
    """What those of these keys that are this tenant's are called; '' for one without a name."""
    rows = tx.tuples("SELECT id, name FROM api_keys WHERE tenant_id = :tenant AND id = ANY(:ids)", ids=list(ids))
    return dict(rows)


def rotate_key(tx: Transaction, key_id: UUID, key: str, until: datetime, now: datetime) -> KeyView | None:
    """A new secret for a key that is not revoked; the one before works until then, and the one before that no more."""
    row = tx.row(
        "UPDATE api_keys SET previous_hash = hash, previous_until = :until, hash = :hash, rotated_at = :now "
        f"WHERE tenant_id = :tenant AND id = :id AND revoked_at IS NULL RETURNING {_KEY}",
        id=key_id,
        hash=hash_key(key),
        until=until,
        now=now,
    )
    return None if row is None else KeyView(**row)


def list_keys(tx: Transaction, limit: int, after: UUID | None) -> list[KeyView]:
    rows = tx.rows(
        f"SELECT {_KEY} FROM api_keys WHERE tenant_id = :tenant AND (CAST(:after AS uuid) IS NULL OR id > :after) "
        "ORDER BY id LIMIT :limit",
        after=after,
        limit=limit,
    )
    return [KeyView(**row) for row in rows]


def principal(tx: Transaction, key_id: UUID) -> Principal | None:
    """Who a key of this tenant is, by its id; None when it was revoked, has expired or never was."""
    row = tx.row(
        "SELECT t.id AS tenant_id, t.name AS tenant_name, t.operator, k.scopes, k.cube_ids, k.clearance FROM api_keys k "
        "JOIN tenants t ON t.id = k.tenant_id WHERE k.tenant_id = :tenant AND k.id = :id AND k.revoked_at IS NULL "
        "AND (k.expires_at IS NULL OR k.expires_at > now())",
        id=key_id,
    )
    if row is None:
        return None
    return Principal(
        tenant_id=row["tenant_id"],
        tenant_name=row["tenant_name"],
        key_id=key_id,
        scopes=frozenset(Scope(scope) for scope in row["scopes"]),
        cube_ids=None if row["cube_ids"] is None else frozenset(row["cube_ids"]),
        operator=row["operator"],
        clearance=LABELS.index(Sensitivity(row["clearance"])),
    )


def revoke_key(tx: Transaction, key_id: UUID) -> bool:
    """Whether the caller's tenant has this key. Revoking twice is once."""
    return bool(
        tx.run(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = :tenant AND id = :id",
            id=key_id,
        )
    )
