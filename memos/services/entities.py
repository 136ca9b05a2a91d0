"""Entities: who and what a cube knows of, what is said of them, and who is the same as whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.errors import Conflict, Invalid, NotFound
from memos.rules.access import Principal, Scope
from memos.rules.entities import entity_key
from memos.services.views import Page
from memos.store import audit, cubes, graph, identities, memories
from memos.store.cubes import At
from memos.store.graph import EntityRow, Lens, MentionRow, RelationRow
from memos.store.identities import Key
from memos.store.revision_writer import RevisionWriter
from memos.store.transaction import Transaction

MOST_MENTIONS = 100
MOST_RELATIONS = 200


@dataclass(frozen=True, slots=True)
class EntityView:
    """An entity as a view shows it. `aliases` are its other spellings, `memories` how many name it."""

    id: UUID
    name: str
    type: str
    aliases: list[str]
    memories: int


@dataclass(frozen=True, slots=True)
class Member:
    id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityDetail:
    """All that is known of an entity, newest first. `members` are names that were merged into it."""

    id: UUID
    name: str
    type: str
    aliases: list[str]
    memories: int
    members: list[Member]
    mentions: list[MentionRow]
    relations: list[RelationRow]


@dataclass(frozen=True, slots=True)
class Decided:
    """A revision that changed who is who, and the entity it was about."""

    revision: int
    entity: EntityView


def list_entities(
    tx: Transaction,
    who: Principal,
    cube: str,
    *,
    q: str | None,
    branch: str,
    at: At,
    as_of: datetime | None,
    limit: int,
    cursor: str | None,
) -> Page[EntityView]:
    """In order of name. `q` is any part of a name, in any case."""
    lens = lens_of(tx, who, cube, branch, at, as_of)
    rows = graph.page(tx, lens, entity_key(q) or None if q is not None else None, cursor, limit + 1)
    shown = rows[:limit]
    known = graph.seen(tx, lens, [row.id for row in shown])
    items = [_entity(row, known) for row in shown if row.id in known]
    return Page(items, shown[-1].key if len(rows) > limit else None)


def get_entity(
    tx: Transaction, who: Principal, cube: str, entity_id: UUID, *, branch: str, at: At, as_of: datetime | None
) -> EntityDetail:
    """By its id, or by that of a name that means it. The same 404 as absent when the view does not name it."""
    lens = lens_of(tx, who, cube, branch, at, as_of)
    row, known = _known(tx, lens, entity_id)
    view = _entity(row, known)
    names = [name for name in lens.meanings.names([row.id]) if name != row.id]
    others = graph.find(tx, lens.view.cube.id, names)
    mentions = graph.mentions(tx, lens, [row.id], MOST_MENTIONS)
    relations = graph.relations(tx, lens, [row.id], MOST_RELATIONS)
    telling = {one.memory_id for one in mentions} | {one.memory_id for one in relations}
    told = memories.get_many(tx, lens.view, telling)
    given = [(one.memory_id, one.version, one.sensitivity) for one in told.values()]
    tx.saw("entity", lens.view.cube.id, lens.view.cube.policy, given)
    return EntityDetail(
        id=row.id,
        name=view.name,
        type=view.type,
        aliases=view.aliases,
        memories=view.memories,
        members=[Member(other.id, other.name) for other in sorted(others.values(), key=lambda other: other.key)],
        mentions=mentions,
        relations=relations,
    )


def merge_entities(
    tx: Transaction,
    who: Principal,
    cube: str,
    *,
    entities: Sequence[UUID],
    into: UUID,
    branch: str,
    now: datetime,
    reason: str = "",
) -> Decided:
    """From the new revision on these names mean `into`. Nothing is rewritten; a split or a rollback undoes it."""
    writer, lens = _begin(tx, who, cube, branch, now)
    known = graph.find(tx, writer.cube.id, {*entities, into})
    if missing := {*entities, into} - set(known):
        raise NotFound(f"no such entity: {min(missing)}")
    target = lens.meanings.root(into)
    roots = {lens.meanings.root(entity_id) for entity_id in entities} - {target}
    if not roots:
        raise Conflict("these already mean the same entity")
    changes: dict[Key, UUID] = {(root, None): target for root in roots}
    return _decide(tx, who, writer, changes, target, "entity.merge", reason)


def split_entity(
    tx: Transaction,
    who: Principal,
    cube: str,
    entity_id: UUID,
    *,
    entities: Sequence[UUID] = (),
    memory_ids: Sequence[UUID] = (),
    name: str | None = None,
    branch: str,
    now: datetime,
    reason: str = "",
) -> Decided:
    """Give back names that were merged into an entity (`entities`), or make somebody else of the same name of what some
    memories say (`memory_ids`). The entity answered is the one split off, or the one given back first."""
    if bool(entities) == bool(memory_ids):
        raise Invalid("name either entities or memory_ids", where=["body"])
    writer, lens = _begin(tx, who, cube, branch, now)
    row, _ = _known(tx, lens, entity_id)
    if entities:
        members = set(lens.meanings.names([row.id])) - {row.id}
        if strangers := set(entities) - members:
            raise NotFound(f"{min(strangers)} was not merged into this entity")
        back: dict[Key, UUID] = {(member, None): member for member in entities}
        return _decide(tx, who, writer, back, entities[0], "entity.split", reason)
    naming = graph.named_in(tx, lens, memory_ids)
    here = {memory_id for memory_id, named in naming if named == row.id}
    if strangers := set(memory_ids) - here:
        raise NotFound(f"memory {min(strangers)} does not name this entity")
    other = graph.split_off(tx, writer.cube.id, row, name or row.name, writer.now)
    names = graph.spelled(tx, lens, sorted(here))
    apart: dict[Key, UUID] = {
        (spelling, memory_id): other.id
        for memory_id, spelling in names
        if lens.meanings.root(spelling, memory_id) == row.id
    }
    return _decide(tx, who, writer, apart, other.id, "entity.split", reason)


def _decide(
    tx: Transaction,
    who: Principal,
    writer: RevisionWriter,
    changes: dict[Key, UUID],
    about: UUID,
    kind: str,
    reason: str,
) -> Decided:
    revised = writer.finish(kind=kind, author=who.key_id, reason=reason, even_if_empty=True)
    identities.decide(tx, writer.branch, revised.number, changes)
    audit.record(tx, who.key_id, kind, writer.now, cube_id=writer.cube.id, target=str(about),
                 detail={"revision": revised.number, "entities": sorted(str(entity) for entity, _ in changes)})  # fmt: skip
    view = cubes.view(tx, str(writer.cube.id), writer.branch.name)
    row, known = _known(tx, Lens(view, identities.meanings(tx, view)), about)
    return Decided(revised.number, _entity(row, known))


def _begin(tx: Transaction, who: Principal, cube: str, branch: str, now: datetime) -> tuple[RevisionWriter, Lens]:
    who.require(Scope.WRITE)
    writer = RevisionWriter(tx, cube, branch, now=now)
    who.reach(writer.cube.id)
    view = writer.view
    return writer, Lens(view, identities.meanings(tx, view))


def lens_of(tx: Transaction, who: Principal, cube: str, branch: str, at: At, as_of: datetime | None) -> Lens:
    """How a caller may look at a cube's graph."""
    who.require(Scope.READ)
    view = cubes.view(tx, cube, branch, at)
    who.reach(view.cube.id)
    return Lens(view, identities.meanings(tx, view), as_of)


def _known(tx: Transaction, lens: Lens, entity_id: UUID) -> tuple[EntityRow, dict[UUID, graph.Seen]]:
    root = lens.meanings.root(entity_id)
    row = graph.find(tx, lens.view.cube.id, [root]).get(root)
    known = graph.seen(tx, lens, [root]) if row is not None else {}
    if row is None or root not in known:
        raise NotFound("no such entity")
    return row, known


def _entity(row: EntityRow, known: dict[UUID, graph.Seen]) -> EntityView:
    found = known[row.id]
    return EntityView(row.id, row.name, found.type, [n for n in found.names if n != row.name], found.memories)
