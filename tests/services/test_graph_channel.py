"""What a walk may find: a step away from the words, and never what the caller may not see."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from memos.errors import NotFound
from memos.rules import filters
from memos.rules.access import Principal
from memos.services import branch, entities, revise
from memos.services.graph_channel import GraphCandidate, graph_candidates, graph_gains
from memos.store import cubes
from memos.store.graph_neighbourhood import Bounds
from memos.wiring import App
from tests.services.deriving import DAY, START, Cube

NOW = START + timedelta(days=30)
AUTHOR = "The author of The Silver Oar is Mina Falk."
SPOUSE = "Mina Falk is married to Otto Brandt."
CITY = "Otto Brandt was born in Malmo."
OTHER = "Karl Weiss plays the cello."


@pytest.fixture
def cube(app: App, owner: Principal) -> Cube:
    """A chain of facts: who wrote a book, whom she married, where he was born."""
    made = Cube.make(app, owner)
    made.learn(AUTHOR, SPOUSE, CITY, OTHER)
    made.extract()
    return made


def walk(
    cube: Cube, seeds: Sequence[str], names: Sequence[str] = (), at: int | None = None, on: str = "main", **asked: Any
) -> list[GraphCandidate]:
    known = {m.content: m.id for m in cube.memories()}
    hits = {known[text]: 1.0 for text in seeds}
    defaults: dict[str, Any] = {"as_of": NOW}
    with cube.reading() as tx:
        view = cubes.view(tx, cube.name, on, at)
        return graph_candidates(tx, view, names, hits, **(defaults | asked))


def texts(cube: Cube, found: Sequence[GraphCandidate]) -> list[str]:
    return [cube.get(one.memory_id).content or "" for one in found]


def test_the_next_step_of_a_chain_is_found(cube: Cube) -> None:
    found = walk(cube, [AUTHOR])
    assert texts(cube, found)[:2] == [AUTHOR, SPOUSE]
    assert [one.seed for one in found[:2]] == [True, False]
    assert found[0].evidence == 1.0
    assert OTHER not in texts(cube, found)
    both = texts(cube, walk(cube, [AUTHOR, SPOUSE]))
    assert set(both) == {AUTHOR, SPOUSE, CITY}


def test_an_entity_is_enough_to_begin_with(cube: Cube) -> None:
    assert set(texts(cube, walk(cube, [], ["otto brandt's"]))) == {SPOUSE, CITY}
    assert walk(cube, [], ["Nobody At All"]) == []
    assert walk(cube, []) == []


def test_the_same_question_gets_the_same_answer(cube: Cube) -> None:
    assert walk(cube, [SPOUSE], ["Mina Falk"]) == walk(cube, [SPOUSE], ["Mina Falk"])


def test_what_the_filter_excludes_is_neither_found_nor_passed_through(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner)
    cube.learn(AUTHOR, CITY, tags=("open",))
    cube.learn(SPOUSE, tags=("closed",))
    cube.extract()
    everything = set(texts(cube, walk(cube, [AUTHOR], ["Mina Falk", "Otto Brandt"])))
    assert everything == {AUTHOR, SPOUSE, CITY}
    only_open = filters.parse({"tags": {"eq": "open"}})
    assert set(texts(cube, walk(cube, [AUTHOR], tree=only_open))) == {AUTHOR}
    assert set(texts(cube, walk(cube, [AUTHOR, SPOUSE], tree=only_open))) == {AUTHOR}


def test_kinds_say_what_is_given_out(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner)
    cube.say("I moved to Lisbon last week.", name="Dora")
    cube.extract()
    found = walk(cube, ["I moved to Lisbon last week."])
    assert {one.kind for one in found} == {"turn", "fact"}
    assert {one.kind for one in walk(cube, ["I moved to Lisbon last week."], kinds=["turn"])} == {"turn"}


def test_what_is_archived_or_not_valid_is_not_found(cube: Cube) -> None:
    before = cube.head
    spouse = cube.facts()[SPOUSE]
    with cube.writing() as tx:
        revise.archive(tx, cube.who, cube.name, spouse.id, branch="main", now=START)
    assert set(texts(cube, walk(cube, [AUTHOR], ["Otto Brandt"]))) == {AUTHOR, CITY}
    past = walk(cube, [AUTHOR], ["Otto Brandt"], at=before)
    assert {one.memory_id for one in past} >= {spouse.id}


def test_what_was_not_valid_then_is_not_found(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner)
    cube.learn(AUTHOR)
    cube.learn(SPOUSE, valid_from=START, valid_to=START + 5 * DAY)
    cube.extract()
    assert texts(cube, walk(cube, [AUTHOR], as_of=START + DAY)) == [AUTHOR, SPOUSE]
    assert texts(cube, walk(cube, [AUTHOR], as_of=START + 6 * DAY)) == [AUTHOR]


def test_a_branch_walks_over_what_it_shows(cube: Cube) -> None:
    with cube.writing() as tx:
        branch.create_branch(tx, cube.who, cube.name, name="trial", from_=None, base="main", now=START)
    spouse = cube.facts()[SPOUSE]
    with cube.writing() as tx:
        revise.archive(tx, cube.who, cube.name, spouse.id, branch="trial", now=START)
    assert SPOUSE in texts(cube, walk(cube, [AUTHOR]))
    assert SPOUSE not in texts(cube, walk(cube, [AUTHOR], ["Otto Brandt"], on="trial"))
    assert CITY in texts(cube, walk(cube, [AUTHOR], ["Otto Brandt"], on="trial"))


def test_merged_names_are_walked_as_one_and_a_rollback_undoes_it(cube: Cube) -> None:
    cube.learn("Ottilie Brandt paints boats.")
    cube.extract()
    start, before = walk(cube, [CITY]), cube.head
    assert "Ottilie Brandt paints boats." not in texts(cube, start)
    with cube.reading() as tx:
        listed = entities.list_entities(
            tx, cube.who, cube.name, q="brandt", branch="main", at=None, as_of=None, limit=10, cursor=None
        )
    ids = {one.name: one.id for one in listed.items}
    with cube.writing() as tx:
        entities.merge_entities(
            tx, cube.who, cube.name, entities=[ids["Ottilie Brandt"]], into=ids["Otto Brandt"], branch="main", now=START
        )
    assert "Ottilie Brandt paints boats." in texts(cube, walk(cube, [CITY]))
    cube.rollback(before)
    assert walk(cube, [CITY]) == start


def test_foreign_memories_are_never_found(cube: Cube, app: App, owner: Principal, other_tenant: UUID) -> None:
    elsewhere = Cube.make(app, owner)
    elsewhere.learn(SPOUSE, CITY)
    elsewhere.extract()
    foreign = {m.id for m in elsewhere.memories()}
    found = walk(cube, [AUTHOR], ["Otto Brandt", "Mina Falk"])
    assert found
    assert not foreign & {one.memory_id for one in found}
    with app.database.transaction(other_tenant, read_only=True) as tx, pytest.raises(NotFound):
        cubes.view(tx, str(cube.id))
    with cube.reading() as tx:
        view = cubes.view(tx, cube.name)
    with app.database.transaction(other_tenant, read_only=True) as tx:
        hits = {m.id: 1.0 for m in cube.memories()}
        assert graph_candidates(tx, view, ["Otto Brandt"], hits, as_of=NOW) == []


def test_a_name_on_every_page_is_read_within_bounds(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner)
    cube.learn(*(f"Mina Falk visited Hamburg {n} times." for n in range(2, 14)))
    cube.extract()
    found = walk(cube, [], ["Mina Falk"], bounds=Bounds(per_entity=4))
    assert len(found) == 4


def test_a_second_look_gains_what_the_first_could_not_find(cube: Cube) -> None:
    question = "Where was the spouse of the author of The Silver Oar born?"
    facts = cube.facts()
    best = [(facts[AUTHOR].id, "fact", 0.8), (facts[CITY].id, "fact", 0.2)]
    with cube.reading() as tx:
        view = cubes.view(tx, cube.name)
        gains = graph_gains(tx, view, question, ["The Silver Oar"], best, budget="auto", as_of=NOW)
        assert [gain.memory_id for gain in gains] == [facts[SPOUSE].id]
        assert graph_gains(tx, view, "Who is Karl?", [], best, budget="auto", as_of=NOW) == []
        turns = [(memory_id, "turn", score) for memory_id, _, score in best]
        assert graph_gains(tx, view, question, [], turns, budget="high", as_of=NOW) == []


def test_what_names_what_the_question_names_gains_nothing(cube: Cube) -> None:
    question = "Where was the spouse of the author of The Silver Oar born?"
    facts = cube.facts()
    best = [(facts[SPOUSE].id, "fact", 0.8)]
    with cube.reading() as tx:
        gains = graph_gains(tx, cubes.view(tx, cube.name), question, ["The Silver Oar"], best, budget="auto", as_of=NOW)
    assert facts[AUTHOR].id not in {gain.memory_id for gain in gains}
    assert facts[CITY].id in {gain.memory_id for gain in gains}
