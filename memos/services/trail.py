"""The trail, for whoever has to prove what happened: the tenant's audit rows in order, with their chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.rules.access import Principal, Scope
from memos.store import audit
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows. With a memory: what was done to it, and every read that gave it to somebody."""

    after_seq: int = 0
    since: datetime | None = None
    until: datetime | None = None
    memory_id: UUID | None = None


def export(tx: Transaction, who: Principal, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """A key bound to cubes exports what is about those only; the chain then has gaps, as with any filter."""
    who.require(Scope.ADMIN)
    for entry in audit.stream(
        tx, after_seq=wanted.after_seq, since=wanted.since, until=wanted.until, memory_id=wanted.memory_id
    ):
        if who.cube_ids is None or (entry.cube_id is not None and who.may_reach(entry.cube_id)):
            yield asdict(entry)
