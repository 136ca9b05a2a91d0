"""Dossier: everything known of one memory, in one answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.errors import NotFound
from memos.rules.access import Principal, Scope
from memos.rules.strength import Retention, initial_retention, retrievability
from memos.services.read import links_of
from memos.services.views import Link, MemoryView
from memos.store import cubes, decisions, dossier, memories, revisions, tenants
from memos.store.cubes import Cube
from memos.store.decisions import Logged
from memos.store.dossier import Cached, Claim, Linked, Mention, Place, Step, Text, Use
from memos.store.memories import Version
from memos.store.revisions import Written
from memos.store.transaction import Transaction

MOST_VERSIONS = 200
MOST_STEPS = 100
MOST_LINKS = 200
MOST_DECISIONS = 20
MOST_TRACES = 20


@dataclass(frozen=True, slots=True)
class Strength:
    """How well the memory is retained now; `retention` says from when and how slowly it fades."""

    now: float
    retention: Retention


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """`header` is the newest version, which on a deleted branch or after a removal no view may show.

    `versions` are newest first; `more_versions` says that there are older ones. `branches` names the branch of each.
    """

    cube: Cube
    memory_id: UUID
    created_at: datetime
    header: MemoryView
    versions: list[MemoryView]
    branches: dict[int, str]
    more_versions: bool
    texts: list[Text]
    places: list[Place]
    mentions: list[Mention]
    claims: list[Claim]
    use: Use | None
    strength: Strength | None
    sources: list[Link]
    derived: list[Link]
    links: list[Linked]
    transitions: list[Step]
    decisions: list[Logged]
    traces: list[UUID]
    activation: list[Cached]
    written: dict[int, Written]
    """Who made the revision of each version shown, by the revision's number."""
    keys: dict[UUID, str]
    """What their keys are called."""


def open_(
    tx: Transaction, who: Principal, memory_id: UUID, *, now: datetime, cube: str | None = None, vectors: bool = False
) -> Dossier:
    """`cube` chooses where copied cubes share an id. Raises `NotFound` also for what is beyond the key's reach."""
    who.require(Scope.ADMIN)
    home = _home(tx, who, memory_id, cube)
    rows = memories.history(tx, home.id, memory_id, MOST_VERSIONS + 1, None)
    if not rows:
        raise NotFound("no such memory")
    shown = rows[:MOST_VERSIONS]
    use = dossier.use(tx, home.id, memory_id)
    created = dossier.created_at(tx, home.id, memory_id)
    usage = memories.usage(tx, home.id, [memory_id]).get(memory_id)
    view = cubes.view(tx, str(home.id), cubes.MAIN)
    written = revisions.written(tx, home.id, [row.from_revision for row in shown])
    names = {branch.id: branch.name for branch in cubes.list_branches(tx, home.id, deleted=True)}
    return Dossier(
        cube=home,
        memory_id=memory_id,
        created_at=created,
        header=MemoryView.of(rows[0], usage),
        versions=[MemoryView.of(row) for row in shown],
        branches={row.version: names[row.branch_id] for row in shown},
        more_versions=len(rows) > MOST_VERSIONS,
        texts=dossier.texts(tx, home.id, memory_id, values=vectors),
        places=dossier.places(tx, memory_id),
        mentions=dossier.mentions(tx, home.id, memory_id),
        claims=dossier.claims(tx, home.id, memory_id),
        use=use,
        strength=None if rows[0].erased_at else _strength(rows[0], use, created, now),
        sources=links_of(tx, view, memories.sources(tx, home.id, memory_id, rows[0].version)),
        derived=links_of(tx, view, memories.derived(tx, home.id, memory_id)),
        links=dossier.links(tx, home.id, memory_id, MOST_LINKS),
        transitions=dossier.steps(tx, home.id, memory_id, MOST_STEPS),
        decisions=decisions.list_page(
            tx, home.id, kind=None, outcome=None, memory_id=memory_id, limit=MOST_DECISIONS, before=None
        ),
        traces=dossier.traces_naming(tx, memory_id, MOST_TRACES),
        activation=dossier.cached(tx, home.id, memory_id, MOST_LINKS),
        written=written,
        keys=tenants.key_names(tx, {one.author for one in written.values() if one.author}),
    )


def _home(tx: Transaction, who: Principal, memory_id: UUID, cube: str | None) -> Cube:
    ids = dossier.homes(tx, memory_id)
    wanted = cubes.find(tx, cube).id if cube is not None else None
    for cube_id in ids:
        if who.may_reach(cube_id) and wanted in (None, cube_id):
            return cubes.find(tx, str(cube_id))
    raise NotFound("no such memory")


def _strength(row: Version, use: Use | None, created: datetime, now: datetime) -> Strength:
    retention = initial_retention(row.kind, priority=row.priority, created_at=created)
    if use is not None:
        retention = Retention(use.stability_days, use.last_recalled_at or created, use.recalls)
    return Strength(retrievability(retention, now), retention)
