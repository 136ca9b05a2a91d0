"""Events: what happened, told in the transaction in which it happened.

`emit` only remembers; just before the commit all events of a transaction are numbered and written, and a delivery is
made for each webhook that asked for one. The lock on a stream's number is so the last one a writer takes, and is held for
no longer than the commit: numbers have no gaps and follow the commits.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.rules.header import instant
from memos.store import jobs
from memos.store.engine import Database
from memos.store.transaction import Transaction

DELIVER = "deliver"
"""The kind of job that sends what waits for a webhook. Its own end is no event, or one would follow the other for ever."""


@dataclass(frozen=True, slots=True)
class Event:
    """`seq` numbers a stream from 1 without gaps; `data` holds ids, names of kinds and numbers."""

    id: UUID
    seq: int
    kind: str
    cube_id: UUID | None
    created_at: datetime
    data: Mapping[str, Any]

    def wire(self) -> dict[str, Any]:
        """As it is sent."""
        return {
            "id": str(self.id),
            "seq": self.seq,
            "kind": self.kind,
            "cube_id": None if self.cube_id is None else str(self.cube_id),
            "created_at": instant(self.created_at),
            "data": dict(self.data),
        }


@dataclass(frozen=True, slots=True)
class _Waiting:
    stream_id: UUID
    kind: str
    data: Mapping[str, Any]


def emit(tx: Transaction, kind: str, *, cube_id: UUID | None = None, **data: Any) -> None:
    """Say that this happened, if the transaction commits. `kind` is one of `rules.webhooks.KINDS`.

    Never put anything into `data` that a memory says, nor a reason that a caller gives: events leave the service.
    """
    if not tx.outbox:
        tx.before_commit(lambda: _write(tx))
    tx.outbox.append(_Waiting(cube_id or tx.tenant_id, kind, data))


def page(tx: Transaction, stream_id: UUID, after: int, limit: int) -> list[Event]:
    """The events of a stream that follow number `after`, oldest first."""
    rows = tx.rows(
        "SELECT id, seq, kind, created_at, data FROM events WHERE tenant_id = :tenant AND stream_id = :stream "
        "AND seq > :after ORDER BY seq LIMIT :limit",
        stream=stream_id,
        after=after,
        limit=limit,
    )
    return [Event(cube_id=_cube(tx, stream_id), **row) for row in rows]


def last(tx: Transaction, stream_id: UUID) -> int:
    """The number of the newest event, 0 before the first."""
    return int(
        tx.scalar(
            "SELECT coalesce((SELECT last FROM event_heads WHERE tenant_id = :tenant AND stream_id = :stream), 0)",
            stream=stream_id,
        )
    )


def heads(database: Database, streams: Collection[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], int]:
    """How far each of these (tenant, stream) is. One statement, however many."""
    asked = list(streams)
    rows = database.call(
        "SELECT tenant_id, stream_id, last FROM memos_event_heads(CAST(:tenants AS uuid[]), CAST(:streams AS uuid[]))",
        tenants=[tenant for tenant, _ in asked],
        streams=[stream for _, stream in asked],
    )
    return {(row["tenant_id"], row["stream_id"]): row["last"] for row in rows}


def purge(tx: Transaction, before: datetime) -> int:
    """Forget events from before that time, and where the streams of deleted cubes had got to."""
    gone = tx.run("DELETE FROM events WHERE tenant_id = :tenant AND created_at < :before", before=before)
    tx.run(
        "DELETE FROM event_heads h WHERE h.tenant_id = :tenant AND h.stream_id <> :tenant AND NOT EXISTS "
        "(SELECT 1 FROM cubes c WHERE c.tenant_id = h.tenant_id AND c.id = h.stream_id) AND NOT EXISTS "
        "(SELECT 1 FROM events e WHERE e.tenant_id = h.tenant_id AND e.stream_id = h.stream_id)"
    )
    return gone


# ---------------------------------------------------------------- just before the commit

WRITE = (
    "WITH head AS (INSERT INTO event_heads (tenant_id, stream_id, last) VALUES (:tenant, :stream, :n) "
    "  ON CONFLICT (tenant_id, stream_id) DO UPDATE SET last = event_heads.last + :n RETURNING last), "
    "made AS (INSERT INTO events (tenant_id, stream_id, seq, id, kind, created_at, data) "
    "  SELECT :tenant, :stream, head.last - :n + e.place, CAST(e.value ->> 'id' AS uuid), e.value ->> 'kind', :now, "
    "  e.value -> 'data' FROM head, jsonb_array_elements(CAST(:events AS jsonb)) WITH ORDINALITY AS e (value, place) "
    "  RETURNING id, seq, kind, created_at, data) "
    "SELECT made.*, w.id AS webhook_id, w.paused_until FROM made JOIN webhooks w ON w.tenant_id = :tenant AND w.active "
    "AND (w.kinds = '{}' OR made.kind = ANY(w.kinds)) AND (w.cube_ids IS NULL OR :stream = ANY(w.cube_ids)) "
    "ORDER BY w.id, made.seq"
)


def _write(tx: Transaction) -> None:
    """In an order that is the same for every writer: streams by id, then the jobs of webhooks by id."""
    now = datetime.now(UTC)
    waiting: list[_Waiting] = sorted(tx.outbox, key=lambda event: event.stream_id)
    asked: list[Any] = []
    for stream_id, events in groupby(waiting, key=lambda event: event.stream_id):
        records = [{"id": str(uuid_utils.uuid7()), "kind": e.kind, "data": dict(e.data)} for e in events]
        rows = tx.rows(WRITE, stream=stream_id, n=len(records), events=json.dumps(records, default=str), now=now)
        asked += [(row, stream_id) for row in rows]
    if asked:
        _queue(tx, asked, now)


def _queue(tx: Transaction, asked: Sequence[tuple[Any, UUID]], now: datetime) -> None:
    for row, stream_id in asked:
        event = Event(row["id"], row["seq"], row["kind"], _cube(tx, stream_id), row["created_at"], row["data"])
        queue(tx, row["webhook_id"], event, now)
    for webhook_id, paused_until in sorted({(row["webhook_id"], row["paused_until"]) for row, _ in asked}, key=str):
        promise_delivery(tx, webhook_id, 0.0 if paused_until is None else (paused_until - now).total_seconds())


def queue(tx: Transaction, webhook_id: UUID, event: Event, now: datetime) -> UUID:
    """A delivery of `event`, due at once; its id."""
    delivery_id = uuid_utils.uuid7()
    tx.run(
        "INSERT INTO deliveries (tenant_id, id, webhook_id, event_id, kind, body, next_at, created_at) VALUES "
        "(:tenant, :id, :webhook, :event, :kind, CAST(:body AS jsonb), :now, :now)",
        id=delivery_id,
        webhook=webhook_id,
        event=event.id,
        kind=event.kind,
        body=json.dumps(event.wire()),
        now=now,
    )
    return delivery_id


def promise_delivery(tx: Transaction, webhook_id: UUID, delay_s: float) -> None:
    """See that somebody sends what waits for the webhook; an earlier promise stands."""
    jobs.promise(
        tx, DELIVER, payload={"webhook_id": str(webhook_id)}, dedup_key=str(webhook_id), delay_s=max(0.0, delay_s)
    )


def _cube(tx: Transaction, stream_id: UUID) -> UUID | None:
    return None if stream_id == tx.tenant_id else stream_id
