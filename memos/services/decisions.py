"""Decisions: what the workers decided about the memories of a cube, and why."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from memos.rules.access import Principal, Scope
from memos.services.cursors import id_of
from memos.services.views import Page, page
from memos.store import cubes, decisions
from memos.store.decisions import Decision, Logged
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class RunPreview:
    """What a run would do to a branch as it is. `decisions` are the first of those that change something."""

    branch: str
    revision: int
    policy_version: str
    counts: dict[str, int]
    decisions: list[Decision]


def list_decisions(
    tx: Transaction,
    who: Principal,
    cube: str,
    *,
    kind: str | None,
    outcome: str | None,
    memory_id: UUID | None,
    limit: int,
    cursor: str | None,
) -> Page[Logged]:
    """Newest first."""
    who.require(Scope.READ)
    found = cubes.find(tx, cube)
    who.reach(found.id)
    rows = decisions.list_page(
        tx, found.id, kind=kind, outcome=outcome, memory_id=memory_id, limit=limit + 1, before=id_of(cursor)
    )
    return page(rows, limit, lambda row: row.id)
