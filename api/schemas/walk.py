"""A walk over the graph, on the wire."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from api.schemas.base import Input, Output, example
from api.schemas.fields import FilterObject, Moment, PageSize, Reference, Speaker, Text, Time
from memos.rules.header import Kind

MOST_SEEDS = 30


class WalkIn(Input):
    """Where to begin: entities by name, those a query names, and memories. At least one of them."""

    model_config = example(query="Where was the husband of Mina Falk born?", kinds=["fact"], limit=5)

    query: Text | None = None
    entities: Annotated[list[Speaker], Field(max_length=MOST_SEEDS)] = Field(default_factory=list)
    memory_ids: Annotated[list[UUID], Field(max_length=MOST_SEEDS)] = Field(default_factory=list)
    kinds: Annotated[list[Kind], Field(min_length=1, max_length=len(Kind))] | None = None
    """What to give out; the walk passes through all kinds."""
    filter: FilterObject | None = None
    """What every memory must fulfil, those passed through included."""
    limit: Annotated[PageSize, Field(strict=True)] = 10
    branch: Reference = "main"
    at: Moment | None = None
    as_of: Time | None = None


WALKED = {
    "memory_id": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13",
    "version": 1,
    "kind": "fact",
    "content": "Otto Brandt was born in Malmo.",
    "evidence": 0.62,
    "seed": False,
    "created_at": "2026-08-01T09:30:00Z",
    "valid_from": None,
    "valid_to": None,
}


class WalkedOut(Output):
    """A memory the walk came by."""

    model_config = example(**WALKED)

    memory_id: UUID
    version: int
    kind: str
    content: str
    evidence: float
    """Its share of the walk against the best one's, from 0 to 1."""
    seed: bool
    """Whether the walk began there."""
    created_at: Time
    valid_from: Time | None
    valid_to: Time | None


class WalkOut(Output):
    """Best first."""

    model_config = example(items=[WALKED], entities=["Mina Falk"])

    items: list[WalkedOut]
    entities: list[str]
    """The names that were looked for."""
