"""Answers kept under a caller's Idempotency-Key, written with the work they answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.errors import IdempotencyConflict
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Stored:
    status: int
    headers: dict[str, str]
    body: Any


def recall(tx: Transaction, key_id: UUID, key: str, request: bytes) -> Stored | None:
    """The answer this key got before. Raises `IdempotencyConflict` when it was for another request."""
    row = tx.row(
        "SELECT request, status, headers, body FROM idempotency WHERE tenant_id = :tenant AND key_id = :key_id AND key = :key",
        key_id=key_id,
        key=key,
    )
    if row is None:
        return None
    if bytes(row["request"]) != request:
        raise IdempotencyConflict(f"the Idempotency-Key {key!r} was used for another request; use a fresh one")
    return Stored(row["status"], row["headers"], row["body"])


def store(
    tx: Transaction, key_id: UUID, key: str, request: bytes, status: int, headers: dict[str, str], body: object
) -> Stored | None:
    """Keep an answer. When another request with this key was faster, its answer is returned and the caller must roll
    back: the insert waits for it to commit, so the two cannot both happen."""
    made = tx.run(
        "INSERT INTO idempotency (tenant_id, key_id, key, request, status, headers, body) VALUES "
        "(:tenant, :key_id, :key, :request, :status, CAST(:headers AS jsonb), CAST(:body AS jsonb)) "
        "ON CONFLICT (tenant_id, key_id, key) DO NOTHING",
        key_id=key_id,
        key=key,
        request=request,
        status=status,
        headers=json.dumps(headers),
        body=json.dumps(body),
    )
    return None if made else recall(tx, key_id, key, request)


def purge(tx: Transaction, before: datetime) -> int:
    """Forget answers older than that: their callers have long stopped repeating themselves."""
    return tx.run("DELETE FROM idempotency WHERE tenant_id = :tenant AND created_at < :before", before=before)
