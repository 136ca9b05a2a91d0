"""Walking: memories that hang together with some entities and memories, asked for as such. A search finds what a question's
words and meaning reach; a walk goes on from there, to what shares an entity with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.errors import Invalid
from memos.rules import filters
from memos.rules.access import Principal, Scope
from memos.rules.understanding import understand
from memos.services.graph_channel import GraphCandidate, graph_candidates
from memos.store import cubes, memories
from memos.store.cubes import At
from memos.store.memories import Version
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkQuery:
    """Where to begin: entities by name, those that `query` names, and memories."""

    query: str | None = None
    entities: Sequence[str] = ()
    memory_ids: Sequence[UUID] = ()
    kinds: Sequence[str] | None = None
    filter: object | None = None
    limit: int = 10
    branch: str = cubes.MAIN
    at: At = None
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """A memory the walk came by. `evidence` is its share of the walk against the best one's; `seed`: it began there."""

    memory_id: UUID
    version: int
    kind: str
    content: str
    evidence: float
    seed: bool
    created_at: datetime
    valid_from: datetime | None
    valid_to: datetime | None


@dataclass(frozen=True, slots=True)
class WalkView:
    """Best first. `entities` are the names the walk looked for."""

    items: list[Walked]
    entities: list[str]


def walk(tx: Transaction, who: Principal, cube: str, asked: WalkQuery, *, now: datetime) -> WalkView:
    """The memories a walk from the seeds comes by most. Nothing that the view does not show is passed through."""
    who.require(Scope.READ)
    view = cubes.view(tx, cube, asked.branch, asked.at)
    who.reach(view.cube.id)
    read = () if asked.query is None else understand(asked.query, now).entities
    names = list(dict.fromkeys((*asked.entities, *read)))
    if not names and not asked.memory_ids:
        raise Invalid("nowhere to begin: name entities or memory_ids, or a query that names somebody", where=["body"])
    found = graph_candidates(
        tx,
        view,
        names,
        dict.fromkeys(asked.memory_ids, 1.0),
        as_of=asked.as_of or now,
        tree=None if asked.filter is None else filters.parse(asked.filter),
        kinds=asked.kinds,
        limit=asked.limit,
    )
    rows = memories.get_many(tx, view, [one.memory_id for one in found])
    return WalkView([_walked(one, rows[one.memory_id]) for one in found], names)


def _walked(one: GraphCandidate, row: Version) -> Walked:
    return Walked(
        memory_id=one.memory_id,
        version=one.version,
        kind=one.kind,
        content=row.text or "",
        evidence=one.evidence,
        seed=one.seed,
        created_at=row.created_at,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
    )
