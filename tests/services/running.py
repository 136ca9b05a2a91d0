"""What tests of jobs share: a cube with facts in it, and running a job here and now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.rules.access import Principal
from memos.rules.header import Kind
from memos.services import administer, remember, work
from memos.services.remember import ItemIn
from memos.store import cubes, jobs
from memos.store.jobs import Job
from memos.wiring import App


def make_cube(app: App, who: Principal, name: str, now: datetime, policy: dict[str, Any] | None = None) -> UUID:
    with app.database.transaction(who.tenant_id) as tx:
        return administer.create_cube(tx, who, name=name, description="", policy=policy or {}, now=now).id


def write(
    app: App, who: Principal, cube: str, items: Sequence[ItemIn], now: datetime, branch: str = "main"
) -> list[UUID]:
    """The ids of the memories, in the order of the items."""
    prepared = remember.prepare_items(app.embedder, cube, items=items, branch=branch, now=now)
    with app.database.transaction(who.tenant_id) as tx:
        return [memory.id for memory in remember.write(tx, who, prepared, now=now).memories]


def fact(text: str, **fields: Any) -> ItemIn:
    return ItemIn(kind=Kind.FACT, content=text, **fields)


def run(app: App, who: Principal, job_id: UUID) -> Job:
    """The job after one attempt; fails the test when that did not succeed."""
    state = work.run_job(app, who.tenant_id, job_id)
    job = look(app, who, job_id)
    assert state == "succeeded", job.error
    return job


def look(app: App, who: Principal, job_id: UUID) -> Job:
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        return jobs.get(tx, job_id)


def head(app: App, who: Principal, cube: str, branch: str = "main") -> int:
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        return cubes.view(tx, cube, branch).branch.head_revision
