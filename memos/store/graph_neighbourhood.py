"""The neighbourhood of a question in the graph: what its entities and best hits stand beside, cut out in one statement.

Every memory in it is one that the view shows, that can be recalled, and that fulfils the caller's filter: the walk never
passes through what may not be seen. What follows from columns (the next turn, what a fact was made from, whom a text
names) is computed here and stored nowhere.

Bounded by what a person's question can need: so many entities, so many of the newest memories of each, so many rows read to
find them. A name on every page ties nothing to anything; of such a hub only the newest memories are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.rules.filters import Filter, mentions
from memos.store.cubes import View
from memos.store.filters import compile_filter
from memos.store.identities import Meanings
from memos.store.memories import SHOWN, visible
from memos.store.transaction import Transaction

RECALLABLE = "v.state IN ('generated', 'activated', 'frozen')"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be read: entities to start from, memories of each (newest first) and rows looked at to find them,
    memories around a hit on each side, and other memories tied to one by derivation or a link."""

    entities: int = 60
    per_entity: int = 40
    looked: int = 160
    beside: int = 1
    tied: int = 400


@dataclass(frozen=True, slots=True)
class Around:
    """What to look around: entities by the keys of their names, and hits by memory; and what everything must fulfil."""

    keys: Sequence[str]
    hits: Sequence[UUID]
    as_of: datetime
    filter: Filter | None = None
    bounds: Bounds = Bounds()


@dataclass(frozen=True, slots=True)
class Place:
    """A memory of the neighbourhood, in the version that the view shows."""

    memory_id: str
    version: int
    version_id: int
    kind: str


@dataclass(frozen=True, slots=True)
class Tie:
    """An edge: `names` and `about` go from a memory to an entity, all others from a memory to a memory."""

    relation: str
    source: str
    target: str
    weight: float


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """`asked` are the entities that the question names. Ids are text: thousands of them are hashed again and again, which
    with `UUID` takes longer than all the rest."""

    places: dict[str, Place]
    ties: list[Tie]
    asked: list[str]


def neighbourhood(tx: Transaction, view: View, meanings: Meanings, around: Around) -> Neighbourhood:
    """What stands around some entities and memories, in no order. One round trip."""
    source, parameters = visible(view)
    condition, bound = _condition(around)
    bounds = around.bounds
    hidden = meanings.hidden
    rows = tx.tuples(
        _STATEMENT.format(
            source=source,
            kept="NOT MATERIALIZED" if view.present else "MATERIALIZED",
            condition=f"{SHOWN} AND {condition}",
            by_content=_PRESENT_BY_CONTENT if view.present else "shown",
        ),
        cube=view.cube.id,
        keys=list(around.keys),
        hits=list(around.hits),
        a_names=hidden,
        a_means=[meanings.root(name) for name in hidden],
        most_entities=bounds.entities,
        per_entity=bounds.per_entity,
        looked=bounds.looked,
        beside=bounds.beside,
        tied=bounds.tied,
        **parameters,
        **bound,
    )
    return _read(rows, meanings)


def _read(rows: Sequence[Any], meanings: Meanings) -> Neighbourhood:
    places: dict[str, Place] = {}
    ties: list[Tie] = []
    held: list[tuple[int, Tie]] = []
    asked: list[str] = []
    for relation, left, right, weight, version, version_id, kind in rows:
        if relation == _MEMORY:
            places[left] = Place(left, version, version_id, kind)
        elif relation == _ASKED:
            asked.append(left)
        elif relation in ENTITY_TIES and meanings.decided:
            ties.append(Tie(relation, left, str(meanings.root(UUID(right), UUID(left))), weight))
        elif relation in ENTITY_TIES:
            ties.append(Tie(relation, left, right, weight))
        else:
            held.append((version, Tie(relation, left, right, weight)))
    # A source or link hangs on one version of the memory that has it, and counts where that version is the one shown.
    ties += [
        tie
        for version, tie in held
        if tie.target in places and tie.source in places and places[tie.source].version == version
    ]
    return Neighbourhood(places, ties, asked)


NAMES, ABOUT, NEXT = "names", "about", "next"
ENTITY_TIES = frozenset({NAMES, ABOUT})
_MEMORY, _ASKED = "memory", "asked"


def _condition(around: Around) -> tuple[str, dict[str, object]]:
    condition, parameters = compile_filter(around.filter)
    parts = [
        condition,
        "(v.valid_from IS NULL OR v.valid_from <= :as_of)",
        "(v.valid_to IS NULL OR v.valid_to > :as_of)",
        "(v.expires_at IS NULL OR v.expires_at > :as_of)",
    ]
    if not mentions(around.filter, "state"):
        parts.append(RECALLABLE)
    return " AND ".join(parts), {**parameters, "as_of": around.as_of}


# Of a young table the planner knows nothing and would scan the branch for each text. Written so that only the index on
# contents fits, the lookup is by key whatever it believes.
_PRESENT_BY_CONTENT = (
    "(SELECT o.* FROM memory_versions o WHERE o.tenant_id = :tenant AND o.branch_id + 0 = :branch_id "
    "AND coalesce(o.to_revision, 0) = 0)"
)
# `alias` has the names that mean somebody else. A text's mentions hang on its content, so a hit's are found by one key.
# Inside a lateral the limit stands after the join, so that old versions of a text do not use up the bound, and a second
# limit inside it bounds how many of them are looked at.
_STATEMENT = """
WITH shown AS {kept} (SELECT v.* FROM {source} v WHERE {condition}),
alias AS MATERIALIZED (
    SELECT a.name_id, a.means_id FROM unnest(CAST(:a_names AS uuid[]), CAST(:a_means AS uuid[])) AS a (name_id, means_id)),
hit AS MATERIALIZED (
    SELECT v.id, v.memory_id, v.version, v.kind, v.content_id, v.session_id, v.ordinal FROM shown v
    WHERE v.memory_id = ANY(CAST(:hits AS uuid[]))),
asked AS MATERIALIZED (
    SELECT DISTINCT coalesce(a.means_id, e.id) AS id FROM entities e LEFT JOIN alias a ON a.name_id = e.id
    WHERE e.tenant_id = :tenant AND e.cube_id = :cube AND e.key = ANY(CAST(:keys AS text[]))),
seed AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, 1 AS rank FROM asked UNION ALL
        SELECT coalesce(a.means_id, m.entity_id), 2 FROM hit h
        JOIN mentions m ON m.tenant_id = :tenant AND m.content_id = h.content_id
        LEFT JOIN alias a ON a.name_id = m.entity_id) s
    GROUP BY id ORDER BY min(rank), count(*) DESC, id LIMIT :most_entities),
spelled AS MATERIALIZED (SELECT id AS name_id FROM seed UNION SELECT a.name_id FROM alias a JOIN seed s ON s.id = a.means_id),
tied AS MATERIALIZED (
    (SELECT s.relation, s.memory_id AS source, s.source_memory_id AS target, 1.0 AS weight, s.version FROM hit h
     JOIN memory_sources s ON s.tenant_id = :tenant AND s.cube_id = :cube AND s.memory_id = h.memory_id
        AND s.version = h.version LIMIT :tied)
    UNION
    (SELECT s.relation, s.memory_id, s.source_memory_id, 1.0, s.version FROM hit h
     JOIN memory_sources s ON s.tenant_id = :tenant AND s.cube_id = :cube AND s.source_memory_id = h.memory_id
     ORDER BY s.memory_id DESC, s.version DESC LIMIT :tied)
    UNION
    (SELECT l.relation, l.memory_id, l.other_id, coalesce(l.weight, 1.0), l.version FROM hit h
     JOIN links l ON l.tenant_id = :tenant AND l.cube_id = :cube AND l.memory_id = h.memory_id AND l.version = h.version
     WHERE l.relation <> 'superseded-by' LIMIT :tied)
    UNION
    (SELECT l.relation, l.memory_id, l.other_id, coalesce(l.weight, 1.0), l.version FROM hit h
     JOIN links l ON l.tenant_id = :tenant AND l.cube_id = :cube AND l.other_id = h.memory_id
     WHERE l.relation <> 'superseded-by' ORDER BY l.memory_id DESC, l.version DESC LIMIT :tied)
    UNION
    (SELECT 'next', CASE WHEN n.ordinal > h.ordinal THEN h.memory_id ELSE n.memory_id END,
        CASE WHEN n.ordinal > h.ordinal THEN n.memory_id ELSE h.memory_id END, 1.0,
        CASE WHEN n.ordinal > h.ordinal THEN h.version ELSE n.version END FROM hit h
     JOIN shown n ON h.session_id IS NOT NULL AND n.session_id = h.session_id AND n.memory_id <> h.memory_id
        AND n.ordinal BETWEEN h.ordinal - :beside AND h.ordinal + :beside)),
place AS MATERIALIZED (
    SELECT id, memory_id, version, kind, content_id FROM hit
    UNION
    SELECT v.id, v.memory_id, v.version, v.kind, v.content_id FROM shown v
    WHERE v.memory_id IN (SELECT source FROM tied UNION SELECT target FROM tied)
    UNION
    SELECT v.id, v.memory_id, v.version, v.kind, v.content_id FROM spelled s CROSS JOIN LATERAL (
        SELECT v.* FROM (
            SELECT m.content_id FROM mentions m WHERE m.tenant_id = :tenant AND m.cube_id = :cube
            AND m.entity_id = s.name_id ORDER BY m.content_id DESC LIMIT :looked) m
        JOIN {by_content} v ON v.tenant_id = :tenant AND v.content_id = m.content_id AND {condition}
        ORDER BY m.content_id DESC LIMIT :per_entity) v)
SELECT 'memory' AS relation, CAST(memory_id AS text) AS source, CAST(NULL AS text) AS target,
    CAST(0 AS double precision) AS weight, version, id AS version_id, kind FROM place
UNION ALL
SELECT 'asked', CAST(id AS text), NULL, 0, 0, 0, '' FROM asked
UNION ALL
SELECT relation, CAST(source AS text), CAST(target AS text), weight, version, 0, '' FROM tied
UNION ALL
SELECT 'names', CAST(p.memory_id AS text), CAST(m.entity_id AS text), m.confidence, 0, 0, '' FROM place p
    CROSS JOIN LATERAL (SELECT m.entity_id, max(m.confidence) AS confidence FROM mentions m
        WHERE m.tenant_id = :tenant AND m.content_id = p.content_id GROUP BY m.entity_id) m
UNION ALL
SELECT 'about', CAST(p.memory_id AS text), CAST(c.subject_id AS text), c.confidence, 0, 0, '' FROM place p
    CROSS JOIN LATERAL (SELECT c.subject_id, max(c.confidence) AS confidence FROM claims c
        WHERE c.tenant_id = :tenant AND c.content_id = p.content_id AND c.subject_id IS NOT NULL GROUP BY c.subject_id) c
"""
