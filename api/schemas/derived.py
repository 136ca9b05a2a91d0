"""What the workers make of memories, on the wire: extraction and consolidation."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from api.schemas.base import Input, Output, example
from api.schemas.fields import Flag, Reference, Time

_MEMORY_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13"
_SOURCE_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c12"

# ---------------------------------------------------------------- extraction


class ExtractIn(Input):
    """Read what was written and has not been read yet."""

    model_config = example(dry_run=True, limit=50)

    dry_run: Flag = False
    branch: Reference = "main"
    again: Flag = False
    """Read everything once more, also what has been read."""
    limit: Annotated[int, Field(strict=True, ge=1, le=500)] = 100
    """Texts a dry run looks at."""


FINDING = {
    "memory_id": None,
    "text": "Ana moved to Berlin.",
    "outcome": "supersede",
    "reason": "a later value of 'live in'",
    "tags": [],
    "subject": "Ana",
    "attribute": "live in",
    "value": "Berlin",
    "confidence": 0.9,
    "valid_from": "2026-08-01T09:30:00Z",
    "valid_to": None,
    "sources": [_SOURCE_ID],
    "supersedes": [_MEMORY_ID],
    "contradicts": [],
}


class FindingOut(Output):
    """A statement that would be stored, or a stored one that would change."""

    model_config = example(**FINDING)

    memory_id: UUID | None
    """Null for one that is new."""
    text: str
    outcome: str
    """`add`, `supersede`, `contradict`, or `change` for a stored one whose window or flag changes."""
    reason: str
    tags: list[str]
    subject: str | None
    attribute: str | None
    value: str | None
    confidence: float | None
    valid_from: Time | None
    valid_to: Time | None
    sources: list[UUID]
    supersedes: list[UUID]
    contradicts: list[UUID]


class ExtractionPreviewOut(Output):
    """What reading the next texts would do; nothing was written."""

    model_config = example(
        reader="rules-1",
        read=2,
        findings=[FINDING],
        reinforced=[],
        names=["Ana", "Berlin"],
    )

    reader: str
    """`rules-1`, or `llm:<model>` where one is configured."""
    read: int
    findings: list[FindingOut]
    reinforced: list[UUID]
    """Memories that were said again."""
    names: list[str]


# ---------------------------------------------------------------- consolidation


class ConsolidateIn(Input):
    """Fold near-duplicates, summarise episodes, refresh profiles, distil procedures."""

    model_config = example(dry_run=True)

    dry_run: Flag = False
    branch: Reference = "main"


PROPOSED_MEMORY = {
    "memory_id": None,
    "kind": "episode",
    "external_id": "episode/chat-17/0",
    "title": "Ana, Ben, 2026-08-01",
    "content": "Ana: I moved to Berlin. Ben: Then we meet on Friday.",
    "sources": [_SOURCE_ID],
}


class ProposedMemoryOut(Output):
    """A memory a run would write; one with an id would get a new version."""

    model_config = example(**PROPOSED_MEMORY)

    memory_id: UUID | None
    kind: str
    external_id: str
    title: str
    content: str
    sources: list[UUID]


PROPOSED_MERGE = {"survivor": _MEMORY_ID, "folded": [_SOURCE_ID], "cosines": [0.98]}


class ProposedMergeOut(Output):
    """A memory that stays, and those that would be folded into it; cosines one by one."""

    model_config = example(**PROPOSED_MERGE)

    survivor: UUID
    folded: list[UUID]
    cosines: list[float]


class ConsolidationPreviewOut(Output):
    """What a run would do; nothing was written. With `problems` the run would be refused."""

    model_config = example(
        memories=[PROPOSED_MEMORY],
        merges=[PROPOSED_MERGE],
        retired=[],
        problems=[],
    )

    memories: list[ProposedMemoryOut]
    merges: list[ProposedMergeOut]
    retired: list[UUID]
    """Summaries of what is no longer there; they would be archived."""
    problems: list[str]
