"""Bench: ask a cube with settings of one's choice and see everything, without leaving a mark.

An operator's experiments must not look like recalls: nothing is counted, no memory grows stronger, no trace is kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.rules.access import Principal, Scope
from memos.rules.packing import MOST_PIECES
from memos.services.assemble import packed_of
from memos.services.gathering import Recall, Scored, SearchQuery, gather
from memos.services.views import RouteView


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to ask. `budget_tokens` is the context's."""

    search: SearchQuery
    budget_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A memory as one run found it. `dropped` says why the context left it out; None: it is in it."""

    place: int
    memory_id: UUID
    version: int
    kind: str
    state: str
    content: str
    name: str | None
    created_at: datetime
    score: float
    evidence: float
    channels: dict[str, float]
    cosine: float | None
    tags: list[str]
    metadata: dict[str, Any]
    dropped: str | None


@dataclass(frozen=True, slots=True)
class Run:
    shots: list[Shot]
    route: RouteView
    text: str
    tokens: int
    budget_tokens: int
    took_ms: float
    revision: int


def run(recall: Recall, who: Principal, cube: str, setting: Setting, *, clock: datetime) -> Run:
    """Raises what a search would."""
    who.require(Scope.READ)
    started = time.perf_counter()
    gathered = gather(recall, who, [cube], setting.search, clock=clock)
    took_ms = (time.perf_counter() - started) * 1_000
    packed = packed_of(recall, gathered, setting.budget_tokens)
    reasons = {one.piece.rank: str(one.reason) for one in packed.dropped}
    return Run(
        shots=[_shot(place, scored, reasons.get(place)) for place, scored in enumerate(gathered.scored)],
        route=gathered.route,
        text=packed.text,
        tokens=packed.tokens,
        budget_tokens=setting.budget_tokens,
        took_ms=round(took_ms, 1),
        revision=gathered.views[0].at,
    )


def places(run_: Run) -> dict[UUID, int]:
    """Where each memory came in."""
    return {shot.memory_id: shot.place for shot in run_.shots}


def compared(runs: Sequence[Run]) -> list[dict[UUID, int | None]]:
    """For each run, by how many places each of its memories stands higher than in the other (None: not there)."""
    if len(runs) < 2:
        return [{} for _ in runs]
    here = [places(one) for one in runs]
    return [
        {memory: (here[1 - i][memory] - place if memory in here[1 - i] else None) for memory, place in here[i].items()}
        for i in range(2)
    ]


MOST_RESULTS = MOST_PIECES


def _shot(place: int, scored: Scored, dropped: str | None) -> Shot:
    row, ranked = scored.row, scored.ranked
    return Shot(
        place=place,
        memory_id=row.memory_id,
        version=row.version,
        kind=row.kind,
        state=row.state,
        content=row.text,
        name=row.name or row.role,
        created_at=row.created_at,
        score=ranked.score,
        evidence=ranked.evidence,
        channels={name: value for name, value in ranked.channels.items() if abs(value) >= 0.005},
        cosine=ranked.cosine,
        tags=row.tags,
        metadata=json.loads(row.metadata_json),
        dropped=dropped,
    )
