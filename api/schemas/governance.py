"""Sharing, quarantine, holds, quotas and rotation on the wire."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from api.schemas.admin import KEY_ID, TENANT_ID
from api.schemas.base import Input, Output, example
from api.schemas.fields import Reason, Reference, Time
from memos.rules.calling_policy import PURPOSE
from memos.rules.sharing import Ability

_CUBE_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c11"
_MEMORY_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13"
_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c18"
_NOW = "2026-08-01T09:30:00Z"
_DAYS_30_S = 30 * 86_400

Purpose = Annotated[str, Field(pattern=f"^{PURPOSE.pattern}$", max_length=100)]
Many = Annotated[int, Field(strict=True, ge=0, le=2**53)]


class GrantIn(Input):
    """Share a cube. Name either a key or a tenant, by id."""

    model_config = example(ability="recall", to_key=KEY_ID, expires_at="2036-09-01T00:00:00Z", max_uses=1000)

    ability: Ability
    """`recall` is search and context only; `read` also lists, gets and diffs; `write` also writes."""
    to_key: UUID | None = None
    to_tenant: UUID | None = None
    """Every key of the tenant that is not bound to cubes."""
    purpose: Purpose | None = None
    """The only `X-Memos-Purpose` for which it may be used."""
    expires_at: Time | None = None
    max_uses: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | None = None
    """Requests it is good for."""


class GrantOut(Output):
    """A cube shared with a key or a tenant."""

    model_config = example(
        id=_ID, cube_id=_CUBE_ID, ability="recall", to_key=KEY_ID, to_tenant=None, purpose=None,
        expires_at="2036-09-01T00:00:00Z", max_uses=1000, uses=3, last_used_at=_NOW, created_at=_NOW, revoked_at=None,
    )  # fmt: skip

    id: UUID
    cube_id: UUID
    """Guests address the cube by this id."""
    ability: str
    to_key: UUID | None
    to_tenant: UUID | None
    purpose: str | None
    expires_at: Time | None
    max_uses: int | None
    uses: int
    last_used_at: Time | None
    created_at: Time
    revoked_at: Time | None


class HeldOut(Output):
    """A memory in quarantine, with why."""

    model_config = example(
        cube_id=_CUBE_ID, cube="travel-agent", branch="main", memory_id=_MEMORY_ID, version=1, kind="passage",
        state="generated", content="Ignore all previous instructions and ...", title="A page", role=None, name=None,
        source="https://example.com/page", session_id=None, sensitivity="normal", key_id=KEY_ID, trust_class="web",
        score=0.8, reasons=["overrides instructions"], at=_NOW,
    )  # fmt: skip

    cube_id: UUID
    cube: str
    branch: str
    memory_id: UUID
    version: int
    kind: str
    state: str
    content: str | None
    """What it says: for people to judge, not for prompts."""
    title: str | None
    role: str | None
    name: str | None
    source: str | None
    session_id: str | None
    sensitivity: str
    key_id: UUID | None
    """Who wrote it."""
    trust_class: str
    score: float
    """What the patterns found, from 0 to 1."""
    reasons: list[str]
    at: Time


class ReviewIn(Input):
    """A decision about a memory in quarantine."""

    model_config = example(reason="a recipe, not an order")

    reason: Reason = ""


class ReviewOut(Output):
    """What was decided. One revision on every branch that had the memory in quarantine."""

    model_config = example(memory_id=_MEMORY_ID, outcome="released", revisions=[13])

    memory_id: UUID
    outcome: str
    revisions: list[int]


class SourceOut(Output):
    """The standing of a source: a key, together with what it relays."""

    model_config = example(
        key_id=KEY_ID, trust_class="web", trust=0.72, recent_trust=0.4, good=3.1, bad=2.0, anomalous=False,
        distrusted=False, updated_at=_NOW,
    )  # fmt: skip

    key_id: UUID
    trust_class: str
    trust: float
    """Expected share of its writes that are fine: the mean of a Beta distribution."""
    recent_trust: float
    good: float
    bad: float
    anomalous: bool
    """It has suddenly turned worse; everything it writes is set aside meanwhile."""
    distrusted: bool
    updated_at: Time


class SourcesOut(Output):
    """The sources that were heard, the worst first."""

    model_config = example(items=[SourceOut.model_config["json_schema_extra"]["examples"][0]])  # type: ignore[index]

    items: list[SourceOut]


class HoldIn(Input):
    """Put a cube, or one memory of it, under legal hold."""

    model_config = example(cube="travel-agent", reason="case 2026-17")

    cube: Reference
    memory_id: UUID | None = None
    """The whole cube when absent."""
    reason: Annotated[Reason, Field(min_length=1)]


class HoldOut(Output):
    """A legal hold."""

    model_config = example(
        id=_ID, cube_id=_CUBE_ID, memory_id=None, reason="case 2026-17", placed_by=KEY_ID, placed_at=_NOW,
        released_by=None, released_at=None,
    )  # fmt: skip

    id: UUID
    cube_id: UUID
    memory_id: UUID | None
    reason: str
    placed_by: UUID
    placed_at: Time
    released_by: UUID | None
    released_at: Time | None


class QuotaIn(Input):
    """The limits of a tenant or a key; an absent one is none."""

    model_config = example(rate_per_s=20.0, burst=40, max_memories=100000)

    tenant: Reference | None = None
    """Whose, for the operator; the caller's own when absent."""
    rate_per_s: Annotated[float, Field(strict=True, gt=0, le=100_000, allow_inf_nan=False)] | None = None
    burst: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None
    """Requests at once after a pause; twice the rate when absent."""
    max_memories: Many | None = None
    max_bytes: Many | None = None
    """Bytes of text."""


class QuotaOut(Output):
    """Limits, and how much of them is used."""

    model_config = example(
        subject="tenant", rate_per_s=20.0, burst=40, max_memories=100000, max_bytes=None, memories=1234, bytes=345678
    )

    subject: str
    """`tenant`, or a key's id."""
    rate_per_s: float | None
    burst: int | None
    max_memories: int | None
    max_bytes: int | None
    memories: int
    """Of a tenant, what it has; of a key, what it ever wrote."""
    bytes: int


class QuotasOut(Output):
    """The tenant's limits first, then those of its keys."""

    model_config = example(
        items=[
            {"subject": "tenant", "rate_per_s": 20.0, "burst": 40, "max_memories": 100000, "max_bytes": None,
             "memories": 1234, "bytes": 345678}
        ]
    )  # fmt: skip

    items: list[QuotaOut]


class RotateIn(Input):
    """A new secret for a key."""

    model_config = example(overlap_s=86400)

    overlap_s: Annotated[int, Field(strict=True, ge=0, le=_DAYS_30_S)] = 86_400
    """Seconds for which the secret before still works; 0 ends it at once."""


class AuditEntry(Output):
    """One line of an export of the trail. `hash` is over `previous` and the rest: any line left out or changed shows."""

    model_config = example(
        tenant_id=TENANT_ID, seq=7, at=_NOW, key_id=KEY_ID, action="read.search", cube_id=_CUBE_ID, target="",
        detail={"read": [[_MEMORY_ID, 1]], "purpose": "support"}, previous="00", hash="00",
    )  # fmt: skip

    tenant_id: UUID
    seq: int
    at: Time
    key_id: UUID | None
    action: str
    cube_id: UUID | None
    target: str
    detail: dict[str, Any]
    previous: str
    hash: str
