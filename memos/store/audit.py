"""The audit trail: one row per act, each hashed over the one before it, per tenant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.rules.header import canonical, instant
from memos.rules.versioning import GENESIS
from memos.store.engine import Transaction


@dataclass(frozen=True, slots=True)
class Act:
    """One row of the trail. `hash` and `previous` are hexadecimal."""

    seq: int
    at: datetime
    key_id: UUID | None
    action: str
    cube_id: UUID | None
    target: str
    detail: dict[str, Any]
    previous: str
    hash: str


def list_page(
    tx: Transaction,
    *,
    action: str | None,
    key_id: UUID | None,
    cube_id: UUID | None,
    only: Sequence[UUID] | None,
    limit: int,
    before: int | None,
) -> list[Act]:
    """Newest first. `action` is a whole one (`cube.create`) or what stands before its dot (`cube`)."""
    rows = tx.rows(
        "SELECT seq, at, key_id, action, cube_id, target, detail, encode(previous, 'hex') AS previous, "
        "encode(hash, 'hex') AS hash FROM audit WHERE tenant_id = :tenant "
        "AND (CAST(:action AS text) IS NULL OR action = :action OR starts_with(action, :action || '.')) "
        "AND (CAST(:key AS uuid) IS NULL OR key_id = :key) AND (CAST(:cube AS uuid) IS NULL OR cube_id = :cube) "
        "AND (CAST(:only AS uuid[]) IS NULL OR cube_id = ANY(:only)) "
        "AND (CAST(:before AS bigint) IS NULL OR seq < :before) ORDER BY seq DESC LIMIT :limit",
        action=action,
        key=key_id,
        cube=cube_id,
        only=only,
        before=before,
        limit=limit,
    )
    return [Act(**row) for row in rows]


def head(tx: Transaction) -> tuple[int, str]:
    """(the number of the last row, its hash in hexadecimal) as the chain's own record has them; (0, genesis) before any."""
    row = tx.row("SELECT seq, encode(hash, 'hex') AS hash FROM audit_heads WHERE tenant_id = :tenant")
    return (int(row["seq"]), row["hash"]) if row else (0, GENESIS.hex())


def record(
    tx: Transaction,
    key_id: UUID | None,
    action: str,
    now: datetime,
    *,
    cube_id: UUID | None = None,
    target: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Append one act, in the transaction of the act itself. Never put memory content into `detail`."""
    detail = detail or {}
    tx.run(
        "INSERT INTO audit_heads (tenant_id, seq, hash) VALUES (:tenant, 0, :genesis) ON CONFLICT DO NOTHING",
        genesis=GENESIS,
    )
    head = tx.row("SELECT seq, hash FROM audit_heads WHERE tenant_id = :tenant FOR UPDATE")
    assert head is not None  # noqa: S101 - inserted above
    seq, previous = head["seq"] + 1, bytes(head["hash"])
    digest = link(previous, seq, now, key_id, action, cube_id, target, detail)
    tx.run(
        "WITH moved AS (UPDATE audit_heads SET seq = :seq, hash = :hash WHERE tenant_id = :tenant) "
        "INSERT INTO audit (tenant_id, seq, at, key_id, action, cube_id, target, detail, previous, hash) "
        "VALUES (:tenant, :seq, :at, :key, :action, :cube, :target, CAST(:detail AS jsonb), :previous, :hash)",
        seq=seq,
        hash=digest,
        at=now,
        key=key_id,
        action=action,
        cube=cube_id,
        target=target,
        detail=json.dumps(detail),
        previous=previous,
    )


def link(
    previous: bytes,
    seq: int,
    at: datetime,
    key_id: UUID | None,
    action: str,
    cube_id: UUID | None,
    target: str,
    detail: dict[str, Any],
) -> bytes:
    """The hash of one row of the chain."""
    body = [seq, instant(at), key_id and str(key_id), action, cube_id and str(cube_id), target, detail]
    return hashlib.sha256(previous + canonical(body)).digest()


def verify(tx: Transaction) -> tuple[int, int | None]:
    """(rows read, first seq that does not follow from the one before it or None). Rows missing at the end count too."""
    previous, read = GENESIS, 0
    for row in tx.stream("SELECT * FROM audit WHERE tenant_id = :tenant ORDER BY seq"):
        read += 1
        expected = link(
            previous, read, row["at"], row["key_id"], row["action"], row["cube_id"], row["target"], row["detail"]
        )
        if row["seq"] != read or bytes(row["hash"]) != expected:
            return read, row["seq"]
        previous = expected
    if head(tx) != (read, previous.hex()):
        return read, read + 1
    return read, None
