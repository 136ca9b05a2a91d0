"""Receipts as rows: promised with the job that erases, signed in its transaction, kept when the cube is gone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.errors import NotFound
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Receipt:
    """`body` is the signed document; None until the erasure has happened."""

    id: UUID
    cube_id: UUID
    job_id: UUID
    requested_by: UUID | None
    requested_at: datetime
    signed_at: datetime | None
    body: dict[str, Any] | None


_COLUMNS = ", ".join(Receipt.__dataclass_fields__)


def promise(tx: Transaction, receipt_id: UUID, cube_id: UUID, job_id: UUID, key_id: UUID | None, now: datetime) -> None:
    tx.run(
        "INSERT INTO receipts (tenant_id, id, cube_id, job_id, requested_by, requested_at) "
        "VALUES (:tenant, :id, :cube, :job, :key, :now)",
        id=receipt_id,
        cube=cube_id,
        job=job_id,
        key=key_id,
        now=now,
    )


def get(tx: Transaction, receipt_id: UUID) -> Receipt:
    row = tx.row(f"SELECT {_COLUMNS} FROM receipts WHERE tenant_id = :tenant AND id = :id", id=receipt_id)
    if row is None:
        raise NotFound("no such receipt")
    return Receipt(**row)


def list_page(tx: Transaction, only: Sequence[UUID] | None, limit: int, before: UUID | None) -> list[Receipt]:
    """Newest first, promised ones included."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM receipts WHERE tenant_id = :tenant "
        "AND (CAST(:only AS uuid[]) IS NULL OR cube_id = ANY(:only)) "
        "AND (CAST(:before AS uuid) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit",
        only=only,
        before=before,
        limit=limit,
    )
    return [Receipt(**row) for row in rows]


def keep(tx: Transaction, receipt_id: UUID, body: dict[str, Any], public_key: bytes, now: datetime) -> None:
    tx.run(
        "UPDATE receipts SET body = CAST(:body AS jsonb), public_key = :public, signed_at = :now "
        "WHERE tenant_id = :tenant AND id = :id AND body IS NULL",
        id=receipt_id,
        body=json.dumps(body),
        public=public_key,
        now=now,
    )


def signers(tx: Transaction) -> list[bytes]:
    """Public keys that have signed receipts of this tenant, the latest first."""
    rows = tx.rows(
        "SELECT public_key, max(signed_at) AS latest FROM receipts WHERE tenant_id = :tenant AND public_key IS NOT NULL "
        "GROUP BY public_key ORDER BY latest DESC"
    )
    return [bytes(row["public_key"]) for row in rows]
