"""Traces on the wire."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from api.schemas.base import Output, example
from api.schemas.fields import Time
from api.schemas.reading import HIT, ROUTE

TRACE_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c15"
STEP = {"memory_id": HIT["memory_id"], "version": 1, "score": 0.83, "channels": {"dense": 0.41, "feedback": 0.2}}
PLACE = {"memory_id": HIT["memory_id"], "version": 1}


class TracedOut(Output):
    """A memory of the answer."""

    model_config = example(**STEP)

    memory_id: UUID
    version: int
    score: float
    channels: dict[str, float]
    """What each channel added to the evidence."""


class TraceOut(Output):
    """How a question was answered."""

    model_config = example(
        id=TRACE_ID,
        door="search",
        asked_at="2026-08-01T09:30:00Z",
        key_id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c12",
        request={"query": "Where does Ana live now?", "limit": 10, "now": "2026-08-01T09:30:00+00:00"},
        revisions={HIT["cube"]: 12},
        route=ROUTE,
        items=[STEP],
        dropped=[],
        weights="ranking-2/routing-3",
        took_ms=11.4,
        context_hash=None,
    )

    id: UUID
    door: Literal["search", "context"]
    asked_at: Time
    key_id: UUID
    request: dict[str, Any]
    """What was asked, the asker's clock made explicit."""
    revisions: dict[str, int]
    """The revision of each cube that was read."""
    route: dict[str, Any]
    items: list[TracedOut]
    """The first twenty, best first."""
    dropped: list[tuple[UUID, str]]
    """Of a context: which memory was left out, and why."""
    weights: str
    """The version of the numbers that ranked and routed it."""
    took_ms: float
    context_hash: str | None
    """Of a context: what its answer carried."""


class PlaceOut(Output):
    """A version of a memory."""

    model_config = example(**PLACE)

    memory_id: UUID
    version: int


class ReplayOut(Output):
    """The same question, asked again of the same revisions."""

    model_config = example(
        trace_id=TRACE_ID, same=True, before=[PLACE], after=[PLACE], confidence=0.94, weights="ranking-2/routing-3"
    )

    trace_id: UUID
    same: bool
    """Whether the same memories came in the same order."""
    before: list[PlaceOut]
    after: list[PlaceOut]
    confidence: float
    weights: str
