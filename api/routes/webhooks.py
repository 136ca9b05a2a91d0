"""Webhooks: who is told of events, and what they were told."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path, Query
from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller, CursorQuery, LimitQuery
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.events import DeliveryOut, NewWebhookOut, WebhookIn, WebhookOut, WebhookPatch
from memos.rules.access import Scope
from memos.services import webhooks

routes = Routes("Events")

WebhookId = Annotated[UUID, Path()]
DeliveryId = Annotated[UUID, Path()]
State = Annotated[Literal["waiting", "delivered", "dead"] | None, Query(description="Only these.")]


@routes.add(
    "POST",
    "/v1/webhooks",
    scope=Scope.ADMIN,
    summary="Create a webhook",
    answer=NewWebhookOut,
    status=201,
    fails=(404, 409),
    # The answer holds the secret, which is stored nowhere.
    repeatable=False,
)
def create_webhook(call: Caller, body: WebhookIn) -> Response:
    """The endpoint is told of each event that is committed from now on, signed, at least once, with ten tries over
    sixteen hours. The secret is shown in this answer and never again; an `Idempotency-Key` is therefore not honoured."""
    with call.writing() as tx:
        made = webhooks.create(
            tx,
            call.who,
            call.app.settings,
            url=body.url,
            kinds=body.kinds,
            cube_refs=body.cubes,
            description=body.description,
            now=call.now,
        )
    return answer(NewWebhookOut, made, status=201)


@routes.add("GET", "/v1/webhooks", scope=Scope.ADMIN, summary="List webhooks", answer=Page[WebhookOut])
def list_webhooks(call: Caller, limit: LimitQuery = 50, cursor: CursorQuery = None) -> Response:
    """Without their secrets."""
    with call.reading() as tx:
        found = webhooks.list_webhooks(tx, call.who, limit=limit, cursor=cursor)
    return answer(Page[WebhookOut], found)


@routes.add(
    "GET", "/v1/webhooks/{webhook_id}", scope=Scope.ADMIN, summary="Read a webhook", answer=WebhookOut, fails=(404,)
)
def get_webhook(call: Caller, webhook_id: WebhookId) -> Response:
    """How it is set up, and how it is doing."""
    with call.reading() as tx:
        found = webhooks.get(tx, call.who, webhook_id)
    return answer(WebhookOut, found)


@routes.add(
    "PATCH", "/v1/webhooks/{webhook_id}", scope=Scope.ADMIN, summary="Change a webhook", answer=WebhookOut, fails=(404,)
)
def update_webhook(call: Caller, webhook_id: WebhookId, body: WebhookPatch) -> Response:
    """What is not sent stays. Any change forgives past failures."""
    with call.writing() as tx:
        hook = webhooks.update(
            tx,
            call.who,
            call.app.settings,
            webhook_id,
            url=body.url,
            kinds=body.kinds,
            cube_refs=body.cubes,
            description=body.description,
            active=body.active,
            now=call.now,
        )
        return call.keep(tx, 200, WebhookOut, hook)


@routes.add(
    "DELETE",
    "/v1/webhooks/{webhook_id}",
    scope=Scope.ADMIN,
    summary="Delete a webhook",
    answer=None,
    status=204,
    fails=(404,),
)
def delete_webhook(call: Caller, webhook_id: WebhookId) -> Response:
    """With its log, and with what waits."""
    with call.writing() as tx:
        webhooks.delete(tx, call.who, webhook_id, now=call.now)
        return call.keep(tx, 204)


@routes.add(
    "POST",
    "/v1/webhooks/{webhook_id}/rotate",
    scope=Scope.ADMIN,
    summary="Give a webhook a new secret",
    answer=NewWebhookOut,
    fails=(404,),
    repeatable=False,
)
def rotate_webhook(call: Caller, webhook_id: WebhookId) -> Response:
    """For 24 hours messages carry two signatures, of the new secret and of the one before, so that the receiver can
    change over. Shown this once; an `Idempotency-Key` is therefore not honoured."""
    with call.writing() as tx:
        made = webhooks.rotate(tx, call.who, call.app.settings, webhook_id, now=call.now)
    return answer(NewWebhookOut, made)


@routes.add(
    "POST",
    "/v1/webhooks/{webhook_id}/ping",
    scope=Scope.ADMIN,
    summary="Try a webhook",
    answer=DeliveryOut,
    status=202,
    fails=(404,),
)
def ping_webhook(call: Caller, webhook_id: WebhookId) -> Response:
    """Sends an event of the kind `webhook.ping` to this endpoint alone; its log says how it went."""
    with call.writing() as tx:
        made = webhooks.ping(tx, call.who, webhook_id, now=call.now)
        return call.keep(tx, 202, DeliveryOut, made)


@routes.add(
    "GET",
    "/v1/webhooks/{webhook_id}/deliveries",
    scope=Scope.ADMIN,
    summary="List deliveries",
    answer=Page[DeliveryOut],
    fails=(404,),
)
def list_deliveries(
    call: Caller, webhook_id: WebhookId, state: State = None, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> Response:
    """Newest first, with every try; kept for 30 days after they ended."""
    with call.reading() as tx:
        found = webhooks.list_deliveries(tx, call.who, webhook_id, state=state, limit=limit, cursor=cursor)
    return answer(Page[DeliveryOut], found)


@routes.add(
    "POST",
    "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
    scope=Scope.ADMIN,
    summary="Deliver once more",
    answer=DeliveryOut,
    status=202,
    fails=(404,),
)
def redeliver(call: Caller, webhook_id: WebhookId, delivery_id: DeliveryId) -> Response:
    """Whatever became of it before: the same event under the same id, with ten fresh tries."""
    with call.writing() as tx:
        found = webhooks.redeliver(tx, call.who, webhook_id, delivery_id, now=call.now)
        return call.keep(tx, 202, DeliveryOut, found)
