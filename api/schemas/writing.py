"""What is remembered: messages, documents and single memories on the wire."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from api.schemas.base import Input, Output, example
from api.schemas.fields import (
    DocumentText,
    JsonObject,
    Label,
    Lifespan,
    Reason,
    Reference,
    Share,
    SourceName,
    Speaker,
    Tags,
    Text,
    Time,
    Title,
    few_enough,
)
from memos.rules.header import DEFAULT_PRIORITY, Kind, Sensitivity


class MessageIn(Input):
    """One turn of a conversation."""

    model_config = example(role="user", content="I moved to Lisbon in March.", name="Ana", external_id="chat-7:3")

    role: Speaker
    content: Text
    name: Speaker | None = None
    """Who speaks, when the role does not say it all."""
    external_id: Label | None = None
    """The caller's id of the message; sent again in the same session it is the same message."""
    created_at: Time | None = None
    """When it was said; now when absent. May lie in the past or the future."""
    metadata: JsonObject = Field(default_factory=dict)


class MessagesIn(Input):
    """Turns of one session, in order."""

    model_config = example(
        session_id="chat-7",
        messages=[
            {"role": "user", "name": "Ana", "content": "I moved to Lisbon in March.", "external_id": "chat-7:3"},
            {"role": "assistant", "content": "How do you like it there?", "external_id": "chat-7:4"},
        ],
    )

    session_id: Label
    messages: Annotated[list[MessageIn], few_enough, Field(min_length=1)]
    branch: Reference = "main"
    reason: Reason = ""


class DocumentIn(Input):
    """A text to be cut into passages."""

    model_config = example(
        text="The warranty covers two years.\n\nBatteries are excluded.",
        title="Warranty",
        source="https://example.com/warranty",
        external_id="warranty-2026",
    )

    text: DocumentText
    title: Title | None = None
    source: SourceName | None = None
    external_id: Label | None = None
    """The caller's id of the document; a changed text under the same id replaces the old one."""
    created_at: Time | None = None
    metadata: JsonObject = Field(default_factory=dict)
    branch: Reference = "main"
    reason: Reason = ""


class ItemIn(Input):
    """One memory, stated as such."""

    model_config = example(
        kind="fact", content="Ana lives in Lisbon.", valid_from="2026-03-01T00:00:00Z", tags=["home"], priority=0.8
    )

    kind: Kind
    content: Text
    external_id: Label | None = None
    session_id: Label | None = None
    created_at: Time | None = None
    valid_from: Time | None = None
    valid_to: Time | None = None
    ttl_s: Lifespan | None = None
    """Seconds from now until the memory expires."""
    priority: Share = DEFAULT_PRIORITY
    sensitivity: Sensitivity = Sensitivity.NORMAL
    tags: Tags = Field(default_factory=list)
    metadata: JsonObject = Field(default_factory=dict)

    @model_validator(mode="after")
    def _valid_for_a_while(self) -> Self:
        if self.valid_from and self.valid_to and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must lie after valid_from")
        return self


class MemoriesIn(Input):
    """Memories to be written in one revision."""

    model_config = example(items=[{"kind": "fact", "content": "Ana lives in Lisbon.", "tags": ["home"]}])

    items: Annotated[list[ItemIn], few_enough, Field(min_length=1)]
    branch: Reference = "main"
    reason: Reason = ""


class WrittenMemoryOut(Output):
    """What became of one thing sent, in the order it was sent."""

    model_config = example(
        id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13", external_id="chat-7:3", version=1, outcome="added"
    )

    id: UUID
    external_id: str | None
    version: int
    outcome: Literal["added", "changed", "repeated"]
    """`repeated`: it was known already, which makes it stronger."""
    quarantined: bool = False
    """Whether it was set aside as suspicious and waits for a review."""


class WrittenOut(Output):
    """A write, done and searchable."""

    model_config = example(
        revision=12,
        memories=[
            {
                "id": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13",
                "external_id": "chat-7:3",
                "version": 1,
                "outcome": "added",
            }
        ],
        jobs=["019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c14"],
    )

    revision: int
    memories: list[WrittenMemoryOut]
    jobs: list[UUID]
    """Background work this write asked for."""


class ImportResult(Output):
    """What became of one line of an import. Absent members do not apply."""

    model_config = example(
        line=1, status="ok", id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13", version=1, outcome="added", revision=12
    )

    line: int
    """Counted from 1."""
    status: Literal["ok", "error"]
    id: UUID | None = None
    version: int | None = None
    outcome: Literal["added", "changed", "repeated"] | None = None
    revision: int | None = None
    code: str | None = None
    """As in a problem document."""
    detail: str | None = None
