"""Read: memories one by one or in pages, their history, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from memos.errors import NotFound
from memos.rules.access import Principal, Scope
from memos.rules.filters import Condition, Filter, Group, Type
from memos.rules.header import Source
from memos.services.cursors import id_of, number_of
from memos.services.views import Link, MemoryView, Page, ProvenanceView, page
from memos.store import cubes, memories
from memos.store.cubes import At, View
from memos.store.filters import compile_filter
from memos.store.memories import Version
from memos.store.transaction import Transaction


def list_memories(
    tx: Transaction,
    who: Principal,
    cube: str,
    *,
    kind: str | None,
    state: str | None,
    tag: str | None,
    session_id: str | None,
    external_id: str | None = None,
    branch: str,
    at: At,
    as_of: datetime | None,
    limit: int,
    cursor: str | None,
) -> Page[MemoryView]:
    """In order of writing. Every state is listed unless one is asked for."""
    view = _open(tx, who, cube, branch, at)
    wanted = {"kind": kind, "state": state, "session_id": session_id, "external_id": external_id}
    parts: list[Filter] = [Condition(f, Type.WORD, "eq", v) for f, v in wanted.items() if v is not None]
    if tag is not None:
        parts.append(Condition("tags", Type.WORDS, "contains", tag))
    condition, parameters = compile_filter(Group("and", tuple(parts)) if parts else None)
    if tag is not None or session_id is not None or external_id is not None:
        condition += " AND c.id IS NOT NULL"  # what is withheld must not be guessed by asking for it
    if as_of is not None:
        condition += (
            " AND (v.valid_from IS NULL OR v.valid_from <= :as_of) AND (v.valid_to IS NULL OR v.valid_to > :as_of)"
        )
        parameters["as_of"] = as_of
    rows = memories.list_page(tx, view, condition, parameters, limit + 1, id_of(cursor))
    found = page(rows, limit, lambda row: row.memory_id)
    _tell(tx, view, "list", found.items)
    usage = memories.usage(tx, view.cube.id, [row.memory_id for row in found.items])
    return Page([MemoryView.of(row, usage.get(row.memory_id)) for row in found.items], found.next_cursor)


def get_memory(
    tx: Transaction, who: Principal, cube: str, memory_id: UUID, *, branch: str, at: At, as_of: datetime | None = None
) -> MemoryView:
    """One memory as a view shows it. With `as_of`, the same 404 as absent when it was not valid then."""
    view = _open(tx, who, cube, branch, at)
    row = memories.get(tx, view, memory_id)
    if row is None or (as_of is not None and not _valid(row.valid_from, row.valid_to, as_of)):
        raise NotFound("no such memory")
    _tell(tx, view, "get", [row])
    return MemoryView.of(row, memories.usage(tx, view.cube.id, [memory_id]).get(memory_id))


def history(
    tx: Transaction,
    who: Principal,
    cube: str,
    memory_id: UUID,
    *,
    branch: str | None = None,
    at: At = None,
    as_of: datetime | None = None,
    limit: int,
    cursor: str | None,
) -> Page[MemoryView]:
    """Every version, newest first: on every branch, or of one with what it inherited; those that `at` knew, and those
    valid at `as_of`."""
    view = _open(tx, who, cube, branch or cubes.MAIN, at)
    before = number_of(cursor)
    seen = memories.Seen(None if branch is None else view.lineage, None if at is None else view.at, as_of)
    rows = memories.history(tx, view.cube.id, memory_id, limit + 1, before, seen)
    if not rows and before is None:
        raise NotFound("no such memory")
    found = page(rows, limit, lambda row: row.version)
    _tell(tx, view, "history", found.items)
    return Page([MemoryView.of(row) for row in found.items], found.next_cursor)


def provenance(
    tx: Transaction, who: Principal, cube: str, memory_id: UUID, *, branch: str, at: At, as_of: datetime | None = None
) -> ProvenanceView:
    """Sources of the version a view shows, and what was derived from any version of the memory."""
    view = _open(tx, who, cube, branch, at)
    row = memories.get(tx, view, memory_id)
    if row is None or (as_of is not None and not _valid(row.valid_from, row.valid_to, as_of)):
        raise NotFound("no such memory")
    return ProvenanceView(
        memory_id,
        row.version,
        links_of(tx, view, memories.sources(tx, view.cube.id, memory_id, row.version)),
        links_of(tx, view, memories.derived(tx, view.cube.id, memory_id)),
    )


def links_of(tx: Transaction, view: View, sources: list[Source]) -> list[Link]:
    """Sources with what the view shows of them; a kind and content of None where it shows nothing."""
    shown = memories.get_many(tx, view, {s.memory_id for s in sources})
    _tell(tx, view, "provenance", list(shown.values()))
    return [
        Link(
            s.memory_id,
            s.version,
            s.relation,
            shown[s.memory_id].kind if s.memory_id in shown else None,
            shown[s.memory_id].text if s.memory_id in shown else None,
        )
        for s in sources
    ]


def _tell(tx: Transaction, view: View, door: str, rows: Sequence[Version]) -> None:
    """What was withheld has not been read."""
    given = [(row.memory_id, row.version, row.sensitivity) for row in rows if row.text is not None]
    tx.saw(door, view.cube.id, view.cube.policy, given)


def _open(tx: Transaction, who: Principal, cube: str, branch: str, at: At) -> View:
    who.require(Scope.READ)
    view = cubes.view(tx, cube, branch, at)
    who.reach(view.cube.id)
    return view


def _valid(valid_from: datetime | None, valid_to: datetime | None, moment: datetime) -> bool:
    return (valid_from is None or valid_from <= moment) and (valid_to is None or valid_to > moment)
