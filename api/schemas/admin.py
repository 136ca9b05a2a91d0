"""Tenants and keys on the wire."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from api.schemas.base import Input, Output, example
from api.schemas.fields import Name, Reference, Time, Title
from api.schemas.jobs import JobOut
from api.schemas.limits import MAX_CUBES
from api.schemas.oversight import LEVEL, MEMORIES, QUEUE, RECALLS, LevelOut, MemoriesOut, QueueOut, RecallsOut
from memos.rules.access import Scope
from memos.rules.header import Sensitivity

TENANT_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c16"
KEY_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c12"


class TenantIn(Input):
    """A new tenant."""

    model_config = example(name="acme")

    name: Name


class TenantOut(Output):
    """Who owns memory."""

    model_config = example(id=TENANT_ID, name="acme", operator=False, created_at="2026-08-01T09:30:00Z")

    id: UUID
    name: str
    operator: bool
    """Whether its admin keys may act on other tenants."""
    created_at: Time


class KeyIn(Input):
    """A new key of a tenant."""

    model_config = example(tenant="acme", scopes=["read", "write"], cubes=["travel-agent"], name="travel bot")

    tenant: Reference | None = None
    """The tenant's id or name; the caller's own when absent."""
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    cubes: Annotated[list[Reference], Field(min_length=1, max_length=MAX_CUBES)] | None = None
    """The only cubes it may touch, by id or name; every cube when absent."""
    name: Title = ""
    """What the key is for; helps whoever lists the keys."""
    expires_at: Time | None = None
    clearance: Sensitivity = Sensitivity.SECRET
    """The most secret label it may read."""


class NewKeyOut(Output):
    """A key, shown this once."""

    model_config = example(
        id=KEY_ID,
        key="mk_shown-once",
        tenant_id=TENANT_ID,
        name="travel bot",
        scopes=["read", "write"],
        cubes=None,
        expires_at=None,
        previous_until=None,
    )

    id: UUID
    key: str
    tenant_id: UUID
    name: str
    scopes: list[str]
    cubes: list[UUID] | None
    expires_at: Time | None
    previous_until: Time | None
    """After a rotation: how long the secret before this one still works."""


class KeyOut(Output):
    """A key without its secret, which nobody has but the caller it was shown to."""

    model_config = example(
        id=KEY_ID,
        name="travel bot",
        scopes=["read", "write"],
        cubes=None,
        created_at="2026-08-01T09:30:00Z",
        expires_at=None,
        revoked_at=None,
        clearance="secret",
        rotated_at=None,
        previous_until=None,
    )

    id: UUID
    name: str
    scopes: list[str]
    cubes: Annotated[list[UUID] | None, Field(validation_alias="cube_ids")]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    clearance: str
    rotated_at: Time | None
    previous_until: Time | None


class ModelOut(Output):
    """The embedder in use."""

    model_config = example(name="minilm-int8", dimensions=384, fingerprint="3f0c")

    name: str
    dimensions: int
    fingerprint: str
    """Vectors may be compared exactly when this is equal."""


class OverviewOut(Output):
    """What an operator looks at first."""

    model_config = example(
        tenants=[{"id": TENANT_ID, "name": "acme", "operator": False, "created_at": "2026-08-01T09:30:00Z"}],
        failed_jobs=[],
        model={"name": "minilm-int8", "dimensions": 384, "fingerprint": "3f0c"},
        memories=MEMORIES,
        recalls=RECALLS,
        queues=[QUEUE],
        queue_depth=[LEVEL],
    )

    tenants: list[TenantOut]
    """Those the caller may see."""
    failed_jobs: list[JobOut]
    """The newest of one's own tenant."""
    model: ModelOut
    memories: MemoriesOut
    recalls: RecallsOut
    queues: list[QueueOut]
    queue_depth: list[LevelOut]
    """Over the last day, every half hour."""
