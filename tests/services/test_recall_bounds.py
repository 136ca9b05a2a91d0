"""Whatever way candidates are found, what has run out, been replaced or filtered out is not among them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from memos.rules.access import Principal
from memos.rules.header import Kind
from memos.services import administer, recall, remember
from memos.services.gathering import SearchQuery
from memos.services.remember import ItemIn, utc_now
from memos.store import cubes, present
from memos.wiring import App

NOW = utc_now()
DAY = timedelta(days=1)


@pytest.fixture(scope="module", params=[4, 1_200], ids=["read whole", "by channels"])
def cube(app: App, owner: Principal, request: pytest.FixtureRequest) -> str:
    """Facts about one bridge in every state of validity, among as many others as it takes."""
    name = f"bounds-{request.param}"
    with app.database.transaction(owner.tenant_id) as tx:
        administer.create_cube(tx, owner, name=name, description="", policy={}, now=NOW)
    items = [
        ItemIn(Kind.FACT, "the bridge is open", tags=("kept",)),
        ItemIn(Kind.FACT, "the bridge was closed", valid_to=NOW - DAY),
        ItemIn(Kind.FACT, "the bridge will be blue", valid_from=NOW + DAY),
        ItemIn(Kind.FACT, "the bridge is wet", ttl_s=60),
        *(ItemIn(Kind.FACT, f"street {n} is paved") for n in range(request.param)),
    ]
    for start in range(0, len(items), 500):
        prepared = remember.prepare_items(
            app.embedder, name, items=items[start : start + 500], branch="main", now=NOW - timedelta(hours=1)
        )
        with app.database.transaction(owner.tenant_id) as tx:
            remember.write(tx, owner, prepared, now=NOW)
    with app.database.transaction(owner.tenant_id) as tx:
        present.index_some(tx, cubes.view(tx, name).branch.id, 600)  # some in the graph, some still outside
    return name


def found(app: App, owner: Principal, cube: str, asked: SearchQuery) -> set[str]:
    answer = recall.search_cubes(app.recall, owner, [cube], asked, clock=NOW)
    return {hit.content for hit in answer.items if "bridge" in hit.content}


@pytest.mark.parametrize("budget", ["low", "mid", "high", "auto"])
def test_only_what_is_valid_now_is_found(app: App, owner: Principal, cube: str, budget: str) -> None:
    asked = SearchQuery("what about the bridge?", limit=50, budget=budget)
    assert found(app, owner, cube, asked) == {"the bridge is open"}


def test_another_time_shows_what_was_valid_then(app: App, owner: Principal, cube: str) -> None:
    asked = SearchQuery("what about the bridge?", limit=50, as_of=NOW - 2 * DAY)
    assert "the bridge was closed" in found(app, owner, cube, asked)
    later = SearchQuery("what about the bridge?", limit=50, as_of=NOW + 2 * DAY)
    assert found(app, owner, cube, later) == {"the bridge is open", "the bridge will be blue"}


@pytest.mark.parametrize("query", ["what about the bridge?", "street", "the"])
def test_a_filter_holds_in_every_channel(app: App, owner: Principal, cube: str, query: str) -> None:
    asked = SearchQuery(query, limit=50, filter={"tags": {"contains": "kept"}})
    answer = recall.search_cubes(app.recall, owner, [cube], asked, clock=NOW)
    assert [hit.content for hit in answer.items] == ["the bridge is open"]


def test_a_large_branch_is_walked_wider_for_one_transaction(app: App, owner: Principal) -> None:
    with app.database.transaction(owner.tenant_id) as tx:
        administer.create_cube(tx, owner, name="grown", description="", policy={}, now=NOW)
        tx.run(
            "UPDATE branches SET live_count = :n WHERE tenant_id = :tenant AND id = :branch",
            n=cubes.WIDE_FROM,
            branch=cubes.view(tx, "grown").branch.id,
        )
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        cubes.view_for_query(tx, "grown", "main", None)
        assert tx.scalar("SELECT current_setting('hnsw.ef_search')") == str(cubes.WIDE_BREADTH)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        assert tx.scalar("SELECT current_setting('hnsw.ef_search')") == str(cubes.BREADTH)
