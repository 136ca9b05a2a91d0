"""Vectors move into the graph when enough have gathered, whatever wrote them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from memos.rules.access import Principal
from memos.rules.header import Kind
from memos.services import administer, branch, indexing, remember, work
from memos.services.remember import utc_now
from memos.store import cubes, jobs, present, revision_writer
from memos.wiring import App
from tests.services.running import look


def twelve_facts(app: App, owner: Principal, name: str, now: datetime) -> tuple[UUID, remember.Prepared]:
    """An empty cube, and what is to be written into it."""
    with app.database.transaction(owner.tenant_id) as tx:
        cube = administer.create_cube(tx, owner, name=name, description="", policy={}, now=now)
    items = [remember.ItemIn(Kind.FACT, f"fact number {n}") for n in range(12)]
    return cube.id, remember.prepare_items(app.embedder, name, items=items, branch="main", now=now)


def test_vectors_move_into_the_graph_once_enough_have_gathered(
    app: App, owner: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utc_now()
    cube_id, prepared = twelve_facts(app, owner, "to-index", now)
    with app.database.transaction(owner.tenant_id) as tx:
        job_id = remember.write(tx, owner, prepared, now=now).jobs[0]
        main = cubes.find_branch(tx, cube_id, "main")

    def go() -> dict[str, Any] | None:
        with app.database.transaction(owner.tenant_id) as tx:
            due = "UPDATE jobs SET run_after = now(), state = 'queued' WHERE tenant_id = :tenant AND id = :id"
            tx.run(due, id=job_id)
        assert work.run_job(app, owner.tenant_id, job_id) == "succeeded"
        return look(app, owner, job_id).result

    assert go() == {"indexed": 0, "waiting": 12}
    monkeypatch.setattr(indexing, "INDEX_AFTER", 10)
    assert go() == {"indexed": 0, "waiting": 12}  # small enough to be compared exactly, however many wait
    monkeypatch.setattr(indexing, "EXACT", 11)
    monkeypatch.setattr(indexing, "BATCH", 5)
    assert go() == {"indexed": 12, "waiting": 0}
    assert go() == {"indexed": 0, "waiting": 0}
    with app.database.transaction(owner.tenant_id) as tx:
        assert present.pending(tx, main.id) == 0


def test_whatever_changes_much_leaves_work_for_the_vector_graph(
    app: App, owner: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revision_writer, "MANY", 10)
    now = utc_now()
    cube_id, prepared = twelve_facts(app, owner, "rolled-back", now)
    with app.database.transaction(owner.tenant_id) as tx:
        remember.write(tx, owner, prepared, now=now)
    for to in (0, 1):
        with app.database.transaction(owner.tenant_id) as tx:
            tx.run("DELETE FROM jobs WHERE tenant_id = :tenant AND cube_id = :cube", cube=cube_id)
            branch.rollback(tx, owner, "rolled-back", to=to, branch="main", now=now)
            promised = tx.scalar("SELECT count(*) FROM jobs WHERE cube_id = :cube AND kind = 'index'", cube=cube_id)
        assert promised == to  # what only leaves needs no work


def test_indexing_a_cube_that_is_gone_is_no_failure(app: App, owner: Principal) -> None:
    with app.database.transaction(owner.tenant_id) as tx:
        job_id = jobs.promise(tx, "index", payload={"branch": "main"}, cube_id=UUID(int=5))
    assert work.run_job(app, owner.tenant_id, job_id) == "succeeded"
