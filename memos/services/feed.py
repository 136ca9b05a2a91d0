"""Feed: the events of one cube, read in order."""

from __future__ import annotations

from uuid import UUID

from memos.rules.access import Principal, Scope
from memos.services.cursors import number_of
from memos.services.views import Page
from memos.store import cubes, events
from memos.store.events import Event
from memos.store.transaction import Transaction

MOST_NUMBER = 2**62


def place(cursor: str | None) -> int | None:
    """The number of an event, from a cursor or a `Last-Event-ID`. Raises `Invalid`."""
    found = number_of(cursor)
    return None if found is None else max(0, min(found, MOST_NUMBER))


def cube_of(tx: Transaction, who: Principal, reference: str) -> UUID:
    """The cube's id, for who may read it."""
    who.require(Scope.READ)
    found = cubes.find(tx, reference)
    who.reach(found.id)
    return found.id


def read(tx: Transaction, who: Principal, cube: str, *, cursor: str | None, limit: int) -> Page[Event]:
    """Oldest first, as long as they are kept."""
    found = events.page(tx, cube_of(tx, who, cube), place(cursor) or 0, limit + 1)
    shown = found[:limit]
    return Page(shown, str(shown[-1].seq) if len(found) > limit else None)
