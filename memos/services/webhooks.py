"""Webhooks: who is told of events, and the log of what was told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.errors import Conflict
from memos.rules import webhooks as rules
from memos.rules.access import Principal, Scope
from memos.services import signing
from memos.services.cursors import id_of
from memos.services.views import Page, page
from memos.settings import Settings
from memos.store import audit, cubes, events, webhooks
from memos.store.events import Event
from memos.store.transaction import Transaction
from memos.store.webhooks import MOST_WEBHOOKS, Delivery, Webhook


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A webhook with its secret: the only time it is shown."""

    webhook: Webhook
    secret: str

    @property
    def id(self) -> UUID:
        return self.webhook.id


def create(
    tx: Transaction,
    who: Principal,
    settings: Settings,
    *,
    url: str,
    kinds: Sequence[str],
    cube_refs: Sequence[str] | None,
    description: str,
    now: datetime,
) -> NewSecret:
    _require(who)
    rules.check_url(url, private=settings.webhook_private)
    rules.check_kinds(kinds)
    if webhooks.count(tx) >= MOST_WEBHOOKS:
        raise Conflict(f"a tenant may have {MOST_WEBHOOKS} webhooks; delete one that is not needed")
    made = webhooks.create(tx, url, description, sorted(set(kinds)), _cubes(tx, cube_refs), who.key_id)
    audit.record(tx, who.key_id, "webhook.create", now, target=str(made.id))
    return NewSecret(made, _secret(tx, settings, made))


def get(tx: Transaction, who: Principal, webhook_id: UUID) -> Webhook:
    _require(who)
    return webhooks.find(tx, webhook_id)


def list_webhooks(tx: Transaction, who: Principal, *, limit: int, cursor: str | None) -> Page[Webhook]:
    _require(who)
    return page(webhooks.list_page(tx, limit + 1, id_of(cursor)), limit, lambda hook: hook.id)


def update(
    tx: Transaction,
    who: Principal,
    settings: Settings,
    webhook_id: UUID,
    *,
    url: str | None,
    kinds: Sequence[str] | None,
    cube_refs: Sequence[str] | None,
    description: str | None,
    active: bool | None,
    now: datetime,
) -> Webhook:
    """Change what is given. Switching on goes on with what waits."""
    _require(who)
    hook = webhooks.find(tx, webhook_id)
    if url is not None:
        rules.check_url(url, private=settings.webhook_private)
        hook = replace(hook, url=url)
    if kinds is not None:
        rules.check_kinds(kinds)
        hook = replace(hook, kinds=sorted(set(kinds)))
    if cube_refs is not None:
        hook = replace(hook, cube_ids=_cubes(tx, cube_refs))
    if description is not None:
        hook = replace(hook, description=description)
    if active is not None:
        hook = replace(hook, active=active)
    hook = webhooks.update(tx, hook)
    if hook.active and webhooks.next_in_s(tx, hook.id) is not None:
        events.promise_delivery(tx, hook.id, 0)
    audit.record(tx, who.key_id, "webhook.update", now, target=str(webhook_id))
    return hook


def rotate(tx: Transaction, who: Principal, settings: Settings, webhook_id: UUID, *, now: datetime) -> NewSecret:
    """A new secret. For a day messages carry signatures of both."""
    _require(who)
    webhooks.find(tx, webhook_id)
    hook = webhooks.rotate(tx, webhook_id, now)
    audit.record(tx, who.key_id, "webhook.rotate", now, target=str(webhook_id))
    return NewSecret(hook, _secret(tx, settings, hook))


def delete(tx: Transaction, who: Principal, webhook_id: UUID, *, now: datetime) -> None:
    _require(who)
    webhooks.find(tx, webhook_id)
    webhooks.delete(tx, webhook_id)
    audit.record(tx, who.key_id, "webhook.delete", now, target=str(webhook_id))


def ping(tx: Transaction, who: Principal, webhook_id: UUID, *, now: datetime) -> Delivery:
    """An event for this webhook alone, which stands in no stream."""
    _require(who)
    hook = webhooks.find(tx, webhook_id)
    event = Event(uuid_utils.uuid7(), 0, "webhook.ping", None, now, {"webhook_id": str(hook.id)})
    delivery_id = events.queue(tx, hook.id, event, now)
    events.promise_delivery(tx, hook.id, 0)
    return next(d for d in webhooks.deliveries(tx, hook.id, None, 1, None) if d.id == delivery_id)


def list_deliveries(
    tx: Transaction, who: Principal, webhook_id: UUID, *, state: str | None, limit: int, cursor: str | None
) -> Page[Delivery]:
    _require(who)
    webhooks.find(tx, webhook_id)
    found = webhooks.deliveries(tx, webhook_id, state, limit + 1, id_of(cursor))
    return page(found, limit, lambda delivery: delivery.id)


def redeliver(tx: Transaction, who: Principal, webhook_id: UUID, delivery_id: UUID, *, now: datetime) -> Delivery:
    """Send it once more, with the same id and body, whatever became of it before."""
    _require(who)
    webhooks.find(tx, webhook_id)
    found = webhooks.redeliver(tx, webhook_id, delivery_id, now)
    events.promise_delivery(tx, webhook_id, 0)
    audit.record(tx, who.key_id, "webhook.redeliver", now, target=str(delivery_id))
    return found


def secrets_of(tenant_id: UUID, settings: Settings, hook: Webhook, now: datetime) -> list[str]:
    """Those that sign now: the present one, and for a while after a rotation the one before it."""
    root = signing.keyring(settings).webhooks
    both = hook.rotated_at is not None and now - hook.rotated_at < rules.OVERLAP
    generations = [hook.generation, hook.generation - 1] if both else [hook.generation]
    return [rules.secret_of(root, tenant_id, hook.id, generation) for generation in generations]


def _require(who: Principal) -> None:
    """Webhooks hear of every cube unless told otherwise: not for keys that are bound to some."""
    who.require(Scope.ADMIN)
    who.require_unbound()


def _secret(tx: Transaction, settings: Settings, hook: Webhook) -> str:
    return rules.secret_of(signing.keyring(settings).webhooks, tx.tenant_id, hook.id, hook.generation)


def _cubes(tx: Transaction, references: Sequence[str] | None) -> list[UUID] | None:
    return None if references is None else [cubes.find(tx, reference).id for reference in references]
