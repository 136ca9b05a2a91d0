"""Memories on the wire, and what may be done to one."""

from __future__ import annotations

from typing import Any, Self
from uuid import UUID

from pydantic import model_validator

from api.schemas.base import Input, Output, example
from api.schemas.fields import Count, JsonObject, Label, Lifespan, Reason, Reference, Share, Tags, Text, Time, Title
from memos.rules.header import Sensitivity
from memos.rules.lifecycle import State

MEMORY: dict[str, Any] = {
    "id": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13",
    "memory_id": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13",
    "version": 1,
    "kind": "turn",
    "content": "I moved to Lisbon in March.",
    "state": "generated",
    "valid_from": None,
    "valid_to": None,
    "expires_at": None,
    "priority": 0.5,
    "sensitivity": "normal",
    "trust": 1.0,
    "origin": "direct",
    "tags": [],
    "metadata": {},
    "external_id": "chat-7:3",
    "session_id": "chat-7",
    "ordinal": 3,
    "role": "user",
    "name": "Ana",
    "title": None,
    "source": None,
    "merged_into": None,
    "quarantined": False,
    "created_at": "2026-08-01T09:30:00Z",
    "recorded_at": "2026-08-01T09:30:01Z",
    "from_revision": 12,
    "to_revision": None,
    "removed": False,
    "erased": False,
    "redacted": False,
    "action": "write",
    "recalls": 0,
    "last_recalled_at": None,
}


class MemoryOut(Output):
    """One version of a memory with its header."""

    model_config = example(**MEMORY)

    id: UUID
    memory_id: UUID
    """The same as `id`: what other answers call it."""
    version: int
    """Also the memory's ETag."""
    kind: str
    content: str | None
    """Null once erased, and where it is redacted."""
    state: str
    valid_from: Time | None
    valid_to: Time | None
    expires_at: Time | None
    priority: float
    sensitivity: str
    trust: float
    origin: str
    tags: list[str]
    metadata: dict[str, Any]
    external_id: str | None
    session_id: str | None
    ordinal: int | None
    role: str | None
    name: str | None
    title: str | None
    source: str | None
    merged_into: UUID | None
    quarantined: bool
    """Set aside as suspicious: nobody recalls it before a review has released it."""
    created_at: Time
    """When it was said, as the writer told."""
    recorded_at: Time
    """When it was written here."""
    from_revision: int
    to_revision: int | None
    """The revision that replaced this version; null while it is current."""
    removed: bool
    """Whether this version only says that the branch no longer has the memory."""
    erased: bool
    redacted: bool
    """Whether what it says is withheld from this caller, by its label or because it is in quarantine."""
    action: str
    recalls: int
    last_recalled_at: Time | None


class MemoryChange(Input):
    """A new version of a memory: what is named changes, the rest stays, null clears."""

    model_config = example(content="I moved to Lisbon in April.", reason="corrected by the user")

    content: Text | None = None
    title: Title | None = None
    external_id: Label | None = None
    valid_from: Time | None = None
    valid_to: Time | None = None
    ttl_s: Lifespan | None = None
    """Seconds from now until it expires; null lets it live on."""
    priority: Share | None = None
    sensitivity: Sensitivity | None = None
    tags: Tags | None = None
    metadata: JsonObject | None = None
    branch: Reference = "main"
    reason: Reason = ""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        named = self.changes()
        if not named:
            raise ValueError("must name at least one field to change")
        for field in ("content", "priority", "sensitivity", "tags", "metadata"):
            if field in named and named[field] is None:
                raise ValueError(f"{field} cannot be cleared")
        return self

    def changes(self) -> dict[str, Any]:
        """The fields the caller named, nulls included."""
        return {name: getattr(self, name) for name in self.model_fields_set - {"branch", "reason"}}


class RestoreIn(Input):
    """Bring back an earlier version as the newest one."""

    model_config = example(version=1, reason="the edit was a mistake")

    version: Count
    branch: Reference = "main"
    reason: Reason = ""


class StateIn(Input):
    """Move a memory along its life cycle."""

    model_config = example(to="frozen", reason="evidence in a dispute")

    to: State
    """`frozen`, and leaving it, take a key with the `freeze` scope."""
    reason: Reason = ""
    branch: Reference = "main"


class LinkOut(Output):
    """A memory this one was made from, or that was made from it."""

    model_config = example(
        memory_id=MEMORY["id"],
        version=1,
        relation="derived-from",
        kind="turn",
        content="I moved to Lisbon in March.",
    )

    memory_id: UUID
    version: int
    relation: str
    kind: str | None
    content: str | None


class ProvenanceOut(Output):
    """Where a memory comes from (sources) and what came of it (derived)."""

    model_config = example(memory_id=MEMORY["id"], version=1, sources=[], derived=[])

    memory_id: UUID
    version: int
    sources: list[LinkOut]
    derived: list[LinkOut]
