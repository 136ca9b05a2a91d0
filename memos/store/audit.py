"""The audit trail: one row per act, each hashed over the one before it, per tenant."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.rules.header import canonical, instant
from memos.rules.versioning import GENESIS
from memos.store.engine import Transaction


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
    """(rows read, first seq that does not follow from the one before it or None)."""
    previous, read = GENESIS, 0
    for row in tx.stream("SELECT * FROM audit WHERE tenant_id = :tenant ORDER BY seq"):
        read += 1
        expected = link(
            previous, read, row["at"], row["key_id"], row["action"], row["cube_id"], row["target"], row["detail"]
        )
        if row["seq"] != read or bytes(row["hash"]) != expected:
            return read, row["seq"]
        previous = expected
    return read, None
