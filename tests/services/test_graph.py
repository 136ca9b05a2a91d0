"""Entities and what stands around them, at any revision and any time; who is the same as whom is decided by revisions."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from memos.errors import Conflict, Invalid, NotFound
from memos.rules.access import Principal
from memos.services import branch, entities, neighbourhood, revise
from memos.services.entities import EntityDetail, EntityView
from memos.services.neighbourhood import GraphView
from memos.services.views import Page
from memos.wiring import App
from tests.services.deriving import DAY, START, Cube


@pytest.fixture
def cube(app: App, owner: Principal) -> Cube:
    """Dora, her sister Ana, and where they live; then Dora moves."""
    made = Cube.make(app, owner)
    made.say(
        "I moved to Lisbon last week. My sister Ana lives in Porto.", "Ana Silva works for Acme Corp.", name="Dora"
    )
    made.extract()
    made.say("I moved to Berlin.", session="s2", at=START + 9 * DAY, name="Dora")
    made.extract()
    return made


def listed(
    cube: Cube, q: str | None = None, limit: int = 50, cursor: str | None = None, **asked: Any
) -> Page[EntityView]:
    defaults: dict[str, Any] = {"branch": "main", "at": None, "as_of": None}
    with cube.reading() as tx:
        return entities.list_entities(tx, cube.who, cube.name, q=q, limit=limit, cursor=cursor, **(defaults | asked))


def names(cube: Cube, q: str | None = None, **asked: Any) -> dict[str, UUID]:
    return {e.name: e.id for e in listed(cube, q, **asked).items}


def detail(cube: Cube, entity_id: UUID, **asked: Any) -> EntityDetail:
    defaults: dict[str, Any] = {"branch": "main", "at": None, "as_of": None}
    with cube.reading() as tx:
        return entities.get_entity(tx, cube.who, cube.name, entity_id, **(defaults | asked))


def around(cube: Cube, center: str, hops: int = 1, **asked: Any) -> GraphView:
    defaults: dict[str, Any] = {"branch": "main", "at": None, "as_of": None}
    with cube.reading() as tx:
        return neighbourhood.neighbourhood(tx, cube.who, cube.name, center=center, hops=hops, **(defaults | asked))


def merge(cube: Cube, into: UUID, *others: UUID) -> int:
    with cube.writing() as tx:
        return entities.merge_entities(
            tx, cube.who, cube.name, entities=others, into=into, branch="main", now=START
        ).revision


def test_names_are_listed_with_what_is_known_of_them(cube: Cube) -> None:
    found = {e.name: e for e in listed(cube).items}
    assert {"Ana", "Dora", "Lisbon", "Porto", "Berlin"} <= set(found)
    assert found["Dora"].type == "person"
    assert found["Berlin"].type == "place"
    assert found["Ana"].memories >= 2
    assert list(found) == sorted(found, key=str.casefold)


def test_pages_cover_everything_once(cube: Cube) -> None:
    every = [e.name for e in listed(cube).items]
    paged: list[str] = []
    cursor: str | None = None
    while True:
        page = listed(cube, limit=2, cursor=cursor)
        paged += [e.name for e in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert paged == every


def test_a_part_of_a_name_finds_it_in_any_case(cube: Cube) -> None:
    assert set(names(cube, "AN")) >= {"Ana", "Ana Silva"}
    assert names(cube, "no such") == {}


def test_an_entity_shows_mentions_and_relations_with_validity(cube: Cube) -> None:
    dora = detail(cube, names(cube)["Dora"])
    lives = {r.value: r for r in dora.relations if r.attribute == "live in"}
    assert lives["Lisbon"].valid_to == START + 9 * DAY
    assert lives["Berlin"].valid_to is None
    assert lives["Berlin"].object_id == names(cube)["Berlin"]
    assert {m.content for m in dora.mentions} >= {"Dora moved to Berlin."}
    with pytest.raises(NotFound):
        detail(cube, UUID(int=1))


def test_the_past_is_shown_as_it_was(cube: Cube) -> None:
    assert "Berlin" not in names(cube, at=2)
    assert "Berlin" in names(cube)
    then = detail(cube, names(cube)["Dora"], as_of=START + DAY)
    assert [r.value for r in then.relations if r.attribute == "live in"] == ["Lisbon"]
    now = around(cube, "dora", as_of=START + 20 * DAY)
    assert "Lisbon" not in {node.label for node in now.nodes}
    assert "Berlin" in {node.label for node in now.nodes}


def test_a_neighbourhood_grows_with_its_hops(cube: Cube) -> None:
    near, far = around(cube, "Dora", 1), around(cube, "Dora", 2)
    assert near.nodes[0].label == "Dora"
    assert {n.id for n in near.nodes} < {n.id for n in far.nodes}
    assert {"Ana", "Berlin"} <= {n.label for n in near.nodes if n.hops == 1}
    assert "Porto" in {n.label for n in far.nodes if n.hops == 2}
    ids = {n.id for n in far.nodes}
    assert all(e.source in ids and e.target in ids for e in far.edges)
    assert {"live in", "mentions", "supersedes", "derived-from"} <= {e.relation for e in far.edges}
    assert not far.truncated


def test_a_memory_can_be_the_centre(cube: Cube) -> None:
    fact = cube.facts()["Dora moved to Berlin."]
    found = around(cube, str(fact.id))
    assert found.nodes[0].id == fact.id
    assert {"Dora", "Berlin"} <= {n.label for n in found.nodes}
    with pytest.raises(NotFound):
        around(cube, "Nobody At All")


def test_what_is_archived_is_in_no_graph(cube: Cube) -> None:
    for memory in cube.memories():
        if "Porto" in (memory.content or ""):
            with cube.writing() as tx:
                revise.archive(tx, cube.who, cube.name, memory.id, branch="main", now=START)
    assert "Porto" not in names(cube)
    assert "Porto" not in {n.label for n in around(cube, "Dora", 3).nodes}


def test_merged_names_are_one_entity(cube: Cube) -> None:
    before = cube.head
    ana, silva = names(cube)["Ana"], names(cube)["Ana Silva"]
    apart = detail(cube, ana).memories, detail(cube, silva).memories
    revision = merge(cube, ana, silva)
    assert revision == cube.head == before + 1
    merged = detail(cube, silva)
    assert (merged.id, merged.aliases) == (ana, ["Ana Silva"])
    assert [m.name for m in merged.members] == ["Ana Silva"]
    assert merged.memories <= sum(apart)
    assert "Ana Silva" not in names(cube)
    assert names(cube, "silva") == {"Ana": ana}
    assert "Ana Silva" in names(cube, at=before)
    assert "Acme Corp." in {n.label for n in around(cube, "Ana", 2).nodes}
    with pytest.raises(Conflict):
        merge(cube, ana, silva)


def test_a_split_gives_names_back(cube: Cube) -> None:
    ana, silva = names(cube)["Ana"], names(cube)["Ana Silva"]
    merge(cube, ana, silva)
    with cube.writing() as tx:
        decided = entities.split_entity(tx, cube.who, cube.name, ana, entities=[silva], branch="main", now=START)
    assert decided.entity.id == silva
    assert {"Ana", "Ana Silva"} <= set(names(cube))
    with pytest.raises(NotFound), cube.writing() as tx:
        entities.split_entity(tx, cube.who, cube.name, ana, entities=[silva], branch="main", now=START)


def test_two_of_one_name_are_told_apart_by_memories(cube: Cube) -> None:
    [turn] = cube.say("Yesterday Ana called me from Madrid.", session="s3", at=START + 12 * DAY, name="Dora")
    cube.extract()
    ana = names(cube)["Ana"]
    before = detail(cube, ana).memories
    with cube.writing() as tx:
        decided = entities.split_entity(
            tx, cube.who, cube.name, ana, memory_ids=[turn], name="Ana of Madrid", branch="main", now=START
        )
    other = detail(cube, decided.entity.id)
    assert (other.name, other.memories) == ("Ana of Madrid", 1)
    assert [m.memory_id for m in other.mentions] == [turn]
    assert detail(cube, ana).memories == before - 1
    assert {"Ana", "Ana of Madrid"} <= set(names(cube))
    with pytest.raises(NotFound), cube.writing() as tx:
        entities.split_entity(tx, cube.who, cube.name, ana, memory_ids=[turn], branch="main", now=START)
    with pytest.raises(Invalid), cube.writing() as tx:
        entities.split_entity(tx, cube.who, cube.name, ana, branch="main", now=START)


def test_a_rollback_takes_back_who_is_who(cube: Cube) -> None:
    before, apart = cube.head, names(cube)
    merge(cube, apart["Ana"], apart["Ana Silva"])
    assert names(cube) != apart
    cube.rollback(before)
    assert names(cube) == apart


def test_decisions_of_a_branch_come_with_its_merge(cube: Cube) -> None:
    apart = names(cube)
    with cube.writing() as tx:
        branch.create_branch(tx, cube.who, cube.name, name="trial", from_=None, base="main", now=START)
    with cube.writing() as tx:
        entities.merge_entities(
            tx, cube.who, cube.name, entities=[apart["Ana Silva"]], into=apart["Ana"], branch="trial", now=START
        )
    assert names(cube) == apart
    assert "Ana Silva" not in names(cube, branch="trial")
    with cube.writing() as tx:
        branch.merge(tx, cube.who, cube.name, source="trial", target="main", strategy="fail", dry_run=False, now=START)
    assert "Ana Silva" not in names(cube)


def test_other_tenants_see_none_of_it(cube: Cube, other_tenant: UUID) -> None:
    with cube.app.database.transaction(other_tenant, read_only=True) as tx:
        for table in ("entities", "mentions", "claims", "links", "identities", "readings", "cursors"):
            assert tx.scalar(f"SELECT count(*) FROM {table}") == 0


def test_turns_of_a_session_are_tied_in_order(cube: Cube) -> None:
    first, second, third = cube.say(
        "Yesterday Ana came by.", "We had soup.", "At nine Ana left.", session="s9", name="Dora"
    )
    cube.extract()
    near = around(cube, str(first))
    assert (first, second) in {(e.source, e.target) for e in near.edges if e.relation == "next"}
    assert third not in {n.id for n in near.nodes}
    by_name = around(cube, "Ana")
    shown = {n.id for n in by_name.nodes}
    assert {first, third} <= shown
    assert second not in shown
    assert (first, third) in {(e.source, e.target) for e in by_name.edges if e.relation == "same-session"}


def test_a_fact_is_about_its_subject_and_ties_all_it_names(cube: Cube) -> None:
    fact = cube.facts()["Dora moved to Berlin."]
    near = around(cube, str(fact.id))
    labels = {n.id: n.label for n in near.nodes}
    relations = {labels[e.target]: e.relation for e in near.edges if e.source == fact.id and e.target in labels}
    assert relations["Dora"] == "about"
    assert relations["Berlin"] == "mentions"
    [edge] = [edge for edge in near.hyperedges if edge.memory_id == fact.id]
    assert {entity.name for entity in edge.entities} == {"Berlin", "Dora"}


def test_an_episode_ties_whom_its_turns_name(cube: Cube) -> None:
    cube.say(
        "Yesterday Ana came by with Otto Brandt.",
        "We talked about Lisbon for hours.",
        "Then Otto Brandt told us about Malmo.",
        "In May we will visit Malmo together.",
        "I was so happy to see Ana again.",
        session="s9",
        name="Dora",
    )
    cube.extract()
    cube.consolidate()
    cube.extract()
    found = {m.session_id: m for m in cube.memories("episode")}
    [edge] = [edge for edge in around(cube, str(found["s9"].id)).hyperedges if edge.kind == "episode"]
    assert edge.memory_id == found["s9"].id
    assert {"Ana", "Otto Brandt", "Malmo"} <= {entity.name for entity in edge.entities}


def test_communities_and_ranks_are_given(cube: Cube) -> None:
    near = around(cube, "Dora", 2)
    assert near.nodes[0].label == "Dora"
    assert near.nodes[0].rank == max(n.rank for n in near.nodes)
    assert {n.community for n in near.nodes} == set(range(len({n.community for n in near.nodes})))


def test_the_graph_of_a_past_revision_has_the_edges_of_then(cube: Cube) -> None:
    before = cube.head
    first, _ = cube.say("Yesterday Ana came by.", "We had soup.", session="s9", name="Dora")
    cube.extract()
    assert first in {n.id for n in around(cube, "Ana").nodes}
    assert first not in {n.id for n in around(cube, "Ana", at=before).nodes}
