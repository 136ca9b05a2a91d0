"""Webhooks and the log of what was sent to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.errors import NotFound
from memos.store.engine import Database
from memos.store.transaction import Transaction

MOST_WEBHOOKS = 50
"""Of one tenant: each event is written once for every one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An endpoint. `kinds` empty means all, `cube_ids` of None every cube; `failures` counts those in a row."""

    id: UUID
    url: str
    description: str
    kinds: list[str]
    cube_ids: list[UUID] | None
    active: bool
    generation: int
    rotated_at: datetime | None
    failures: int
    paused_until: datetime | None
    delivered_at: datetime | None
    created_by: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one endpoint. `attempts` are `{at, status, error, took_ms}`, oldest first."""

    id: UUID
    webhook_id: UUID
    event_id: UUID
    kind: str
    body: dict[str, Any]
    state: str
    attempts: list[dict[str, Any]]
    tries: int
    next_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


_WEBHOOK = ", ".join(Webhook.__dataclass_fields__)
_DELIVERY = ", ".join(Delivery.__dataclass_fields__)


def create(
    tx: Transaction, url: str, description: str, kinds: list[str], cube_ids: list[UUID] | None, created_by: UUID
) -> Webhook:
    row = tx.row(
        "INSERT INTO webhooks (tenant_id, id, url, description, kinds, cube_ids, created_by) VALUES "
        f"(:tenant, :id, :url, :description, :kinds, CAST(:cubes AS uuid[]), :author) RETURNING {_WEBHOOK}",
        id=uuid_utils.uuid7(),
        url=url,
        description=description,
        kinds=kinds,
        cubes=cube_ids,
        author=created_by,
    )
    assert row is not None  # noqa: S101 - an insert returns its row
    return Webhook(**row)


def count(tx: Transaction) -> int:
    return int(tx.scalar("SELECT count(*) FROM webhooks WHERE tenant_id = :tenant"))


def find(tx: Transaction, webhook_id: UUID) -> Webhook:
    row = tx.row(f"SELECT {_WEBHOOK} FROM webhooks WHERE tenant_id = :tenant AND id = :id", id=webhook_id)
    if row is None:
        raise NotFound("no such webhook")
    return Webhook(**row)


def list_page(tx: Transaction, limit: int, after: UUID | None) -> list[Webhook]:
    rows = tx.rows(
        f"SELECT {_WEBHOOK} FROM webhooks WHERE tenant_id = :tenant AND (CAST(:after AS uuid) IS NULL OR id > :after) "
        "ORDER BY id LIMIT :limit",
        after=after,
        limit=limit,
    )
    return [Webhook(**row) for row in rows]


def update(tx: Transaction, hook: Webhook) -> Webhook:
    """What a caller may change. One that is switched on again begins without its failures."""
    tx.run(
        "UPDATE webhooks SET url = :url, description = :description, kinds = :kinds, cube_ids = CAST(:cubes AS uuid[]), "
        "active = :active, failures = 0, paused_until = NULL WHERE tenant_id = :tenant AND id = :id",
        id=hook.id,
        url=hook.url,
        description=hook.description,
        kinds=hook.kinds,
        cubes=hook.cube_ids,
        active=hook.active,
    )
    return find(tx, hook.id)


def rotate(tx: Transaction, webhook_id: UUID, now: datetime) -> Webhook:
    tx.run(
        "UPDATE webhooks SET generation = generation + 1, rotated_at = :now WHERE tenant_id = :tenant AND id = :id",
        id=webhook_id,
        now=now,
    )
    return find(tx, webhook_id)


def delete(tx: Transaction, webhook_id: UUID) -> bool:
    """With its deliveries; whether it was there."""
    return bool(tx.run("DELETE FROM webhooks WHERE tenant_id = :tenant AND id = :id", id=webhook_id))


# ---------------------------------------------------------------- deliveries


def deliveries(tx: Transaction, webhook_id: UUID, state: str | None, limit: int, before: UUID | None) -> list[Delivery]:
    """Newest first."""
    rows = tx.rows(
        f"SELECT {_DELIVERY} FROM deliveries WHERE tenant_id = :tenant AND webhook_id = :webhook "
        "AND (CAST(:state AS text) IS NULL OR state = :state) AND (CAST(:before AS uuid) IS NULL OR id < :before) "
        "ORDER BY id DESC LIMIT :limit",
        webhook=webhook_id,
        state=state,
        before=before,
        limit=limit,
    )
    return [Delivery(**row) for row in rows]


def due(tx: Transaction, webhook_id: UUID, most: int) -> list[Delivery]:
    """What is to be sent now, oldest first."""
    rows = tx.rows(
        f"SELECT {_DELIVERY} FROM deliveries WHERE tenant_id = :tenant AND webhook_id = :webhook AND state = 'waiting' "
        "AND next_at <= now() ORDER BY next_at, id LIMIT :most",
        webhook=webhook_id,
        most=most,
    )
    return [Delivery(**row) for row in rows]


def next_in_s(tx: Transaction, webhook_id: UUID) -> float | None:
    """Seconds until the next delivery is due, negative when one is overdue, None when nothing waits."""
    found = tx.scalar(
        "SELECT extract(epoch FROM min(greatest(next_at, w.paused_until)) - now()) FROM deliveries d JOIN webhooks w "
        "ON w.tenant_id = d.tenant_id AND w.id = d.webhook_id AND w.active "
        "WHERE d.tenant_id = :tenant AND d.webhook_id = :webhook AND d.state = 'waiting'",
        webhook=webhook_id,
    )
    return None if found is None else float(found)


def attempted(
    tx: Transaction, delivery: Delivery, entry: dict[str, Any], state: str, next_at: datetime | None, now: datetime
) -> None:
    """Add to a delivery's log and say what becomes of it."""
    tx.run(
        "UPDATE deliveries SET attempts = attempts || CAST(:entry AS jsonb), tries = tries + 1, state = :state, "
        "next_at = :next, ended_at = CASE WHEN :state <> 'waiting' THEN CAST(:now AS timestamptz) END "
        "WHERE tenant_id = :tenant AND id = :id",
        id=delivery.id,
        entry=json.dumps([entry]),
        state=state,
        next=next_at,
        now=now,
    )


def succeeded(tx: Transaction, webhook_id: UUID, now: datetime) -> None:
    tx.run(
        "UPDATE webhooks SET failures = 0, paused_until = NULL, delivered_at = :now "
        "WHERE tenant_id = :tenant AND id = :id",
        id=webhook_id,
        now=now,
    )


def failed(tx: Transaction, webhook_id: UUID, paused_until: datetime | None, *, active: bool) -> None:
    tx.run(
        "UPDATE webhooks SET failures = failures + 1, paused_until = :until, active = active AND :active "
        "WHERE tenant_id = :tenant AND id = :id",
        id=webhook_id,
        until=paused_until,
        active=active,
    )


def redeliver(tx: Transaction, webhook_id: UUID, delivery_id: UUID, now: datetime) -> Delivery:
    """Due at once, with its tries forgiven. Raises `NotFound`."""
    row = tx.row(
        "UPDATE deliveries SET state = 'waiting', tries = 0, next_at = :now, ended_at = NULL "
        f"WHERE tenant_id = :tenant AND webhook_id = :webhook AND id = :id RETURNING {_DELIVERY}",
        webhook=webhook_id,
        id=delivery_id,
        now=now,
    )
    if row is None:
        raise NotFound("no such delivery")
    return Delivery(**row)


def purge(tx: Transaction, before: datetime) -> int:
    """Forget deliveries that ended, well or not, before that time."""
    return tx.run(
        "DELETE FROM deliveries WHERE tenant_id = :tenant AND state <> 'waiting' AND ended_at < :before", before=before
    )


def depths(database: Database) -> list[tuple[str, int, float]]:
    """(state, deliveries, seconds the oldest is due or dead) of all tenants, of those that wait or were given up."""
    rows = database.call("SELECT state, deliveries, oldest_s FROM memos_delivery_depths()")
    return [(row["state"], row["deliveries"], row["oldest_s"]) for row in rows]
