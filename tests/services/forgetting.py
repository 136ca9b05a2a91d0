"""What tests of forgetting share: a policy under which a few memories fill their cube, and runs at any time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from memos.rules import policy as policies
from memos.rules.access import Principal
from memos.services import forget, read
from memos.services.views import MemoryView
from memos.store import cubes, usage
from memos.wiring import App
from tests.services.running import run

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=500)
FULL = {"room": 0}
"""A few memories are treated as if they filled the cube."""
FULL_VERSION = policies.parse({"forget": FULL}).forget.rule.version


def decay(app: App, owner: Principal, cube: str, now: datetime) -> tuple[int | None, dict[str, int]]:
    with app.database.transaction(owner.tenant_id) as tx:
        job = forget.request(tx, owner, cube, branch="main", now=now)
    done = run(app, owner, job.id)
    assert done.result is not None
    return done.revision, done.result["counts"]


def get(app: App, owner: Principal, cube: str, memory_id: UUID) -> MemoryView:
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        return read.get_memory(tx, owner, cube, memory_id, branch="main", at=None)


def recalled(app: App, owner: Principal, cube_id: UUID, counts: dict[UUID, int], now: datetime) -> None:
    with app.database.transaction(owner.tenant_id) as tx:
        usage.recalled(tx, cube_id, counts, now)


def cube_id(app: App, owner: Principal, cube: str) -> UUID:
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        return cubes.find(tx, cube).id


def transitions(app: App, owner: Principal, memory_id: UUID) -> list[tuple[Any, ...]]:
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        rows = tx.rows(
            "SELECT from_state, to_state, action, revision FROM transitions WHERE memory_id = :id ORDER BY id",
            id=memory_id,
        )
    return [tuple(row.values()) for row in rows]
