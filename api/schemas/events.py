"""Events and webhooks on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from api.schemas.base import Input, Output, example
from api.schemas.fields import Description, Flag, Reference, Storable, Time
from api.schemas.limits import MAX_CUBES
from memos.rules.webhooks import KINDS

CUBE_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c11"
EVENT_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c20"
HOOK_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c21"
DELIVERY_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c22"
KEY_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c12"
EVENT = {
    "id": EVENT_ID,
    "seq": 7,
    "kind": "revision.committed",
    "cube_id": CUBE_ID,
    "created_at": "2026-08-01T09:30:00Z",
    "data": {"revision": 4, "branch": "main", "revision_kind": "write", "author": KEY_ID, "changes": 2},
}

Url = Annotated[Storable, Field(min_length=1, max_length=2_000)]
Kind = Annotated[Storable, Field(min_length=1, max_length=50)]
Kinds = Annotated[list[Kind], Field(max_length=len(KINDS))]
CubeRefs = Annotated[list[Reference], Field(min_length=1, max_length=MAX_CUBES)]


class EventOut(Output):
    """Something that happened: ids, names of kinds and numbers, never what a memory says."""

    model_config = example(**EVENT)

    id: UUID
    seq: int
    """Its number in the feed: from 1, without gaps, in the order of the commits. A `cursor` to go on from."""
    kind: str
    cube_id: UUID | None
    created_at: Time
    data: dict[str, Any]


class WebhookIn(Input):
    """A new webhook."""

    model_config = example(
        url="https://hooks.example.com/memos", kinds=["revision.committed"], cubes=None, description="search index"
    )

    url: Url
    """HTTPS, to an address of the open internet unless the operator allows others."""
    kinds: Annotated[Kinds, Field(default_factory=list)]
    """The kinds of events to be told of; all when empty."""
    cubes: CubeRefs | None = None
    """The cubes whose events to be told of, by id or name; every cube when absent."""
    description: Description = ""


class WebhookPatch(Input):
    """What is to change."""

    model_config = example(active=False)

    url: Url | None = None
    kinds: Kinds | None = None
    cubes: CubeRefs | None = None
    description: Description | None = None
    active: Flag | None = None
    """Whether events are queued for it. What waited while it was off is sent when it is on again."""


class WebhookOut(Output):
    """An endpoint that is told of events."""

    model_config = example(
        id=HOOK_ID,
        url="https://hooks.example.com/memos",
        description="search index",
        kinds=["revision.committed"],
        cube_ids=None,
        active=True,
        failures=0,
        paused_until=None,
        delivered_at="2026-08-01T09:30:01Z",
        rotated_at=None,
        created_by=KEY_ID,
        created_at="2026-08-01T09:00:00Z",
    )

    id: UUID
    url: str
    description: str
    kinds: list[str]
    cube_ids: list[UUID] | None
    active: bool
    """False when it was switched off, here or by the endpoint itself, which answered 410."""
    failures: int
    """In a row; the first success makes it 0."""
    paused_until: Time | None
    """An endpoint that keeps failing is left alone until then."""
    delivered_at: Time | None
    rotated_at: Time | None
    created_by: UUID
    created_at: Time


class NewWebhookOut(Output):
    """A webhook and its secret, shown this once."""

    model_config = example(
        id=HOOK_ID,
        webhook=WebhookOut.model_config["json_schema_extra"]["examples"][0],  # type: ignore[index]
        secret="whsec_shown-once",  # noqa: S106 - an example
    )

    id: UUID
    webhook: WebhookOut
    secret: str
    """Verifies `webhook-signature`: HMAC-SHA256 over `webhook-id.webhook-timestamp.body` (Standard Webhooks)."""


class AttemptOut(Output):
    """One try. `error` is one of timeout, unreachable, tls, forbidden_address, broken_answer."""

    model_config = example(at="2026-08-01T09:30:01Z", status=200, error=None, took_ms=48.2)

    at: Time
    status: int | None
    error: str | None
    took_ms: float


class DeliveryOut(Output):
    """One event for one endpoint, and every try to tell it."""

    model_config = example(
        id=DELIVERY_ID,
        webhook_id=HOOK_ID,
        event_id=EVENT_ID,
        kind="revision.committed",
        body=EVENT,
        state="delivered",
        attempts=[{"at": "2026-08-01T09:30:01Z", "status": 200, "error": None, "took_ms": 48.2}],
        next_at=None,
        created_at="2026-08-01T09:30:00Z",
        ended_at="2026-08-01T09:30:01Z",
    )

    id: UUID
    webhook_id: UUID
    event_id: UUID
    """Sent as `webhook-id`: the same for every try, so that a receiver can drop what it has seen."""
    kind: str
    body: dict[str, Any]
    state: Literal["waiting", "delivered", "dead"]
    attempts: list[AttemptOut]
    next_at: Time | None
    """When it is tried next."""
    created_at: Time
    ended_at: Time | None
