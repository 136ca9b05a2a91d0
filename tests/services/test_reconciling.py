"""New facts beside old ones: repeats confirm, later values supersede, opposites are flagged, frozen ones are left alone."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from memos.rules.access import Principal
from memos.rules.header import Kind
from memos.services import branch, decisions, revise
from memos.services.remember import ItemIn, MessageIn
from memos.store import cubes, memories, provenance
from memos.store.provenance import LinkRow, Relation
from memos.wiring import App
from tests.services.deriving import DAY, START, Cube

LISBON, BERLIN = "User moved to Lisbon.", "User moved to Berlin."


@pytest.fixture
def cube(app: App, owner: Principal) -> Cube:
    return Cube.make(app, owner)


def links(cube: Cube, memory_id: UUID) -> list[LinkRow]:
    with cube.reading() as tx:
        return provenance.links_of(tx, cubes.view(tx, cube.name), [memory_id])


def test_a_newer_value_closes_the_older_one(cube: Cube) -> None:
    cube.say("I moved to Lisbon.")
    cube.extract()
    before = cube.head
    cube.say("I moved to Berlin.", session="s2", at=START + 40 * DAY)
    cube.extract()
    facts = cube.facts()
    old, new = facts[LISBON], facts[BERLIN]
    assert (old.valid_from, old.valid_to) == (START, START + 40 * DAY)
    assert (new.valid_from, new.valid_to) == (START + 40 * DAY, None)
    assert (old.state, old.version) == ("generated", 2)
    assert set(links(cube, old.id)) == {
        LinkRow(new.id, old.id, Relation.SUPERSEDES),
        LinkRow(old.id, new.id, Relation.SUPERSEDED_BY),
    }
    assert cube.search("where did the user move?") == [BERLIN]
    assert cube.search("where did the user move?", as_of=START + DAY) == [LISBON]
    assert cube.search("where did the user move?", at=before) == [LISBON]
    with cube.reading() as tx:
        logged = decisions.list_decisions(
            tx, cube.who, cube.name, kind="extract", outcome=None, memory_id=None, limit=10, cursor=None
        ).items
    assert [(d.memory_id, d.outcome) for d in logged] == [(new.id, "supersede")]


def test_facts_written_as_such_supersede_each_other_too(cube: Cube) -> None:
    ids = cube.learn("The capital of Freedonia is Foo City.", "The capital of Freedonia is Bar City.")
    job = cube.extract()
    assert job.result is not None
    assert job.result["superseded"] == 1
    assert cube.current() == {"The capital of Freedonia is Bar City."}
    assert cube.get(ids[0]).valid_to == START + timedelta(minutes=1)


def test_the_later_number_of_a_list_wins_whatever_comes_last(cube: Cube) -> None:
    cube.learn("8. The capital of Freedonia is Bar City.", session_id="list")
    cube.learn("3. The capital of Freedonia is Foo City.", session_id="list", at=START + DAY)
    cube.extract()
    assert cube.current() == {"8. The capital of Freedonia is Bar City."}


def test_an_older_date_that_arrives_late_enters_as_history(cube: Cube) -> None:
    cube.learn("The capital of Freedonia is Bar City.", valid_from=START)
    cube.extract()
    [late] = cube.learn("The capital of Freedonia is Foo City.", valid_from=START - 300 * DAY, at=START + DAY)
    cube.extract()
    assert cube.current() == {"The capital of Freedonia is Bar City."}
    assert cube.get(late).valid_to == START
    assert cube.search("capital of Freedonia?", as_of=START - DAY) == ["The capital of Freedonia is Foo City."]


def test_opposites_are_both_kept_linked_and_flagged(cube: Cube) -> None:
    cube.say("I love hiking.")
    cube.extract()
    cube.say("I hate hiking.", session="s2", at=START + DAY)
    cube.extract()
    facts = cube.facts()
    love, hate = facts["User loves hiking."], facts["User hates hiking."]
    assert cube.current() == {"User hates hiking."}
    assert {f.id for f in cube.memories(tag="disputed")} == {love.id, hate.id}
    assert {link.relation for link in links(cube, love.id)} == {Relation.CONTRADICTS}
    assert cube.search("hiking", filter={"tags": {"contains": "disputed"}}) == ["User hates hiking."]


def test_many_values_stand_side_by_side(cube: Cube) -> None:
    cube.say("I love hiking.", "I love chess.", "I have two sisters.", "My sister is Ana.", "My sister is Eva.")
    cube.extract()
    assert all(fact.valid_to is None for fact in cube.facts().values())


def test_what_is_over_is_closed_by_being_said_to_be_over(cube: Cube) -> None:
    cube.say("I work for Acme.")
    cube.extract()
    cube.say("I no longer work for Acme.", session="s2", at=START + DAY)
    cube.extract()
    assert cube.facts()["User works for Acme."].valid_to == START + DAY


def test_a_frozen_fact_is_never_touched(cube: Cube) -> None:
    [old] = cube.learn("The capital of Freedonia is Foo City.")
    cube.extract()
    with cube.writing() as tx:
        revise.set_state(tx, cube.who, cube.name, old, to="frozen", branch="main", now=START)
    frozen = cube.get(old)
    [new] = cube.learn("The capital of Freedonia is Bar City.", at=START + DAY)
    cube.extract()
    assert cube.get(old) == frozen
    assert "disputed" in cube.get(new).tags
    assert links(cube, new) == [LinkRow(new, old, Relation.CONTRADICTS)]
    assert cube.get(new).valid_to is None


def test_said_anew_after_something_else_it_is_the_same_memory_again(cube: Cube) -> None:
    cube.say("I moved to Lisbon.")
    cube.extract()
    first = cube.facts()[LISBON].id
    cube.say("I moved to Berlin.", session="s2", at=START + 10 * DAY)
    cube.extract()
    [turn] = cube.say("I moved to Lisbon.", session="s3", at=START + 20 * DAY)
    cube.extract()
    facts = cube.facts()
    assert cube.current() == {LISBON}
    assert facts[LISBON].id == first
    assert (facts[LISBON].valid_from, facts[LISBON].valid_to) == (START + 20 * DAY, None)
    assert facts[BERLIN].valid_to == START + 20 * DAY
    assert turn in cube.sources(first)
    assert LinkRow(first, facts[BERLIN].id, Relation.SUPERSEDES) in links(cube, first)
    assert cube.get(first, at=cube.head - 2).valid_to == START + 10 * DAY


def test_a_fact_written_anew_after_another_holds_again(cube: Cube) -> None:
    foo, bar = (f"The capital of Freedonia is {name} City." for name in ("Foo", "Bar"))
    [first] = cube.learn(foo)
    cube.learn(bar, at=START + DAY)
    cube.extract()
    assert cube.learn(foo, at=START + 2 * DAY) == [first]
    cube.extract()
    assert cube.current() == {foo}
    assert cube.get(first).valid_from == START + 2 * DAY
    records = cube.learn(foo, at=START, external_id="a") + cube.learn(bar, at=START + DAY, external_id="b")
    cube.extract()
    current = cube.current()
    cube.learn(foo, at=START, external_id="a")
    cube.extract()
    assert cube.current() == current, "a record sent twice is no news"
    assert len(set(records)) == 2


def test_the_last_word_counts_also_when_nobody_read_in_between(cube: Cube) -> None:
    """A, B, A before the job runs: the third is a repeat of the first, yet it was said after the second."""
    foo, bar = (f"The capital of Freedonia is {name} City." for name in ("Foo", "Bar"))
    [first] = cube.learn(foo)
    [second] = cube.learn(bar, at=START + DAY)
    assert cube.learn(foo, at=START + 2 * DAY) == [first]
    cube.extract()
    assert cube.current() == {foo}
    assert cube.get(first).valid_from == START + 2 * DAY
    assert (cube.get(second).valid_from, cube.get(second).valid_to) == (START + DAY, START + 2 * DAY)
    assert LinkRow(first, second, Relation.SUPERSEDES) in links(cube, first)
    assert LinkRow(second, first, Relation.SUPERSEDED_BY) in links(cube, second)
    cube.learn(bar, at=START + 3 * DAY)
    cube.extract()
    assert cube.current() == {bar}


def test_the_last_word_of_one_request_counts(cube: Cube) -> None:
    foo, bar = (f"The capital of Freedonia is {name} City." for name in ("Foo", "Bar"))
    cube.learn(foo, bar, foo)
    cube.extract()
    assert cube.current() == {foo}


def test_sent_twice_before_anybody_reads_changes_nothing(cube: Cube) -> None:
    foo, bar = (f"The capital of Freedonia is {name} City." for name in ("Foo", "Bar"))
    cube.learn(foo)
    cube.learn(bar, at=START + DAY)
    cube.learn(foo, at=START + 2 * DAY)
    cube.learn(bar, at=START + 2 * DAY + timedelta(seconds=1))
    cube.extract()
    assert cube.current() == {bar}


def test_another_value_for_good_is_a_contradiction(cube: Cube) -> None:
    cube.learn("Ana Silva was born in Porto.", "Ana Silva was born in Lisbon.")
    cube.extract()
    assert {f.content for f in cube.memories(tag="disputed")} == set(cube.facts())
    assert cube.current() == {"Ana Silva was born in Lisbon."}


def test_one_batch_and_many_jobs_come_to_the_same(app: App, owner: Principal) -> None:
    texts = [f"The capital of Freedonia is {name} City." for name in ("Foo", "Bar", "Baz", "Qux")]
    together, apart = Cube.make(app, owner), Cube.make(app, owner)
    together.learn(*texts)
    together.extract()
    for place, text in enumerate(texts):
        apart.learn(text, at=START + timedelta(minutes=place))
        apart.extract()
    for cube in (together, apart):
        assert cube.current() == {"The capital of Freedonia is Qux City."}
    windows = [{text: (f.valid_from, f.valid_to) for text, f in cube.facts().items()} for cube in (together, apart)]
    assert windows[0] == windows[1]


def test_a_rollback_reopens_what_was_closed(cube: Cube) -> None:
    cube.learn("The capital of Freedonia is Foo City.")
    cube.extract()
    cube.learn("The capital of Freedonia is Bar City.", at=START + DAY)
    before, state = cube.head, cube.state()
    cube.extract()
    assert cube.state() != state
    cube.rollback(before)
    assert cube.state() == state
    assert all(links(cube, fact.id) == [] for fact in cube.facts().values())


def test_links_follow_a_merge_of_branches(cube: Cube) -> None:
    cube.say("I moved to Lisbon.")
    cube.extract()
    with cube.writing() as tx:
        branch.create_branch(tx, cube.who, cube.name, name="trial", from_=None, base="main", now=START)
    cube.talk([MessageIn("user", "I moved to Berlin.", created_at=START + DAY)], session="s2", branch="trial")
    cube.extract("trial")
    assert cube.current() == {LISBON}
    with cube.writing() as tx:
        branch.merge(
            tx, cube.who, cube.name, source="trial", target="main", strategy="fail", dry_run=False, now=START + DAY
        )
    assert cube.current() == {BERLIN}
    old = cube.facts()[LISBON]
    assert Relation.SUPERSEDED_BY in {link.relation for link in links(cube, old.id)}


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@example(values=["Foo", "Bar", "Foo", "Baz", "Foo"], cuts=[False] * 8)
@given(
    values=st.lists(st.sampled_from(["Foo", "Bar", "Baz"]), min_size=1, max_size=8),
    cuts=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_of_one_slot_the_last_value_holds_and_none_is_lost(
    app: App, owner: Principal, values: list[str], cuts: list[bool]
) -> None:
    cube = Cube.make(app, owner)
    for place, value in enumerate(values):
        item = ItemIn(Kind.PASSAGE, f"The capital of Freedonia is {value} City.", external_id=f"p{place}")
        cube.put(item, now=START + place * DAY)
        if cuts[place]:
            cube.extract()
    cube.extract()
    facts = cube.facts()
    assert cube.current() == {f"The capital of Freedonia is {values[-1]} City."}
    assert set(facts) == {f"The capital of Freedonia is {value} City." for value in values}
    windows = sorted((f.valid_from, f.valid_to) for f in facts.values() if f.valid_from and f.valid_to)
    assert all(begin <= end for begin, end in windows)
    with cube.reading() as tx:
        for fact in facts.values():
            history = memories.history(tx, cube.id, fact.id, 100, None)
            assert all(row.text == fact.content for row in history)
