"""Tidying a cube: nothing is lost, everything is cited, a second run does nothing, and a rollback undoes it exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memos.errors import Conflict
from memos.rules.access import Principal
from memos.rules.consolidation import ConsolidationRefused
from memos.rules.header import Kind
from memos.services import commit_consolidation, consolidate, decisions, revise
from memos.services.commit_consolidation import Plan
from memos.services.remember import MessageIn
from memos.services.views import MemoryView
from memos.store.revision_writer import RevisionWriter
from memos.wiring import App
from tests.services.deriving import DAY, START, Cube

TOPICS = (
    "I planted tomatoes in the garden beside the old fence.",
    "The tomatoes in the garden need water every morning.",
    "My garden soil is full of clay and stones.",
    "I bought compost for the tomatoes on Saturday.",
    "My brother Rex lives in Oslo and works for Acme.",
    "Rex wants to run the Oslo marathon in May.",
)
STEPS = "1. Stop the server.\n2. Run the migration.\n3. Restart the server."


@pytest.fixture
def cube(app: App, owner: Principal) -> Cube:
    return Cube.make(app, owner)


def chat(cube: Cube, session: str, day: int, *texts: str) -> list[UUID]:
    return cube.say(*texts, session=session, at=START + day * DAY, name="Dora")


def by_external_id(cube: Cube, kind: Kind) -> Mapping[str, MemoryView]:
    return {m.external_id or "": m for m in cube.memories(kind) if m.state in ("generated", "activated")}


def test_near_duplicates_fold_into_one_that_lives(cube: Cube) -> None:
    ids = cube.learn(
        "Dora owns a blue bicycle from Porto.", "Dora owns a blue bicycle from Porto!", "Rex owns a red boat from Oslo."
    )
    job = cube.consolidate()
    assert job.result is not None
    assert (job.result["merged"], job.result["survivors"]) == (1, 1)
    states = {memory_id: cube.get(memory_id) for memory_id in ids}
    [folded] = [m for m in states.values() if m.state == "merged"]
    survivor = states[folded.merged_into or folded.id]
    assert survivor.state == "generated"
    assert folded.content is not None
    with cube.reading() as tx:
        logged = decisions.list_decisions(
            tx, cube.who, cube.name, kind="consolidate", outcome="merge", memory_id=folded.id, limit=5, cursor=None
        ).items
    assert logged[0].inputs == {"survivor": str(survivor.id)}


def test_numbers_and_signs_keep_memories_apart(cube: Cube) -> None:
    cube.learn("Dora owns 2 blue bicycles from Porto.", "Dora owns 3 blue bicycles from Porto.")
    cube.learn("Dora likes the old green boat house.", "Dora does not like the old green boat house.")
    job = cube.consolidate()
    assert job.result is not None
    assert job.result["merged"] == 0


def test_frozen_and_pinned_memories_are_not_folded(cube: Cube) -> None:
    pinned = cube.learn("Dora owns a blue bicycle from Porto!", tags=("pinned",))
    frozen = cube.learn("Dora owns a blue bicycle from Porto !")
    with cube.writing() as tx:
        revise.set_state(tx, cube.who, cube.name, frozen[0], to="frozen", branch="main", now=START)
    [plain] = cube.learn("Dora owns a blue bicycle from Porto.")
    cube.consolidate()
    assert [cube.get(m).state for m in (*pinned, *frozen)] == ["generated", "frozen"]
    assert cube.get(plain).merged_into in (pinned[0], frozen[0])


def test_only_what_is_new_is_compared_again(cube: Cube) -> None:
    cube.learn("Dora owns a blue bicycle from Porto.")
    cube.consolidate()
    [late] = cube.learn("Dora owns a blue bicycle from Porto!")
    cube.consolidate()
    states = sorted(m.state for m in cube.memories(Kind.FACT))
    assert states == ["generated", "merged"]
    assert late in {m.id for m in cube.memories(Kind.FACT)}


def test_a_session_becomes_episodes_that_cite_every_turn(cube: Cube) -> None:
    turns = chat(cube, "s1", 0, *TOPICS)
    cube.consolidate()
    episodes = by_external_id(cube, Kind.EPISODE)
    assert set(episodes) <= {f"episode/s1/{place}" for place in range(3)}
    assert set().union(*(cube.sources(e.id) for e in episodes.values())) == set(turns)
    for episode in episodes.values():
        assert episode.content is not None
        assert episode.title is not None
        assert "2026-01-01" in episode.title
        assert (episode.origin, episode.session_id) == ("derived", "s1")


def test_short_sessions_are_their_own_summary(cube: Cube) -> None:
    chat(cube, "s1", 0, *TOPICS[:3])
    cube.consolidate()
    assert by_external_id(cube, Kind.EPISODE) == {}


def test_sessions_of_a_month_become_a_period(cube: Cube) -> None:
    for day in range(3):
        chat(cube, f"s{day}", day, *(f"{text} It was day {day}." for text in TOPICS[:4]))
    cube.consolidate()
    episodes = by_external_id(cube, Kind.EPISODE)
    period = episodes["period/s0"]
    assert (period.title, period.metadata["level"]) == ("2026-01-01 to 2026-01-03", 2)
    assert cube.sources(period.id) == {m.id for name, m in episodes.items() if name.startswith("episode/")}


def test_a_second_run_does_nothing_and_a_changed_session_gets_a_new_version(cube: Cube) -> None:
    for day in range(2):
        chat(cube, f"s{day}", day, *(f"{text} It was day {day}." for text in TOPICS[:4]))
    cube.extract()
    first = cube.consolidate()
    before = by_external_id(cube, Kind.EPISODE)
    again = cube.consolidate()
    assert first.revision is not None
    assert again.revision is None
    chat(cube, "s1", 2, "Rex has moved to Bergen with his dog Bo.")
    cube.extract()
    cube.consolidate()
    after = by_external_id(cube, Kind.EPISODE)
    assert {name: m.id for name, m in before.items()} == {name: m.id for name, m in after.items()}
    assert {name for name in after if after[name].version > before[name].version} == {"episode/s1/0", "period/s0"}
    assert "Bergen" in (after["episode/s1/0"].content or "")


def test_a_profile_tells_what_holds(cube: Cube) -> None:
    chat(cube, "s1", 0, "I live in Lisbon.", "I work for Acme.", "I love hiking.")
    cube.extract()
    cube.consolidate()
    [profile] = cube.memories(Kind.PROFILE)
    assert (profile.external_id, profile.title) == ("profile/dora", "About Dora")
    assert "Dora lives in Lisbon." in (profile.content or "")
    chat(cube, "s2", 5, "I moved to Berlin.")
    cube.extract()
    cube.consolidate()
    [changed] = cube.memories(Kind.PROFILE)
    assert (changed.id, changed.version) == (profile.id, 2)
    assert "Lisbon" not in (changed.content or "")
    assert "Berlin" in (changed.content or "")


def test_what_worked_twice_becomes_a_procedure(cube: Cube) -> None:
    for day in range(2):
        cube.talk(
            [
                MessageIn("user", "How do I deploy the billing service?", created_at=START + day * DAY),
                MessageIn("assistant", STEPS, created_at=START + day * DAY),
                MessageIn("user", "That worked, thanks!", created_at=START + day * DAY),
            ],
            session=f"s{day}",
        )
        cube.consolidate()
    [procedure] = cube.memories(Kind.PROCEDURE)
    assert procedure.content == (
        "How to deploy the billing service:\n1. Stop the server\n2. Run the migration\n3. Restart the server"
    )
    assert procedure.metadata["successes"] == 2
    assert len(cube.sources(procedure.id)) == 6


def test_a_run_is_one_revision_and_a_rollback_undoes_it(cube: Cube) -> None:
    for day in range(2):
        chat(cube, f"s{day}", day, *TOPICS)
    cube.learn("Dora owns a blue bicycle from Porto.", "Dora owns a blue bicycle from Porto!")
    cube.extract()
    before, state = cube.head, cube.state()
    job = cube.consolidate()
    assert job.revision == cube.head == before + 1
    cube.rollback(before)
    assert cube.state() == state
    assert {m.state for m in cube.memories()} == {"generated"}


def test_a_dry_run_writes_nothing(cube: Cube) -> None:
    chat(cube, "s1", 0, *TOPICS)
    ids = cube.learn("Dora owns a blue bicycle from Porto.", "Dora owns a blue bicycle from Porto!")
    before = cube.head
    app = cube.app
    preview = consolidate.preview(app.database, app.embedder, app.settings, cube.who, cube.name, branch="main")
    assert cube.head == before
    assert preview.problems == []
    [merge] = preview.merges
    assert {merge.survivor, *merge.folded} == set(ids)
    cube.consolidate()
    written = {m.external_id: m.content for m in cube.memories() if m.origin == "derived" and m.kind != "fact"}
    assert {m.external_id: m.content for m in preview.memories} == written


def test_what_somebody_reworded_or_put_away_is_theirs(cube: Cube) -> None:
    chat(cube, "s1", 0, *(f"{text} In the morning." for text in TOPICS[:4]))
    chat(cube, "s2", 1, *(f"{text} In the evening." for text in TOPICS[:4]))
    cube.consolidate()
    episodes = by_external_id(cube, Kind.EPISODE)
    mine, gone = episodes["episode/s1/0"], episodes["episode/s2/0"]
    prepared = revise.prepare_change(
        cube.app.database, cube.app.embedder, cube.who, cube.name, mine.id, {"content": "My own words."}, "main"
    )
    with cube.writing() as tx:
        revise.change(tx, cube.who, prepared, now=START)
    with cube.writing() as tx:
        revise.archive(tx, cube.who, cube.name, gone.id, branch="main", now=START)
    chat(cube, "s1", 2, "The tomatoes are ripe now.")
    chat(cube, "s2", 2, "The tomatoes are eaten now.")
    cube.consolidate()
    assert cube.get(mine.id).content == "My own words."
    assert cube.get(gone.id).state == "archived"


def test_a_policy_chooses_the_parts(app: App, owner: Principal) -> None:
    off: dict[str, Any] = dict.fromkeys(("merge", "episodes", "profile", "procedures"), False)
    cube = Cube.make(app, owner, {"consolidation": off})
    chat(cube, "s1", 0, *TOPICS)
    cube.learn("Dora owns a blue bicycle from Porto.", "Dora owns a blue bicycle from Porto!")
    cube.extract()
    assert cube.consolidate().revision is None


def test_a_failed_check_stops_the_whole_run(cube: Cube) -> None:
    chat(cube, "s1", 0, *TOPICS)
    before = cube.head
    with pytest.raises(ConsolidationRefused, match="it cites nothing") as refused, cube.writing() as tx:
        writer = RevisionWriter(tx, cube.name, "main", now=START)
        commit_consolidation.write(writer, Plan(problems=["episode/s1/0: it cites nothing"]), {})
    assert isinstance(refused.value, Conflict)
    assert cube.head == before


def test_a_summary_dies_with_what_it_was_made_from(cube: Cube) -> None:
    chat(cube, "s1", 0, *TOPICS[:4])
    turns = chat(cube, "s2", 1, *(f"{text} Again." for text in TOPICS[:4]))
    cube.consolidate()
    assert "episode/s2/0" in by_external_id(cube, Kind.EPISODE)
    for turn in turns:
        with cube.writing() as tx:
            revise.archive(tx, cube.who, cube.name, turn, branch="main", now=START)
    cube.consolidate()
    assert "episode/s2/0" in by_external_id(cube, Kind.EPISODE), "what was put away can still be told about"


def words_of(memory: MemoryView) -> set[str]:
    return set((memory.content or "").strip(" .!").split())


WORDS = ("blue", "red", "boat", "bicycle", "Porto", "Oslo", "garden", "river")


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    texts=st.lists(
        st.tuples(st.lists(st.sampled_from(WORDS), min_size=5, max_size=6), st.sampled_from(["", ".", "!", " ."])),
        min_size=2,
        max_size=12,
    ),
    more=st.lists(st.lists(st.sampled_from(WORDS), min_size=5, max_size=6), max_size=4),
)
def test_every_group_keeps_a_survivor_and_every_run_can_be_undone(
    app: App, owner: Principal, texts: list[tuple[list[str], str]], more: list[list[str]]
) -> None:
    cube = Cube.make(app, owner)
    cube.learn(*(" ".join(words) + end for words, end in texts))
    cube.extract()
    before, state = cube.head, cube.state()
    cube.consolidate()
    live = {m.id: m for m in cube.memories() if m.state in ("generated", "activated")}
    for m in cube.memories():
        if m.state == "merged":
            assert m.merged_into in live, "a pointer leads to somebody who lives"
            mine, survivors = words_of(m), words_of(live[m.merged_into])
            assert {"Porto", "Oslo"} & mine <= survivors, "no name is lost"
            assert len(mine & survivors) >= 0.8 * len(mine)
    head = cube.head
    assert cube.consolidate().revision is None
    cube.learn(*(" ".join(words) for words in more))
    cube.consolidate()
    cube.rollback(head)
    cube.rollback(before)
    assert cube.state() == state
