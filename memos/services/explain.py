"""Explain: a trace in the words of the memories behind it, as they were when the question was answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.rules.access import Principal
from memos.services import trace
from memos.services.read import links_of
from memos.services.views import Link
from memos.store import cubes, memories, revisions, tenants
from memos.store.cubes import View
from memos.store.memories import Version
from memos.store.revisions import Written
from memos.store.traces import Trace
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One memory of the answer. `content` of None: erased, or gone with its cube. `changed`: it says something else now.

    `written` is who wrote this version.
    `dropped` says why a context left it out; None: it was given. `sources` is what it was made from.
    """

    memory_id: UUID
    version: int
    score: float
    channels: dict[str, float]
    kind: str | None
    content: str | None
    name: str | None
    created_at: datetime | None
    cube: str | None
    cube_id: UUID | None
    written: Written | None
    changed: bool
    dropped: str | None
    sources: list[Link]


@dataclass(frozen=True, slots=True)
class Explained:
    """`left_out` are memories a context dropped that were not among the first of the trace."""

    trace: Trace
    steps: list[Told]
    left_out: list[tuple[UUID, str]]
    cubes: list[str]
    keys: dict[UUID, str]
    """What the keys in it are called: who asked, and who wrote what was given."""


def explained(tx: Transaction, who: Principal, trace_id: UUID) -> Explained:
    """Raises what `trace.get` does."""
    found = trace.get(who, tx, trace_id)
    views = [cubes.view(tx, str(cube_id), found.request["branch"]) for cube_id in found.cube_ids]
    dropped = {UUID(memory_id): reason for memory_id, reason in found.dropped}
    steps = [_told(tx, views, item, dropped) for item in found.items]
    listed = {step.memory_id for step in steps}
    left_out = [(memory_id, reason) for memory_id, reason in dropped.items() if memory_id not in listed]
    keys = {found.key_id} | {step.written.author for step in steps if step.written and step.written.author}
    return Explained(found, steps, left_out, [view.cube.name for view in views], tenants.key_names(tx, keys))


def _told(tx: Transaction, views: list[View], item: list[object], dropped: dict[UUID, str]) -> Told:
    memory_id, version, score, channels = item
    identity, number = UUID(str(memory_id)), int(str(version))
    view, row = _find(tx, views, identity, number)
    current = memories.get(tx, view, identity) if view is not None else None
    sources = [] if view is None else links_of(tx, view, memories.sources(tx, view.cube.id, identity, number))
    return Told(
        memory_id=identity,
        version=number,
        score=float(str(score)),
        channels=channels if isinstance(channels, dict) else {},
        kind=row.kind if row else None,
        content=row.text if row else None,
        name=(row.name or row.role) if row else None,
        created_at=row.created_at if row else None,
        cube=view.cube.name if view else None,
        cube_id=view.cube.id if view else None,
        written=revisions.written(tx, view.cube.id, [row.from_revision]).get(row.from_revision)
        if view and row
        else None,
        changed=row is not None and (current is None or current.content_id != row.content_id),
        dropped=dropped.get(identity),
        sources=sources,
    )


def _find(tx: Transaction, views: list[View], memory_id: UUID, number: int) -> tuple[View | None, Version | None]:
    for view in views:
        if row := memories.version(tx, view.cube.id, memory_id, number):
            return view, row
    return None, None
