"""Entities and their neighbourhood on the wire."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from api.schemas.base import Input, Output, example
from api.schemas.fields import Reason, Reference, Speaker, Time, few_enough

_ENTITY_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9d01"
_OTHER_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9d02"
_MEMORY_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13"

ENTITY = {"id": _ENTITY_ID, "name": "Ana", "type": "person", "aliases": ["Ana Silva"], "memories": 4}


class EntityOut(Output):
    """Who or what memories name, as the branch shows it."""

    model_config = example(**ENTITY)

    id: UUID
    name: str
    type: str
    """`person`, `place`, `organisation`, `work` or `other`."""
    aliases: list[str]
    """Other spellings, those of names merged into it included."""
    memories: int
    """How many name it."""


class MemberOut(Output):
    """A name that was merged into an entity; give it back with a split."""

    model_config = example(id=_OTHER_ID, name="Ana Silva")

    id: UUID
    name: str


MENTION = {
    "memory_id": _MEMORY_ID,
    "version": 1,
    "kind": "fact",
    "content": "Ana moved to Berlin.",
    "created_at": "2026-08-01T09:30:00Z",
    "valid_from": "2026-08-01T09:30:00Z",
    "valid_to": None,
}


class MentionOut(Output):
    """A memory that names an entity."""

    model_config = example(**MENTION)

    memory_id: UUID
    version: int
    kind: str
    content: str
    created_at: Time
    valid_from: Time | None
    valid_to: Time | None


RELATION = {
    "memory_id": _MEMORY_ID,
    "version": 1,
    "subject_id": _ENTITY_ID,
    "subject": "Ana",
    "attribute": "live in",
    "value": "Berlin",
    "object_id": _OTHER_ID,
    "negated": False,
    "ended": False,
    "confidence": 0.9,
    "valid_from": "2026-08-01T09:30:00Z",
    "valid_to": None,
    "created_at": "2026-08-01T09:30:00Z",
}


class RelationOut(Output):
    """What a memory states. It holds while the memory does."""

    model_config = example(**RELATION)

    memory_id: UUID
    version: int
    subject_id: UUID | None
    subject: str
    attribute: str
    value: str
    object_id: UUID | None
    """Set where the value is an entity too."""
    negated: bool
    ended: bool
    """Whether it says that a former value no longer holds."""
    confidence: float
    valid_from: Time | None
    valid_to: Time | None
    created_at: Time


class EntityDetailOut(EntityOut):
    """An entity with what is said of it, newest first."""

    model_config = example(
        **ENTITY,
        members=[{"id": _OTHER_ID, "name": "Ana Silva"}],
        mentions=[MENTION],
        relations=[RELATION],
    )

    members: list[MemberOut]
    mentions: list[MentionOut]
    """The newest hundred."""
    relations: list[RelationOut]
    """The newest two hundred."""


class EntityMergeIn(Input):
    """From the new revision on these names mean one entity."""

    model_config = example(entities=[_OTHER_ID], into=_ENTITY_ID, reason="the same Ana")

    entities: Annotated[list[UUID], Field(min_length=1), few_enough]
    into: UUID
    branch: Reference = "main"
    reason: Reason = ""


class EntitySplitIn(Input):
    """Give back merged names (`entities`), or make somebody else of what some memories say (`memory_ids`)."""

    model_config = example(memory_ids=[_MEMORY_ID], name="Ana from Madrid", reason="another Ana")

    entities: Annotated[list[UUID], few_enough] = Field(default_factory=list)
    memory_ids: Annotated[list[UUID], few_enough] = Field(default_factory=list)
    name: Speaker | None = None
    """What to call who is split off; the same name when absent."""
    branch: Reference = "main"
    reason: Reason = ""

    @model_validator(mode="after")
    def _names_one_sort(self) -> Self:
        if bool(self.entities) == bool(self.memory_ids):
            raise ValueError("must name either entities or memory_ids")
        return self


class EntityDecisionOut(Output):
    """The revision that says who is who now, and the entity it was about."""

    model_config = example(revision=14, entity=ENTITY)

    revision: int
    entity: EntityOut


# ---------------------------------------------------------------- the graph


NODE = {
    "id": _ENTITY_ID, "sort": "entity", "type": "person", "label": "Ana", "hops": 0, "community": 0, "rank": 0.41,
}  # fmt: skip


class NodeOut(Output):
    """An entity or a memory, and how far it is from the centre."""

    model_config = example(**NODE)

    id: UUID
    sort: Literal["entity", "memory"]
    type: str
    """An entity's type, or a memory's kind."""
    label: str
    """An entity's name, or a memory's text."""
    hops: int
    community: int
    """Which nodes belong together here; 0 is the largest."""
    rank: float
    """Its share of a walk that keeps returning to the centre (personalised PageRank)."""


EDGE = {
    "source": _ENTITY_ID,
    "target": _OTHER_ID,
    "relation": "live in",
    "memory_id": _MEMORY_ID,
    "valid_from": "2026-08-01T09:30:00Z",
    "valid_to": None,
}


class EdgeOut(Output):
    """How two nodes stand to each other. A relation between entities names the memory that states it."""

    model_config = example(**EDGE)

    source: UUID
    target: UUID
    relation: str
    """`mentions`, `about` (its subject), `next`, `same-session`, `derived-from`, `merged`, `supersedes`, `contradicts`,
    `similar`, or an attribute between entities."""
    memory_id: UUID | None
    valid_from: Time | None
    valid_to: Time | None


HYPEREDGE = {
    "memory_id": _MEMORY_ID,
    "kind": "fact",
    "entities": [{"id": _ENTITY_ID, "name": "Ana"}, {"id": _OTHER_ID, "name": "Berlin"}],
}


class HyperedgeOut(Output):
    """A fact or episode, and every entity that it or what it was made from names."""

    model_config = example(**HYPEREDGE)

    memory_id: UUID
    kind: str
    entities: list[MemberOut]


class GraphOut(Output):
    """What stands around a centre, nearest first."""

    model_config = example(
        nodes=[NODE],
        edges=[EDGE],
        hyperedges=[HYPEREDGE],
        truncated=False,
    )

    nodes: list[NodeOut]
    edges: list[EdgeOut]
    hyperedges: list[HyperedgeOut]
    truncated: bool
    """Whether there was more within the hops than is shown."""
