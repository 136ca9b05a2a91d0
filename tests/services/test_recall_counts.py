"""What is recalled is activated, grows stronger, comes back, and is marked for the activation tier while it is hot."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.access import Principal
from memos.rules.header import Kind
from memos.rules.strength import Retention, initial_retention, reinforce
from memos.services import branch, decisions, promote, recall, revise
from memos.services.remember import ItemIn
from memos.store import cubes, retention, usage
from memos.wiring import App
from tests.services.forgetting import FULL, LATER, START, cube_id, decay, get, recalled, transitions
from tests.services.running import fact, head, make_cube, run, write

_numbers = itertools.count(1)


@pytest.fixture
def cube(app: App, owner: Principal) -> str:
    name = f"forgetting-{next(_numbers)}"
    make_cube(app, owner, name, START, {"forget": FULL})
    return name


def test_archived_memories_are_not_found_unless_asked_for_and_recall_brings_them_back(
    app: App, owner: Principal, cube: str
) -> None:
    [kept, gone] = write(app, owner, cube, [fact("the safe is behind the painting"), fact("the door is red")], START)
    with app.database.transaction(owner.tenant_id) as tx:
        revise.archive(tx, owner, cube, gone, branch="main", now=START)
    assert decay(app, owner, cube, LATER)[1] == {"archive": 1}

    def found(**fields: Any) -> set[UUID]:
        asked = recall.SearchQuery("where is the safe?", now=LATER, budget="low", **fields)
        return {hit.memory_id for hit in recall.search_cubes(app.recall, owner, [cube], asked, clock=LATER).items}

    assert found() == set()
    for _ in range(2):
        assert found(filter={"state": {"eq": "archived"}}) == {kept, gone}
    app.recalls.flush()
    # Both were recalled twice; but one was put away on purpose.
    assert decay(app, owner, cube, LATER + timedelta(hours=1))[1] == {"restore": 1}
    assert get(app, owner, cube, kept).state == "activated"
    assert get(app, owner, cube, gone).state == "archived"
    assert found() == {kept}


def test_a_first_recall_activates_in_place_and_writes_no_history(app: App, owner: Principal, cube: str) -> None:
    [memory] = write(app, owner, cube, [fact("Ana lives in Porto")], START)
    before = head(app, owner, cube)
    recall.search_cubes(app.recall, owner, [cube], recall.SearchQuery("where does Ana live?", now=START), clock=START)
    app.recalls.flush()
    found = get(app, owner, cube, memory)
    assert (found.state, found.version, found.recalls) == ("activated", 1, 1)
    assert head(app, owner, cube) == before
    assert transitions(app, owner, memory) == [("generated", "activated", "recall", None)]


def test_an_edit_read_before_the_first_recall_does_not_undo_it(app: App, owner: Principal, cube: str) -> None:
    [memory] = write(app, owner, cube, [fact("Ana lives in Porto")], START)
    prepared = revise.prepare_change(
        app.database, app.embedder, owner, cube, memory, {"content": "Ana lives in Faro"}, "main"
    )
    recalled(app, owner, cube_id(app, owner, cube), {memory: 1}, START)
    with app.database.transaction(owner.tenant_id) as tx:
        assert revise.change(tx, owner, prepared, now=START).state == "activated"
    with app.database.transaction(owner.tenant_id) as tx:
        branch.rollback(tx, owner, cube, to=1, branch="main", now=START)
    assert get(app, owner, cube, memory).state == "activated"
    assert get(app, owner, cube, memory).content == "Ana lives in Porto"


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 200), st.integers(1, 12)), min_size=1, max_size=6),
    st.sampled_from([Kind.TURN, Kind.FACT, Kind.PROFILE]),
    st.floats(0, 1, width=32),
)
def test_the_database_reinforces_as_the_rules_do(
    app: App, owner: Principal, steps: list[tuple[float, int]], kind: Kind, priority: float
) -> None:
    name = f"reinforce-{next(_numbers)}"
    found = make_cube(app, owner, name, START)
    [memory] = write(app, owner, name, [ItemIn(kind=kind, content="something", priority=priority)], START)
    expected, now = initial_retention(kind, priority=priority, created_at=START), START
    times: list[datetime] = []
    for days, n in steps:
        now += timedelta(days=days)
        expected = replace(reinforce(expected, now), recalls=expected.recalls + n)
        times = [now] * n + times
        recalled(app, owner, found, {memory: n}, now)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        [standing] = retention.standings(tx, cubes.view(tx, name))
    kept = Retention(standing.stability_days, standing.last_recalled_at or START, standing.recalls)
    assert kept.last_recalled_at == expected.last_recalled_at
    assert kept.recalls == expected.recalls
    assert kept.stability_days == pytest.approx(expected.stability_days, rel=1e-4)
    assert standing.recent == times[: usage.RECENT]


def test_promotion_marks_what_is_hot_and_stable_and_unmarks_what_cools(app: App, owner: Principal) -> None:
    name = f"promote-{next(_numbers)}"
    found = make_cube(app, owner, name, START, {"promote": {"bytes_per_token": 100, "budget_bytes": 10_000}})
    hot, cold = write(app, owner, name, [fact("the office is in Porto"), fact("the boat was red")], START)
    now = START + timedelta(days=10)
    recalled(app, owner, found, {hot: 5}, now)

    def moves(at: datetime) -> dict[UUID, str]:
        with app.database.transaction(owner.tenant_id) as tx:
            job = promote.request(tx, owner, name, branch="main", now=at)
        before = head(app, owner, name)
        run(app, owner, job.id)
        assert head(app, owner, name) == before
        with app.database.transaction(owner.tenant_id, read_only=True) as tx:
            logged = decisions.list_decisions(
                tx, owner, name, kind="promote", outcome=None, memory_id=None, limit=10, cursor=None
            )
        return {d.memory_id: d.outcome for d in logged.items if d.job_id == job.id and d.memory_id}

    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        told = promote.preview(tx, owner, name, branch="main", now=now, most=10)
    assert {d.memory_id: d.outcome for d in told.decisions} == {hot: "promote"}
    assert moves(now) == {hot: "promote"}
    assert moves(now + timedelta(hours=1)) == {}
    later = now + timedelta(days=200)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        told = promote.preview(tx, owner, name, branch="main", now=later, most=10)
    assert {d.memory_id: d.outcome for d in told.decisions} == {hot: "demote", cold: "archive"}
    assert moves(later) == {hot: "demote"}
