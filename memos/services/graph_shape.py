"""What a neighbourhood looks like as a whole: who belongs together, who matters from the centre, which memories tie whom,
and which of the memories shown are of one session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from memos.rules.graph_walk import communities, personalised_pagerank
from memos.rules.header import Kind
from memos.store import graph, provenance
from memos.store.graph import Lens
from memos.store.memories import Version
from memos.store.transaction import Transaction

MOST_TIED = 50
"""Entities named of one hyperedge."""
_TYING = frozenset({Kind.FACT.value, Kind.EPISODE.value})


@dataclass(frozen=True, slots=True)
class Named:
    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Hyperedge:
    """A fact or episode ties all entities that it, or what it was made from, names: one edge with many ends, as in HGMem."""

    memory_id: UUID
    kind: str
    entities: list[Named]


@dataclass(frozen=True, slots=True)
class Shape:
    """By node: its community (0 is the largest) and its share of a walk from the centre."""

    community: dict[UUID, int]
    rank: dict[UUID, float]


def shape(nodes: Sequence[UUID], edges: Iterable[tuple[UUID, UUID]], center: UUID) -> Shape:
    """Communities and ranks of a small graph. A node that nothing ties is a community of its own."""
    weighted = [(source, target, 1.0) for source, target in edges]
    groups = communities(weighted)
    tied = {node for group in groups for node in group}
    groups += [[node] for node in nodes if node not in tied]
    ranks = personalised_pagerank(weighted, {center: 1.0})
    return Shape(
        community={node: at for at, group in enumerate(groups) for node in group},
        rank={node: round(ranks.get(node, 0.0), 6) for node in nodes},
    )


def of_one_session(rows: Mapping[UUID, Version], adjacent: set[tuple[UUID, UUID]]) -> list[tuple[UUID, UUID]]:
    """(earlier, later) for memories shown that are of one session with others between them: a chain, not every pair."""
    sessions: dict[tuple[str, str], list[Version]] = {}
    for row in rows.values():
        if row.session_id is not None and row.ordinal is not None:
            sessions.setdefault((row.session_id, row.kind), []).append(row)
    pairs = []
    for members in sessions.values():
        members.sort(key=lambda row: (row.ordinal or 0, row.id))
        pairs += [(one.memory_id, other.memory_id) for one, other in pairwise(members)]
    return sorted(pair for pair in pairs if pair not in adjacent)


def hyperedges(tx: Transaction, lens: Lens, rows: Mapping[UUID, Version]) -> list[Hyperedge]:
    """Those of some memories that tie two entities or more, in order of memory."""
    tying = [memory_id for memory_id, row in sorted(rows.items()) if row.kind in _TYING]
    if not tying:
        return []
    sources = provenance.sources_of(tx, lens.view, [m for m in tying if rows[m].kind == Kind.EPISODE])
    made_from = {memory_id: {source.memory_id for source in found} for memory_id, found in sources.items()}
    named: dict[UUID, list[UUID]] = {}
    for memory_id, entity_id in graph.named_in(tx, lens, {*tying, *(s for found in made_from.values() for s in found)}):
        named.setdefault(memory_id, []).append(entity_id)
    ends = {
        memory_id: dict.fromkeys(
            entity for text in (memory_id, *sorted(made_from.get(memory_id, ()))) for entity in named.get(text, ())
        )
        for memory_id in tying
    }
    names = graph.find(tx, lens.view.cube.id, {entity for found in ends.values() for entity in found})
    edges = []
    for memory_id, found in ends.items():
        tied = sorted((names[entity] for entity in found if entity in names), key=lambda row: row.key)
        if len(tied) > 1:
            ends_of = [Named(row.id, row.name) for row in tied[:MOST_TIED]]
            edges.append(Hyperedge(memory_id, rows[memory_id].kind, ends_of))
    return edges
