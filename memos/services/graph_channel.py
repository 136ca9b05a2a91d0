"""The graph channel: memories that hang together with what a question names and with its best hits.

A second look for questions whose answer lies a step away from their words. The neighbourhood is cut out of the store in
one statement, within bounds and the caller's filter, and a walk that keeps returning to the question's entities and hits
(personalised PageRank) says who matters in it, as HippoRAG does (Gutierrez et al. 2024, arXiv 2405.14831).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.rules.filters import Filter
from memos.rules.graph_routing import SEED_HITS, evidence_of, question_keys, tie_weight, walks
from memos.rules.graph_walk import personalised_pagerank
from memos.store import graph_neighbourhood, identities
from memos.store.cubes import View
from memos.store.graph_neighbourhood import Around, Bounds, Neighbourhood, Place
from memos.store.transaction import Transaction

BOUNDS = Bounds()
MOST_HITS = 30
"""More seeds than this are no seeds."""
MOST_FOUND = 40
"""Of a walk for a search: about half of them are new and a step away."""


@dataclass(frozen=True, slots=True)
class GraphCandidate:
    """A memory found by walking. `evidence` is its share of the walk, as a share of the best one's: above 0, at most 1.

    `seed` tells that it was among the hits the walk began from, `named` that it names what the question names.
    """

    memory_id: UUID
    version: int
    version_id: int
    kind: str
    evidence: float
    seed: bool
    named: bool


@dataclass(frozen=True, slots=True)
class Gain:
    """Ranking evidence for a memory that no word or meaning led to."""

    memory_id: UUID
    version_id: int
    evidence: float


def graph_candidates(
    tx: Transaction,
    view: View,
    entities: Sequence[str],
    hits: Mapping[UUID, float],
    *,
    as_of: datetime,
    tree: Filter | None = None,
    kinds: Collection[str] | None = None,
    limit: int = 20,
    bounds: Bounds = BOUNDS,
) -> list[GraphCandidate]:
    """Return the memories that a walk from some entities and hits comes by most, best first; ties in order of version.

    `entities` are names as spelled or parts of the question, `hits` the best memories of the first look with positive
    weights. What the view does not show, what was not valid at `as_of`, what cannot be recalled, and what does not fulfil
    `tree` (a filter) is neither found nor passed through; `kinds` only says what is given out. Two round trips.
    """
    best = dict(sorted(hits.items(), key=lambda hit: (-hit[1], hit[0]))[:MOST_HITS])
    around = Around(question_keys(entities), list(best), as_of, tree, bounds)
    near = graph_neighbourhood.neighbourhood(tx, view, identities.meanings(tx, view), around)
    seeds = {str(memory_id): weight for memory_id, weight in best.items()}
    ranks = walk(near, seeds)
    found = [
        (ranks[place.memory_id], place)
        for place in near.places.values()
        if ranks.get(place.memory_id, 0.0) > 0.0 and (kinds is None or place.kind in kinds)
    ]
    found.sort(key=lambda one: (-one[0], one[1].version_id))
    most = found[0][0] if found else 1.0
    asked = frozenset(near.asked)
    named = {tie.source for tie in near.ties if tie.relation in graph_neighbourhood.ENTITY_TIES and tie.target in asked}
    return [_candidate(place, rank / most, seeds, named) for rank, place in found[:limit]]


def graph_gains(
    tx: Transaction,
    view: View,
    question: str,
    entities: Sequence[str],
    best: Sequence[tuple[UUID, str, float]],
    *,
    budget: str,
    as_of: datetime,
    tree: Filter | None = None,
    kinds: Collection[str] | None = None,
) -> list[Gain]:
    """What a second look gains by walking from the best hits of the first: (memory, kind, score) each, best first.

    Empty where a walk does not pay (see `memos.rules.graph_routing`), and then without any round trip. To be added to the
    ranking's evidence, and fetched where the first look has not found them.
    """
    if not walks(question, [kind for _, kind, _ in best], budget):
        return []
    hits = {memory_id: score for memory_id, _, score in best[:SEED_HITS]}
    found = graph_candidates(tx, view, entities, hits, as_of=as_of, tree=tree, kinds=kinds, limit=MOST_FOUND)
    # What names the question's own names shares words with it: ranking knows all there is to know of that.
    known = frozenset(one.version_id for one in found if one.seed or one.named)
    evidence = evidence_of({one.version_id: one.evidence for one in found}, known)
    return [
        Gain(one.memory_id, one.version_id, evidence[one.version_id]) for one in found if one.version_id in evidence
    ]


def walk(near: Neighbourhood, hits: Mapping[str, float]) -> dict[str, float]:
    """Where a walker is who starts at the entities asked for and at the hits, half of the chance each."""
    here = {memory_id: weight for memory_id, weight in hits.items() if memory_id in near.places and weight > 0}
    total = sum(here.values())
    seeds = {memory_id: weight / total for memory_id, weight in here.items()}
    seeds |= dict.fromkeys(near.asked, 1.0 / max(len(near.asked), 1))
    edges = [(tie.source, tie.target, tie_weight(tie.relation, tie.weight)) for tie in near.ties]
    return personalised_pagerank(edges, seeds)


def _candidate(place: Place, evidence: float, seeds: Collection[str], named: Collection[str]) -> GraphCandidate:
    return GraphCandidate(
        memory_id=UUID(place.memory_id),
        version=place.version,
        version_id=place.version_id,
        kind=place.kind,
        # Rounding makes equal shares equal on every machine.
        evidence=round(evidence, 9),
        seed=place.memory_id in seeds,
        named=place.memory_id in named,
    )
