"""The neighbourhood of an entity or memory: what stands around it, breadth first, bounded in nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from memos.errors import NotFound
from memos.rules.access import Principal
from memos.rules.entities import entity_key
from memos.services import graph_shape
from memos.services.entities import MOST_RELATIONS, lens_of
from memos.services.graph_shape import Hyperedge
from memos.store import graph, graph_edges, memories, provenance
from memos.store.cubes import At
from memos.store.graph import Lens
from memos.store.memories import Version
from memos.store.provenance import Relation
from memos.store.transaction import Transaction

MOST_NODES = 300
"""More than a person can look at, few enough to be fast."""
NEAREST_MEMORIES = 20
"""Memories shown of one entity per hop, newest first."""
MENTIONS, ABOUT = "mentions", "about"
NEXT, SAME_SESSION = "next", "same-session"
LIVE = frozenset({"generated", "activated", "frozen"})


@dataclass(frozen=True, slots=True)
class Node:
    """`hops` from the centre. `sort` is entity or memory; `type` the entity's type or the memory's kind; `label` the
    entity's name or the memory's text. `community` 0 is the largest; `rank` is the share of a walk from the centre."""

    id: UUID
    sort: str
    type: str
    label: str
    hops: int
    community: int = 0
    rank: float = 0.0


@dataclass(frozen=True, slots=True)
class Edge:
    """A relation between entities names the memory that states it, and is valid when that is."""

    source: UUID
    target: UUID
    relation: str
    memory_id: UUID | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class GraphView:
    """`truncated` says that there was more within the hops than is shown."""

    nodes: list[Node]
    edges: list[Edge]
    hyperedges: list[Hyperedge]
    truncated: bool


def neighbourhood(
    tx: Transaction,
    who: Principal,
    cube: str,
    *,
    center: str,
    hops: int,
    branch: str,
    at: At,
    as_of: datetime | None,
) -> GraphView:
    """What stands around an entity (id or name) or a memory (id)."""
    return _Walk(tx, lens_of(tx, who, cube, branch, at, as_of)).run(center, hops)


class _Walk:
    """Breadth first; where there is more than may be shown, what is nearest stays."""

    def __init__(self, tx: Transaction, lens: Lens) -> None:
        self.tx, self.lens = tx, lens
        self.entities: dict[UUID, int] = {}
        self.memories: dict[UUID, int] = {}
        self.edges: dict[Edge, None] = {}
        self.truncated = False

    def run(self, center: str, hops: int) -> GraphView:
        self._start(center)
        for hop in range(1, hops + 1):
            entities = [node for node, at in self.entities.items() if at == hop - 1]
            texts = [node for node, at in self.memories.items() if at == hop - 1]
            for edge in [*self._around_entities(entities), *self._around_memories(texts)]:
                self._take(edge, hop)
        return self._answer()

    def _start(self, center: str) -> None:
        cube_id = self.lens.view.cube.id
        try:
            node_id = UUID(center)
        except ValueError:
            found = graph.by_keys(self.tx, cube_id, [entity_key(center)]).get(entity_key(center))
        else:
            found = graph.find(self.tx, cube_id, [node_id]).get(node_id)
            if found is None and node_id in self._texts([node_id]):
                self.memories[node_id] = 0
                return
        root = None if found is None else self.lens.meanings.root(found.id)
        if root is None or root not in graph.seen(self.tx, self.lens, [root]):
            raise NotFound("no such entity or memory")
        self.entities[root] = 0

    def _around_entities(self, entities: list[UUID]) -> Iterable[Edge]:
        if not entities:
            return
        for row in graph.relations(self.tx, self.lens, entities, MOST_RELATIONS):
            if row.subject_id is not None and row.object_id is not None and row.subject_id != row.object_id:
                yield Edge(row.subject_id, row.object_id, row.attribute, row.memory_id, row.valid_from, row.valid_to)
        for named in graph.mentions(self.tx, self.lens, entities, NEAREST_MEMORIES):
            yield Edge(named.memory_id, named.entity_id, MENTIONS)

    def _around_memories(self, texts: list[UUID]) -> Iterable[Edge]:
        if not texts:
            return
        for memory_id, entity_id in graph.named_in(self.tx, self.lens, texts):
            yield Edge(memory_id, entity_id, MENTIONS)
        for link in provenance.links_of(self.tx, self.lens.view, texts):
            if link.relation is Relation.SUPERSEDED_BY:
                # Both ends keep the link; one edge says it.
                yield Edge(link.other_id, link.memory_id, Relation.SUPERSEDES.value)
            else:
                yield Edge(link.memory_id, link.other_id, link.relation.value)
        for earlier, later in graph_edges.following(self.tx, self.lens, texts):
            yield Edge(earlier, later, NEXT)
        for memory_id, sources in provenance.sources_of(self.tx, self.lens.view, texts).items():
            for source in sources:
                yield Edge(memory_id, source.memory_id, source.relation)

    def _take(self, edge: Edge, hop: int) -> None:
        between_entities = edge.memory_id is not None
        homes = (
            self.entities if between_entities else self.memories,
            self.entities if between_entities or edge.relation == MENTIONS else self.memories,
        )
        fresh = [(home, end) for home, end in zip(homes, (edge.source, edge.target), strict=True) if end not in home]
        if len(self.entities) + len(self.memories) + len(fresh) > MOST_NODES:
            self.truncated = True
            return
        for home, end in fresh:
            home[end] = hop
        self.edges[edge] = None

    def _answer(self) -> GraphView:
        texts = self._texts(self.memories)
        given = [(row.memory_id, row.version, row.sensitivity) for row in texts.values()]
        self.tx.saw("graph", self.lens.view.cube.id, self.lens.view.cube.policy, given)
        names = graph.find(self.tx, self.lens.view.cube.id, self.entities)
        known = graph.seen(self.tx, self.lens, list(self.entities))
        nodes = [Node(m, "memory", row.kind, row.text or "", self.memories[m]) for m, row in texts.items()]
        nodes += [
            Node(e, "entity", seen.type, names[e].name, self.entities[e]) for e, seen in known.items() if e in names
        ]
        shown = {node.id for node in nodes}
        edges = [edge for edge in self.edges if edge.source in shown and edge.target in shown]
        edges = [*self._with_subjects(edges, texts), *self._sessions(edges, texts)]
        center = next(node.id for node in nodes if node.hops == 0)
        found = graph_shape.shape([node.id for node in nodes], [(edge.source, edge.target) for edge in edges], center)
        nodes = [replace(node, community=found.community[node.id], rank=found.rank[node.id]) for node in nodes]
        nodes.sort(key=lambda node: (node.hops, node.sort, node.label, node.id))
        return GraphView(nodes, edges, graph_shape.hyperedges(self.tx, self.lens, texts), self.truncated)

    def _with_subjects(self, edges: list[Edge], texts: dict[UUID, Version]) -> list[Edge]:
        """Of whom a memory states something, it is about: that says more than that it names them."""
        about = graph_edges.subjects(self.tx, self.lens, texts)
        return [
            replace(edge, relation=ABOUT) if edge.relation == MENTIONS and (edge.source, edge.target) in about else edge
            for edge in edges
        ]

    @staticmethod
    def _sessions(edges: list[Edge], texts: dict[UUID, Version]) -> list[Edge]:
        adjacent = {(edge.source, edge.target) for edge in edges if edge.relation == NEXT}
        return [Edge(one, other, SAME_SESSION) for one, other in graph_shape.of_one_session(texts, adjacent)]

    def _texts(self, ids: Iterable[UUID]) -> dict[UUID, Version]:
        """Those of these memories that can be recalled and, where a time was asked for, were valid then."""
        as_of = self.lens.as_of
        return {
            memory_id: row
            for memory_id, row in memories.get_many(self.tx, self.lens.view, ids).items()
            if row.state in LIVE
            and (
                as_of is None
                or (
                    (row.valid_from is None or row.valid_from <= as_of)
                    and (row.valid_to is None or row.valid_to > as_of)
                )
            )
        }
