"""Holds: what is under legal hold is not erased, expired, archived by policy or deleted, whoever asks."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from memos.errors import Held, NotFound
from memos.rules.access import Principal, Scope
from memos.services.cursors import id_of
from memos.services.views import Page, page
from memos.store import audit, cubes, erasure, holds
from memos.store.holds import Hold
from memos.store.transaction import Transaction


def place(tx: Transaction, who: Principal, *, cube: str, memory_id: UUID | None, reason: str, now: datetime) -> Hold:
    """On a cube, or on one memory of it."""
    who.require(Scope.ADMIN)
    # Nothing of the cube is being erased at this moment: an erasure holds the same row.
    found = cubes.find(tx, cube, lock=True)
    who.reach(found.id)
    if memory_id is not None and not erasure.known(tx, found.id, [memory_id]):
        raise NotFound("no such memory")
    hold = holds.place(tx, found.id, memory_id, reason, who.key_id, now)
    target = str(memory_id or found.id)
    audit.record(tx, who.key_id, "hold.place", now, cube_id=found.id, target=target, detail={"hold": str(hold.id)})
    return hold


def list_holds(
    tx: Transaction, who: Principal, *, cube: str | None, active: bool | None, limit: int, cursor: str | None
) -> Page[Hold]:
    who.require(Scope.ADMIN)
    cube_id = None
    if cube is not None:
        cube_id = cubes.find(tx, cube).id
        who.reach(cube_id)
    found = holds.page(tx, cube_id=cube_id, active=active, limit=limit + 1, after=id_of(cursor))
    shown = page(found, limit, lambda hold: hold.id)
    return Page([hold for hold in shown.items if who.may_reach(hold.cube_id)], shown.next_cursor)


def release(tx: Transaction, who: Principal, hold_id: UUID, *, now: datetime, reason: str = "") -> None:
    """The reason is kept in the audit trail. Releasing twice is once."""
    who.require(Scope.ADMIN)
    hold = holds.get(tx, hold_id)
    if hold is None or not who.may_reach(hold.cube_id):
        raise NotFound("no such hold")
    if hold.released_at is not None:
        return
    holds.release(tx, hold_id, who.key_id, now)
    audit.record(tx, who.key_id, "hold.release", now, cube_id=hold.cube_id, target=str(hold.memory_id or hold.cube_id),
                 detail={"hold": str(hold_id)} | ({"reason": reason} if reason else {}))  # fmt: skip


def refuse(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID]) -> None:
    """Raise `Held` when any of these memories is under hold."""
    if found := holds.held(tx, cube_id, memory_ids):
        listed = sorted(str(memory_id) for memory_id in found)[:100]
        raise Held(f"{len(found)} of these memories are under legal hold", extra={"memory_ids": listed})


def refuse_cube(tx: Transaction, cube_id: UUID) -> None:
    """Raise `Held` when the cube, or anything in it, is under hold."""
    whole, single = holds.active(tx, cube_id)
    if whole or single:
        what = "this cube is" if whole else f"{len(single)} memories of this cube are"
        raise Held(f"{what} under legal hold")
