"""Memories that resemble each other are linked once, within bounds, and only where both are shown."""

from __future__ import annotations

from datetime import timedelta

from memos.rules.access import Principal
from memos.services import branch, relating, revise
from memos.services.neighbourhood import neighbourhood
from memos.store import cubes, jobs, readings
from memos.store.jobs import Job
from memos.wiring import App
from tests.services.deriving import START, Cube
from tests.services.running import run

SOUP, SOUP_AGAIN, TRAIN = (
    "We cooked pumpkin soup with ginger at home.",
    "We cooked pumpkin soup with ginger at home yesterday.",
    "The train to Hamburg leaves from platform nine.",
)


def relate(cube: Cube, on: str = "main") -> Job:
    with cube.writing() as tx:
        promised = jobs.promise(tx, relating.KIND, cube_id=cube.id, payload={"branch": on}, dedup_key=f"{cube.id}/{on}")
    return run(cube.app, cube.who, promised)


def ties(cube: Cube, center: str, at: int | None = None) -> set[tuple[str, str]]:
    with cube.reading() as tx:
        found = neighbourhood(tx, cube.who, cube.name, center=center, hops=1, branch="main", at=at, as_of=None)
    labels = {node.id: node.label for node in found.nodes}
    return {(labels[e.source], labels[e.target]) for e in found.edges if e.relation == "similar"}


def test_what_resembles_is_linked_once(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner)
    soup, _, train = cube.learn(SOUP, SOUP_AGAIN, TRAIN)
    head = cube.head
    done = relate(cube)
    assert done.result == {"looked": 3, "linked": 2}
    assert cube.head == head
    assert ties(cube, str(soup)) == {(SOUP, SOUP_AGAIN), (SOUP_AGAIN, SOUP)}
    assert ties(cube, str(train)) == set()
    assert relate(cube).result == {"looked": 0, "linked": 0}


def test_what_is_new_is_linked_to_what_was_there(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner)
    [soup] = cube.learn(SOUP)
    relate(cube)
    before = cube.head
    cube.learn(SOUP_AGAIN)
    assert relate(cube).result == {"looked": 1, "linked": 1}
    assert ties(cube, str(soup)) == {(SOUP_AGAIN, SOUP)}
    assert ties(cube, str(soup), at=before) == set()


def test_links_are_bounded(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner)
    cube.learn(*(f"{SOUP} {n}" for n in range(9)))
    assert relate(cube).result == {"looked": 9, "linked": 9 * relating.NEIGHBOURS}


def test_what_is_put_away_is_not_tied(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner)
    soup, again = cube.learn(SOUP, SOUP_AGAIN)
    relate(cube)
    with cube.writing() as tx:
        revise.archive(tx, cube.who, cube.name, again, branch="main", now=START)
    assert ties(cube, str(soup)) == set()
    assert relate(cube).result == {"looked": 0, "linked": 0}


def test_a_branch_that_inherits_is_left_alone(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner)
    cube.learn(SOUP, SOUP_AGAIN)
    with cube.writing() as tx:
        branch.create_branch(tx, cube.who, cube.name, name="trial", from_=None, base="main", now=START)
    assert "skipped" in relate(cube, "trial").result


def test_a_quiet_cube_is_planned_until_it_is_done(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner)
    cube.learn(SOUP)
    later = START + timedelta(days=30 * 365)

    def behind() -> bool:
        with cube.reading() as tx:
            return cube.id in {cube_id for cube_id, _ in readings.behind(tx, relating.KIND, later)}

    assert behind()
    assert relating.plan(app.database, owner.tenant_id, later) >= 1
    relate(cube)
    assert not behind()
    with cube.reading() as tx:
        assert cubes.view(tx, cube.name).at == cube.head
