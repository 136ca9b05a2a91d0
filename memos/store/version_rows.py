"""Versions and contents on their way into their tables: many rows in one statement."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from memos.rules.header import Draft
from memos.store.transaction import Transaction


def fresh_ids(tx: Transaction, table: str, n: int) -> list[int]:
    """`n` fresh ids, so that rows of several tables can name one another before any is written."""
    if not n:
        return []
    rows = tx.rows(
        "SELECT nextval(pg_get_serial_sequence(:table, 'id')) AS id FROM generate_series(1, :n)", table=table, n=n
    )
    return [row["id"] for row in rows]


@dataclass(frozen=True, slots=True)
class Seal:
    """What binds a version to what it says; see `rules.versioning`."""

    fingerprint: bytes
    salt: bytes
    commitment: bytes


def record(
    draft: Draft,
    *,
    version_id: int,
    memory_id: UUID,
    version: int,
    content_id: int | None,
    tombstone: bool,
    previous_id: int | None,
    seal: Seal,
) -> dict[str, object]:
    """One row of `INSERT_VERSIONS`, as JSON takes it."""
    return {
        "id": version_id,
        "memory_id": str(memory_id),
        "version": version,
        "tombstone": tombstone,
        "state": draft.state,
        "kind": draft.kind,
        "content_id": content_id,
        "dedup_key": _hex(draft.dedup_key),
        "external_id": draft.external_id,
        "session_id": draft.session_id,
        "ordinal": draft.ordinal,
        "role": draft.role,
        "name": draft.name,
        "title": draft.title,
        "source": draft.source,
        "created_at": draft.created_at.isoformat(),
        "valid_from": draft.valid_from and draft.valid_from.isoformat(),
        "valid_to": draft.valid_to and draft.valid_to.isoformat(),
        "expires_at": draft.expires_at and draft.expires_at.isoformat(),
        "priority": draft.priority,
        "sensitivity": draft.sensitivity,
        "trust": draft.trust,
        "origin": draft.origin,
        "tags": list(draft.tags),
        "metadata": dict(draft.metadata),
        "merged_into": draft.merged_into and str(draft.merged_into),
        "quarantined": draft.quarantined,
        "action": draft.action,
        "previous_id": previous_id,
        "state_before": draft.state_before,
        "fingerprint": _hex(seal.fingerprint),
        "salt": _hex(seal.salt),
        "commitment": _hex(seal.commitment),
    }


def _hex(value: bytes | None) -> str | None:
    return None if value is None else "\\x" + value.hex()


# One JSON document carries any number of rows with their arrays; the column list is the record's.
_TYPES = {
    "id": "bigint", "memory_id": "uuid", "version": "integer", "tombstone": "boolean", "state": "text", "kind": "text",
    "content_id": "bigint", "dedup_key": "bytea", "external_id": "text", "session_id": "text", "ordinal": "integer",
    "role": "text", "name": "text", "title": "text", "source": "text", "created_at": "timestamptz",
    "valid_from": "timestamptz", "valid_to": "timestamptz", "expires_at": "timestamptz", "priority": "real",
    "sensitivity": "text", "trust": "real", "origin": "text", "tags": "text[]", "metadata": "jsonb",
    "merged_into": "uuid", "quarantined": "boolean", "action": "text", "previous_id": "bigint", "state_before": "text",
    "fingerprint": "bytea",
    "salt": "bytea", "commitment": "bytea",
}  # fmt: skip
INSERT_VERSIONS = (
    f"INSERT INTO memory_versions (tenant_id, cube_id, branch_id, from_revision, recorded_at, {', '.join(_TYPES)}) "
    f"SELECT :tenant, :cube, :branch, :number, :now, {', '.join('r.' + name for name in _TYPES)} "
    f"FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r ({', '.join(f'{n} {t}' for n, t in _TYPES.items())})"
)
INSERT_CONTENTS = (
    "INSERT INTO contents (tenant_id, id, cube_id, memory_id, text, sha256, embedding, terms, counts, length, "
    "tokens) VALUES (:tenant, :id, :cube, :memory, :text, :sha256, :embedding, :terms, "
    ":counts, :length, :tokens)"
)
