"""The graph of a cube as a view shows it: entities with their mentions and relations, and what stands around them.

Nothing here is stored twice: a mention or relation is shown when a version with its text is, and is valid when that
version is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.rules.entities import entity_key
from memos.store.cubes import View
from memos.store.identities import Meanings
from memos.store.memories import SHOWN, visible
from memos.store.transaction import Transaction

RECALLABLE = "v.state IN ('generated', 'activated', 'frozen')"


@dataclass(frozen=True, slots=True)
class EntityRow:
    id: UUID
    key: str
    name: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a view's mentions make of an entity."""

    memories: int
    names: list[str]
    type: str


@dataclass(frozen=True, slots=True)
class MentionRow:
    """A memory that names an entity."""

    memory_id: UUID
    entity_id: UUID
    version: int
    kind: str
    content: str
    created_at: datetime
    valid_from: datetime | None
    valid_to: datetime | None


@dataclass(frozen=True, slots=True)
class RelationRow:
    """What a memory says of an entity. `object_id` is set where the value is an entity too."""

    memory_id: UUID
    version: int
    subject_id: UUID | None
    subject: str
    attribute: str
    value: str
    object_id: UUID | None
    negated: bool
    ended: bool
    confidence: float
    valid_from: datetime | None
    valid_to: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Lens:
    """How to look: a view, what names mean in it, and (with `as_of`) only what was valid then."""

    view: View
    meanings: Meanings
    as_of: datetime | None = None

    def shown(self) -> tuple[str, dict[str, object]]:
        """A CTE `shown` of the versions to look at, and its parameters. The past is scanned once, the present not."""
        source, parameters = visible(self.view)
        condition = f"{SHOWN} AND {RECALLABLE}"
        if self.as_of is not None:
            condition += (
                " AND (v.valid_from IS NULL OR v.valid_from <= :as_of) AND (v.valid_to IS NULL OR v.valid_to > :as_of)"
            )
            parameters["as_of"] = self.as_of
        kept = "NOT MATERIALIZED" if self.view.present else "MATERIALIZED"
        return f"shown AS {kept} (SELECT v.* FROM {source} v WHERE {condition})", parameters

    def names(self, roots: Collection[UUID]) -> dict[str, object]:
        """Parameters for the names of some entities, and for where a name means somebody else within one memory."""
        found = self.meanings.names(roots)
        exceptions = self.meanings.exceptions()
        for (name, _), meant in exceptions.items():
            if meant in set(roots):
                found.setdefault(name, self.meanings.root(name))
        return {
            "n_names": list(found),
            "n_means": list(found.values()),
            "x_names": [name for name, _ in exceptions],
            "x_memories": [memory_id for _, memory_id in exceptions],
            "x_means": list(exceptions.values()),
        }


_EXCEPT = (
    "LEFT JOIN unnest(CAST(:x_names AS uuid[]), CAST(:x_memories AS uuid[]), CAST(:x_means AS uuid[])) "
    "AS x (entity_id, memory_id, means_id) ON x.entity_id = m.entity_id AND x.memory_id = v.memory_id"
)
_NAMES = "unnest(CAST(:n_names AS uuid[]), CAST(:n_means AS uuid[])) AS n (entity_id, means_id)"


def find(tx: Transaction, cube_id: UUID, ids: Iterable[UUID]) -> dict[UUID, EntityRow]:
    rows = tx.rows(
        "SELECT id, key, name FROM entities WHERE tenant_id = :tenant AND cube_id = :cube AND id = ANY(:ids)",
        cube=cube_id,
        ids=list(ids),
    )
    return {row["id"]: EntityRow(**row) for row in rows}


def by_keys(tx: Transaction, cube_id: UUID, keys: Iterable[str]) -> dict[str, EntityRow]:
    """Entities by the one spelling of their names (`memos.rules.entities.entity_key`)."""
    rows = tx.rows(
        "SELECT id, key, name FROM entities WHERE tenant_id = :tenant AND cube_id = :cube AND key = ANY(:keys)",
        cube=cube_id,
        keys=list(keys),
    )
    return {row["key"]: EntityRow(**row) for row in rows}


def split_off(tx: Transaction, cube_id: UUID, like: EntityRow, name: str, now: datetime) -> EntityRow:
    """A new entity beside one of the same name. The key's suffix only keeps the two apart."""
    entity_id = uuid_utils.uuid7()
    row = tx.row(
        "INSERT INTO entities (tenant_id, cube_id, id, key, name, split_off, created_at) "
        "VALUES (:tenant, :cube, :id, :key, :name, true, :now) RETURNING id, key, name",
        cube=cube_id,
        id=entity_id,
        key=f"{entity_key(name) or like.key} #{entity_id.hex[-12:]}",
        name=name,
        now=now,
    )
    assert row is not None  # noqa: S101 - the key holds the id
    return EntityRow(**row)


def page(tx: Transaction, lens: Lens, part: str | None, after: str | None, limit: int) -> list[EntityRow]:
    """Entities that the view names and that mean nobody else, in order of key. `part` is a folded piece of a name.

    Those that others mean too may turn out to be named nowhere (see `seen`).
    """
    shown, parameters = lens.shown()
    rows = tx.rows(
        f"WITH {shown} SELECT e.id, e.key, e.name FROM entities e WHERE e.tenant_id = :tenant AND e.cube_id = :cube "
        "AND e.id <> ALL(CAST(:hidden AS uuid[])) AND (CAST(:after AS text) IS NULL OR e.key > :after) "
        "AND (CAST(:part AS text) IS NULL OR position(:part IN e.key) > 0 OR e.id = ANY(CAST(:called AS uuid[]))) "
        "AND (e.id = ANY(CAST(:meant AS uuid[])) OR EXISTS (SELECT 1 FROM mentions m JOIN shown v "
        "ON v.tenant_id = m.tenant_id AND v.content_id = m.content_id "
        "WHERE m.tenant_id = :tenant AND m.cube_id = :cube AND m.entity_id = e.id)) ORDER BY e.key LIMIT :limit",
        cube=lens.view.cube.id,
        hidden=lens.meanings.hidden,
        meant=list({lens.meanings.root(*key) for key in lens.meanings.decided}),
        called=_called(tx, lens, part),
        part=part,
        after=after,
        limit=limit,
        **parameters,
    )
    return [EntityRow(**row) for row in rows]


def seen(tx: Transaction, lens: Lens, roots: Collection[UUID]) -> dict[UUID, Seen]:
    """How many memories name each entity, how it is spelled, and what it seems to be; unnamed ones are missing."""
    shown, parameters = lens.shown()
    rows = tx.rows(
        f"WITH {shown} SELECT coalesce(x.means_id, n.means_id) AS id, count(DISTINCT v.memory_id) AS memories, "
        "array_agg(DISTINCT m.name ORDER BY m.name) AS names, "
        "mode() WITHIN GROUP (ORDER BY m.type) FILTER (WHERE m.type <> 'other') AS type "
        f"FROM {_NAMES} JOIN mentions m ON m.tenant_id = :tenant AND m.cube_id = :cube AND m.entity_id = n.entity_id "
        f"JOIN shown v ON v.tenant_id = m.tenant_id AND v.content_id = m.content_id {_EXCEPT} GROUP BY 1",
        cube=lens.view.cube.id,
        **lens.names(roots),
        **parameters,
    )
    return {
        row["id"]: Seen(row["memories"], row["names"], row["type"] or "other")
        for row in rows
        if row["id"] in set(roots)
    }


def mentions(tx: Transaction, lens: Lens, roots: Collection[UUID], most: int) -> list[MentionRow]:
    """The newest memories that name these entities, at most so many of each."""
    shown, parameters = lens.shown()
    rows = tx.rows(
        f"WITH {shown}, named AS (SELECT DISTINCT ON (id, v.memory_id) coalesce(x.means_id, n.means_id) AS id, "
        "v.memory_id, v.version, v.kind, v.content_id, v.created_at, v.valid_from, v.valid_to "
        f"FROM {_NAMES} JOIN mentions m ON m.tenant_id = :tenant AND m.cube_id = :cube AND m.entity_id = n.entity_id "
        f"JOIN shown v ON v.tenant_id = m.tenant_id AND v.content_id = m.content_id {_EXCEPT} ORDER BY id, v.memory_id), "
        "ranked AS (SELECT named.*, row_number() OVER (PARTITION BY id ORDER BY created_at DESC, memory_id DESC) AS place "
        "FROM named WHERE id = ANY(:roots)) "
        "SELECT r.memory_id, r.id AS entity_id, r.version, r.kind, c.text AS content, r.created_at, r.valid_from, "
        "r.valid_to FROM ranked r JOIN contents c ON c.tenant_id = :tenant AND c.id = r.content_id "
        "WHERE r.place <= :most ORDER BY r.id, r.place",
        cube=lens.view.cube.id,
        roots=list(roots),
        most=most,
        **lens.names(roots),
        **parameters,
    )
    return [MentionRow(**row) for row in rows]


def relations(tx: Transaction, lens: Lens, roots: Collection[UUID], most: int) -> list[RelationRow]:
    """What the view's memories state of these entities, as subject or as value, newest first."""
    shown, parameters = lens.shown()
    names = lens.names(roots)
    rows = tx.rows(
        f"WITH {shown} SELECT v.memory_id, v.version, m.subject_id, m.body->>'subject' AS subject, "
        "m.body->>'attribute' AS attribute, m.body->>'value' AS value, m.object_id, "
        "coalesce(CAST(m.body->>'negated' AS boolean), false) AS negated, "
        "coalesce(CAST(m.body->>'ended' AS boolean), false) AS ended, "
        "m.confidence, v.valid_from, v.valid_to, v.created_at FROM claims m "
        "JOIN shown v ON v.tenant_id = m.tenant_id AND v.content_id = m.content_id "
        "WHERE m.tenant_id = :tenant AND m.cube_id = :cube "
        "AND (m.subject_id = ANY(CAST(:n_names AS uuid[])) OR m.object_id = ANY(CAST(:n_names AS uuid[]))) "
        "ORDER BY v.created_at DESC, v.memory_id, m.position LIMIT :most",
        cube=lens.view.cube.id,
        most=most,
        n_names=names["n_names"],
        **parameters,
    )
    found = [_meant(RelationRow(**row), lens.meanings) for row in rows]
    wanted = set(roots)
    return [row for row in found if row.subject_id in wanted or row.object_id in wanted]


def named_in(tx: Transaction, lens: Lens, memory_ids: Collection[UUID]) -> list[tuple[UUID, UUID]]:
    """(memory, entity) for every entity these memories name."""
    names = spelled(tx, lens, memory_ids)
    return list(dict.fromkeys((memory_id, lens.meanings.root(name, memory_id)) for memory_id, name in names))


def spelled(tx: Transaction, lens: Lens, memory_ids: Collection[UUID]) -> list[tuple[UUID, UUID]]:
    """(memory, name) as the texts have it, before anything was decided about who is meant."""
    source, parameters = visible(lens.view, "o.memory_id = ANY(:ids)")
    rows = tx.tuples(
        f"SELECT DISTINCT v.memory_id, m.entity_id FROM {source} v JOIN mentions m ON m.tenant_id = v.tenant_id "
        f"AND m.content_id = v.content_id WHERE {SHOWN} ORDER BY 1, 2",
        ids=list(memory_ids),
        **parameters,
    )
    return [(row[0], row[1]) for row in rows]


def _called(tx: Transaction, lens: Lens, part: str | None) -> list[UUID]:
    """Whom the names that hold these words mean, where it is somebody of another name."""
    if part is None or not lens.meanings.hidden:
        return []
    rows = find(tx, lens.view.cube.id, lens.meanings.hidden).values()
    return [lens.meanings.root(row.id) for row in rows if part in row.key]


def _meant(row: RelationRow, meanings: Meanings) -> RelationRow:
    subject = row.subject_id and meanings.root(row.subject_id, row.memory_id)
    value = row.object_id and meanings.root(row.object_id, row.memory_id)
    return replace(row, subject_id=subject, object_id=value)
