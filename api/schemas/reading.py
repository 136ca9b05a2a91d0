"""Search on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from api.schemas.base import Input, Output, example
from api.schemas.fields import FilterObject, Flag, Moment, PageSize, Reference, Text, Time
from api.schemas.limits import MAX_BUDGET_TOKENS, MAX_CUBES
from memos.rules.header import Kind

HIT = {
    "memory_id": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13",
    "version": 1,
    "kind": "turn",
    "content": "I moved to Lisbon in March.",
    "score": 0.83,
    "state": "activated",
    "valid_from": None,
    "valid_to": None,
    "source": {
        "session_id": "chat-7",
        "external_id": "chat-7:3",
        "created_at": "2026-08-01T09:30:00Z",
        "role": "user",
        "name": "Ana",
        "title": None,
    },
    "sources": [],
    "cube": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c11",
    "tags": [],
    "metadata": {},
    "why": {"dense": 0.41, "lexical": 0.42},
}
ROUTE = {
    "granularities": ["turn", "passage", "fact"],
    "channels": ["dense", "lexical"],
    "budget": "auto",
    "reason": "asks where: the nearest 40 of each channel and 1 beside each were scored",
    "confidence": 0.94,
    "runner_up": "high",
    "runner_up_candidates": 980,
    "candidates": 131,
    "escalated": False,
    "archived": 0,
}


class SearchIn(Input):
    """A question to one cube's memory."""

    model_config = example(
        query="Where does Ana live now?",
        limit=5,
        filter={"and": [{"kind": {"in": ["turn", "fact"]}}, {"created_at": {"gte": "2026-01-01T00:00:00Z"}}]},
        explain=True,
    )

    query: Text
    limit: Annotated[PageSize, Field(strict=True)] = 10
    """Up to `MEMOS_MAX_LIMIT` (200)."""
    granularity: Literal["auto"] | Kind | Annotated[list[Kind], Field(min_length=1, max_length=len(Kind))] = "auto"
    filter: FilterObject | None = None
    budget: Literal["auto", "low", "mid", "high"] = "auto"
    """How much work the question is worth."""
    branch: Reference = "main"
    at: Moment | None = None
    """Read the past: a revision, a tag or a time."""
    as_of: Time | None = None
    """What was true in the world then."""
    now: Time | None = None
    """The asker's clock, for words like "yesterday"."""
    explain: Flag = False


class SearchAllIn(SearchIn):
    """A question to several cubes at once."""

    model_config = example(query="Where does Ana live now?", cubes=["travel-agent", "family"])

    cubes: Annotated[list[Reference], Field(min_length=1, max_length=MAX_CUBES)]


class ContextIn(SearchIn):
    """A question whose answer is to fit a prompt."""

    model_config = example(query="Where does Ana live now?", budget_tokens=500)

    limit: Annotated[PageSize, Field(strict=True)] = 50
    """Memories considered; the budget decides how many are given."""
    budget_tokens: Annotated[int, Field(strict=True, ge=1, le=MAX_BUDGET_TOKENS)] = 2_000
    """By the tokenizer that the answer names."""


class ContextAllIn(ContextIn):
    """A question to several cubes at once."""

    model_config = example(query="Where does Ana live now?", cubes=["travel-agent", "family"], budget_tokens=500)

    cubes: Annotated[list[Reference], Field(min_length=1, max_length=MAX_CUBES)]


class HitSourceOut(Output):
    """Where a found memory was said."""

    model_config = example(
        session_id="chat-7",
        external_id="chat-7:3",
        created_at="2026-08-01T09:30:00Z",
        role="user",
        name="Ana",
        title=None,
    )

    session_id: str | None
    external_id: str | None
    created_at: Time
    role: str | None
    name: str | None
    title: str | None


class HitOut(Output):
    """A found memory."""

    model_config = example(**HIT)

    memory_id: UUID
    version: int
    kind: str
    content: str
    score: float
    state: str
    valid_from: Time | None
    valid_to: Time | None
    source: HitSourceOut
    sources: list[UUID]
    """The memories a derived one was made from."""
    cube: UUID
    tags: list[str]
    metadata: dict[str, Any]
    why: dict[str, Any] | None
    """With `explain`: what each channel added to the score."""


class RouteOut(Output):
    """What was done to answer."""

    model_config = example(**ROUTE)

    granularities: list[str]
    channels: list[str]
    budget: str
    reason: str
    confidence: float
    """How likely an answer is among the first ten."""
    runner_up: str | None
    """The next deeper budget, if there is one."""
    runner_up_candidates: int | None
    """About how many memories that would read."""
    candidates: int
    """Memories that were read and scored."""
    escalated: bool
    """Whether the first look was not convincing, so that a second was taken."""
    archived: int
    """How many of them had been archived: looked at once when the second look was not convincing either."""


class SearchOut(Output):
    """The few memories that matter, best first, and how they were found."""

    model_config = example(
        items=[HIT],
        route=ROUTE,
        trace_id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c15",
        took_ms=11.4,
        revisions={"019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c11": 12},
    )

    items: list[HitOut]
    route: RouteOut
    trace_id: UUID
    took_ms: float
    revisions: dict[str, int]
    """The revision of each cube that was read."""


CONTEXT_ITEM = {
    "number": 1,
    "memory_id": HIT["memory_id"],
    "version": 1,
    "kind": "turn",
    "cube": HIT["cube"],
    "tokens": 12,
    "excerpt": "I moved to Lisbon in March.",
}


class ContextItemOut(Output):
    """A memory in the text, cited there as `[number]`."""

    model_config = example(**CONTEXT_ITEM)

    number: int
    memory_id: UUID
    version: int
    kind: str
    cube: UUID
    tokens: int
    excerpt: str
    """The part of the memory that stands in the text; all of it unless it was long."""


class DroppedOut(Output):
    """A memory that was found and left out."""

    model_config = example(memory_id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c14", reason="unlikely")

    memory_id: UUID
    reason: str
    """`budget`: it did not fit. `unlikely`: not worth its tokens. `redundant`: a better one says the same."""


class ContextOut(Output):
    """What was recalled, as text for a prompt: by day and session, each memory with its number."""

    model_config = example(
        text="# 1 August 2026\n[1] Ana: I moved to Lisbon in March.",
        tokens=18,
        tokenizer="minilm-int8",
        items=[CONTEXT_ITEM],
        dropped=[{"memory_id": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c14", "reason": "unlikely"}],
        route=ROUTE,
        context_hash="5e1f0c9e8d0b7f5c8a46d6a1fbb7ae7d0c6bd5ce2d3b7a3f1c5a9d8b7e6f5a4b",
        trace_id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c15",
        took_ms=13.2,
        revisions={"019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c11": 12},
    )

    text: str
    tokens: int
    tokenizer: str
    """Which tokenizer `tokens` and the budget are counted by."""
    items: list[ContextItemOut]
    dropped: list[DroppedOut]
    route: RouteOut
    context_hash: str
    """Equal for equal requests to equal states of the cubes."""
    trace_id: UUID
    took_ms: float
    revisions: dict[str, int]
    """The revision of each cube that was read."""
