"""Everything known of one memory, on the wire."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import AliasPath, Field

from api.schemas.base import Output, example
from api.schemas.fields import Time
from api.schemas.lifecycle import DecisionOut
from api.schemas.memories import MEMORY, LinkOut, MemoryOut

_ENTITY_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c18"
_CUBE_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c11"
_AT = "2026-08-01T09:30:00Z"


TEXT: dict[str, Any] = {
    "content_id": 7,
    "versions": [1],
    "tokens": 8,
    "length": 5,
    "dimensions": 384,
    "norm": 1.0,
    "values": None,
    "terms": [["lisbon", 1], ["march", 1], ["move", 1]],
    "reader": "rules-1",
    "read_at": _AT,
    "erased_at": None,
}


class TextOut(Output):
    """One text of the memory with what was computed from it."""

    model_config = example(**TEXT)

    content_id: int
    versions: list[int]
    """The versions that say it."""
    tokens: int
    length: int
    """In lexemes."""
    dimensions: int | None
    norm: float | None
    values: list[float] | None
    """The vector's numbers, with `vectors=true`."""
    terms: list[tuple[str, int]]
    """Lexemes with their counts, most frequent first."""
    reader: str | None
    """Who read claims and mentions from it; null while nobody has."""
    read_at: Time | None
    erased_at: Time | None


PLACE = {"branch": "main", "version": 1, "indexed": True, "postings": 3}


class IndexedOut(Output):
    """Where the memory stands in the indexes of the present."""

    model_config = example(**PLACE)

    branch: str
    version: int
    indexed: bool
    """Whether its vector has moved into the graph; until then it is scanned."""
    postings: int


MENTION = {
    "content_id": 7,
    "entity_id": _ENTITY_ID,
    "entity": "Lisbon",
    "name": "Lisbon",
    "type": "place",
    "confidence": 0.9,
}


class NamedOut(Output):
    """Whom or what a text names."""

    model_config = example(**MENTION)

    content_id: int
    entity_id: UUID
    entity: str
    name: str
    type: str
    confidence: float


CLAIM = {"content_id": 7, "subject": "Ana", "attribute": "live in", "value": "Lisbon", "confidence": 0.9}


class ClaimOut(Output):
    """What a text states."""

    model_config = example(**CLAIM)

    content_id: int
    subject: str
    attribute: str
    value: str | None
    confidence: float


USE: dict[str, Any] = {
    "recalls": 3,
    "repeats": 0,
    "last_recalled_at": _AT,
    "stability_days": 24.5,
    "weighted_recalls": 2.8,
    "recent": [_AT],
    "tier": "plaintext",
}


class UseOut(Output):
    """What recall has taught about the memory."""

    model_config = example(**USE)

    recalls: int
    repeats: int
    last_recalled_at: Time | None
    stability_days: float
    """Days in which its strength falls from 1 to 0.9."""
    weighted_recalls: float
    recent: list[Time]
    tier: str


STRENGTH = {"now": 0.93, "stability_days": 24.5, "since": _AT}


class StrengthOut(Output):
    """How well it is retained."""

    model_config = example(**STRENGTH)

    now: float
    stability_days: Annotated[float, Field(validation_alias=AliasPath("retention", "stability_days"))]
    since: Annotated[Time, Field(validation_alias=AliasPath("retention", "last_recalled_at"))]
    """The last recall; the creation of a memory that was never recalled."""


STEP: dict[str, Any] = {
    "version": 1,
    "branch": "main",
    "revision": None,
    "from_state": "generated",
    "to_state": "activated",
    "action": "recall",
    "at": _AT,
}


class StepOut(Output):
    """A change of state; `revision` is null for a first recall, which writes no history."""

    model_config = example(**STEP)

    version: int
    branch: str
    revision: int | None
    from_state: str
    to_state: str
    action: str
    at: Time


LINKED = {"memory_id": _ENTITY_ID, "version": 1, "relation": "supersedes", "outgoing": True}


class LinkedOut(Output):
    """A memory it is linked with."""

    model_config = example(**LINKED)

    memory_id: UUID
    version: int
    relation: str
    outgoing: bool


CACHED: dict[str, Any] = {
    "key": "5e1f0c9e8d0b7f5c8a46d6a1fbb7ae7d0c6bd5ce2d3b7a3f1c5a9d8b7e6f5a4b",
    "version": 1,
    "model": "smollm2-135m",
    "codec": "raw",
    "state": "verified",
    "tokens": 256,
    "bytes": 5_898_240,
    "last_used_at": _AT,
}


class CachedOut(Output):
    """A KV cache in which it stands."""

    model_config = example(**CACHED)

    key: str
    version: int
    model: str
    codec: str
    state: str
    tokens: int
    bytes: int
    last_used_at: Time | None


class DossierOut(Output):
    """Everything known of one memory."""

    model_config = example(
        cube_id=_CUBE_ID,
        cube="travel-agent",
        memory_id=MEMORY["id"],
        created_at=_AT,
        header=MEMORY,
        versions=[MEMORY],
        branches={"1": "main"},
        more_versions=False,
        texts=[TEXT],
        places=[PLACE],
        mentions=[MENTION],
        claims=[CLAIM],
        use=USE,
        strength=STRENGTH,
        sources=[],
        derived=[],
        links=[LINKED],
        transitions=[STEP],
        decisions=[],
        traces=["019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c15"],
        activation=[CACHED],
    )

    cube_id: Annotated[UUID, Field(validation_alias=AliasPath("cube", "id"))]
    cube: Annotated[str, Field(validation_alias=AliasPath("cube", "name"))]
    memory_id: UUID
    created_at: Time
    header: MemoryOut
    """The newest version, whichever branch it is of."""
    versions: list[MemoryOut]
    """Newest first, on every branch, removals included; at most two hundred."""
    branches: dict[int, str]
    """The branch of each version."""
    more_versions: bool
    texts: list[TextOut]
    places: list[IndexedOut]
    mentions: list[NamedOut]
    claims: list[ClaimOut]
    use: UseOut | None
    """Null for one that was never recalled, repeated or promoted."""
    strength: StrengthOut | None
    """Null once erased."""
    sources: list[LinkOut]
    """What its newest version was made from."""
    derived: list[LinkOut]
    links: list[LinkedOut]
    transitions: list[StepOut]
    decisions: list[DecisionOut]
    traces: list[UUID]
    """Of the newest questions, those in which it came up."""
    activation: list[CachedOut]
