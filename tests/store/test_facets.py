"""However a filter is answered, from a list of few, through the indexes or past both, the same memories fit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from memos.rules import filters
from memos.rules.access import Principal, rank
from memos.rules.header import Kind
from memos.services import doctor_truth, revise, trace
from memos.services.findings import Verdict
from memos.services.recall import SearchQuery, search_cubes
from memos.store import cubes, facets, jobs, search
from memos.store.calling import CALLER
from memos.store.facets import NOT_NARROWED, narrow
from memos.store.search import Depth, Request
from memos.wiring import App
from tests.filtering import nested
from tests.services.running import fact, make_cube, run, write

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALL = Depth(per_channel=500, postings=500, neighbours=0, rim=0, whole=0)
KINDS = (Kind.FACT, Kind.FACT, Kind.FACT, Kind.PROCEDURE, Kind.FACT)
_numbers = itertools.count(1)


def described(n: int) -> dict[str, Any]:
    """Every mixture of a few attributes."""
    metadata: dict[str, Any] = {"topic": ["tea", "rain", "1"][n % 3], "n": [1, 1.0, 2.50, True, None][n % 5]}
    if n % 4 == 0:
        metadata["nested"] = {"topic": "tea"}
    return {
        "session_id": None if n % 6 == 0 else f"s{n % 6}", "name": ["Ana", "Bo", None][n % 3],
        "tags": [f"t{n % 4}", f"u{n % 7}"], "metadata": metadata, "created_at": NOON + timedelta(hours=n % 9),
    }  # fmt: skip


@pytest.fixture(scope="module")
def cube(app: App, owner: Principal) -> str:
    name = f"facets-{next(_numbers)}"
    make_cube(app, owner, name, NOON)
    texts = [f"The {['kettle', 'garden', 'ladder'][n % 3]} was seen on walk {n}." for n in range(130)]
    items = [replace(fact(text, **described(n)), kind=KINDS[n % 5]) for n, text in enumerate(texts)]
    write(app, owner, name, items, NOON + timedelta(days=1))
    return name


def found(
    app: App, owner: Principal, cube: str, asked: Mapping[str, Any], way: str, kinds: Sequence[str] | None = None
) -> set[int]:
    tree = filters.parse(asked)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        view = cubes.view(tx, cube)
        lists = NOT_NARROWED if way == "asked" else narrow(tx, view.branch, tree)
        if way == "indexes":
            lists = replace(lists, members=None)
        request = Request(
            embedding=app.embedder.embed(["the kettle in the garden"])[0], terms=("kettl", "garden"),
            documents={"kettl": 30, "garden": 30}, names=frozenset(), depth=ALL, as_of=NOON + timedelta(days=2),
            filter=tree, narrowed=lists, kinds=kinds,
        )  # fmt: skip
        return set(search.candidates(tx, view, request)[0].version_id.tolist())


words = st.sampled_from(["tea", "rain", "1", "Ana", "s1", "t0", "u3", "nobody"])
scalars = st.one_of(words, st.sampled_from([1, 1.0, 2.5, 2.500, True, False, None]))
times = st.integers(0, 9).map(lambda n: (NOON + timedelta(hours=n)).isoformat())
conditions = st.one_of(
    st.builds(lambda f, v: {f: {"eq": v}}, st.sampled_from(["session_id", "name", "tags"]), words),
    st.builds(
        lambda f, v: {f: {"in": v}}, st.sampled_from(["session_id", "name", "tags"]), st.lists(words, min_size=1)
    ),
    st.builds(
        lambda f, v: {f: {"eq": v}}, st.sampled_from(["metadata.topic", "metadata.n", "metadata.nested"]), scalars
    ),
    st.builds(
        lambda f, v: {f: {"in": v}}, st.sampled_from(["metadata.topic", "metadata.n"]), st.lists(scalars, min_size=1)
    ),
    st.builds(lambda a, b: {"created_at": {"gt": a, "lte": b}}, times, times),
    st.builds(lambda v: {"metadata.n": {"gte": v}}, st.sampled_from([1, 2])),
)
trees = nested(conditions, width=2, leaves=4)


@settings(max_examples=100, deadline=None)
@given(trees, st.sampled_from([None, ["fact"], ["procedure", "turn"]]))
def test_lists_change_how_and_not_what(
    app: App, owner: Principal, cube: str, asked: Mapping[str, Any], kinds: Sequence[str] | None
) -> None:
    plain = found(app, owner, cube, asked, "asked", kinds)
    assert found(app, owner, cube, asked, "listed", kinds) == plain
    assert found(app, owner, cube, asked, "indexes", kinds) == plain


def forge(owner_url: str, sql: str) -> None:
    """As the database's owner, for whom policies are set aside."""
    url = make_url(owner_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE heads NO FORCE ROW LEVEL SECURITY")
        connection.execute("ALTER TABLE facets NO FORCE ROW LEVEL SECURITY")
        connection.execute(sql.encode())
        connection.execute("ALTER TABLE heads FORCE ROW LEVEL SECURITY")
        connection.execute("ALTER TABLE facets FORCE ROW LEVEL SECURITY")


@pytest.mark.parametrize(
    "asked",
    [
        {"session_id": {"eq": "s1"}}, {"tags": {"contains": "t2"}}, {"metadata.topic": {"eq": "tea"}, "name": {"eq": "Ana"}},
        {"created_at": {"lt": (NOON + timedelta(hours=3)).isoformat()}},
    ],
)  # fmt: skip
def test_what_an_older_writer_left_undescribed_is_found_all_the_same(
    app: App, owner: Principal, owner_url: str, asked: Mapping[str, Any]
) -> None:
    name = f"facets-{next(_numbers)}"
    make_cube(app, owner, name, NOON)
    written = NOON + timedelta(days=1)
    write(app, owner, name, [fact(f"The kettle of walk {n}.", **described(n)) for n in range(20)], written)
    whole = found(app, owner, name, asked, "asked")
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        branch = cubes.view(tx, name).branch.id
    forge(owner_url, f"DELETE FROM facets WHERE branch_id = {branch} AND version_id % 2 = 0")
    forge(
        owner_url,
        f"UPDATE heads SET facets = NULL, created_at = NULL WHERE branch_id = {branch} AND version_id % 2 = 0",
    )
    assert len(whole) > 1
    assert found(app, owner, name, asked, "listed") == whole
    assert found(app, owner, name, asked, "indexes") == whole


def test_the_index_job_lists_what_an_older_writer_left(app: App, owner: Principal, owner_url: str) -> None:
    name = f"facets-{next(_numbers)}"
    cube_id = make_cube(app, owner, name, NOON)
    written = NOON + timedelta(days=1)
    write(app, owner, name, [fact(f"The kettle of walk {n}.", **described(n)) for n in range(20)], written)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        branch = cubes.view(tx, name).branch.id
        listed = tx.tuples("SELECT facet, version_id FROM facets WHERE branch_id = :branch", branch=branch)
    forge(owner_url, f"DELETE FROM facets WHERE branch_id = {branch}")
    forge(owner_url, f"UPDATE heads SET facets = NULL, created_at = NULL WHERE branch_id = {branch}")
    examined = [f for f in doctor_truth.examine(app.database, repair=False) if name in f.detail]
    assert [(f.verdict, "20 memories are on no list" in f.detail) for f in examined] == [(Verdict.WARN, True)]
    with app.database.transaction(owner.tenant_id) as tx:
        job = jobs.promise(tx, "index", cube_id=cube_id, payload={"branch": "main"})
    run(app, owner, job)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        again = tx.tuples("SELECT facet, version_id FROM facets WHERE branch_id = :branch", branch=branch)
        assert not facets.undescribed(tx, branch)
    assert sorted(again) == sorted(listed)
    assert [f for f in doctor_truth.examine(app.database, repair=False) if name in f.detail] == []


def test_one_with_more_facets_than_are_kept_is_on_every_list(app: App, owner: Principal) -> None:
    name = f"facets-{next(_numbers)}"
    make_cube(app, owner, name, NOON)
    many = {f"k{n}": n for n in range(facets.MOST + 1)}
    [one, other] = write(
        app, owner, name, [fact("The kettle.", metadata=many), fact("The ladder.", metadata={"k3": 4})], NOON
    )
    for asked, expected in (({"metadata.k3": {"eq": 3}}, [one]), ({"metadata.k3": {"eq": 4}}, [other])):
        answer = search_cubes(app.recall, owner, [name], SearchQuery("kettle or ladder?", filter=asked), clock=NOON)
        assert [hit.memory_id for hit in answer.items] == expected


def test_lists_follow_an_edit(app: App, owner: Principal) -> None:
    name = f"facets-{next(_numbers)}"
    make_cube(app, owner, name, NOON)
    [memory] = write(app, owner, name, [fact("The kettle.", tags=["old"], metadata={"a": 1})], NOON)

    def hits(**asked: Any) -> int:
        query = SearchQuery("kettle?", filter=asked)
        return len(search_cubes(app.recall, owner, [name], query, clock=NOON + timedelta(days=1)).items)

    assert (hits(tags={"eq": "old"}), hits(**{"metadata.a": {"eq": 1.0}})) == (1, 1)
    with app.database.transaction(owner.tenant_id) as tx:
        revise.archive(tx, owner, name, memory, branch="main", now=NOON + timedelta(hours=1))
    assert hits(tags={"eq": "old"}) == 0
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        branch = cubes.view(tx, name).branch.id
        assert tx.scalar("SELECT count(*) FROM facets WHERE branch_id = :branch", branch=branch) == 0


def test_few_are_scored_one_by_one_and_the_answer_says_so(app: App, owner: Principal, cube: str) -> None:
    asked = SearchQuery("the kettle", filter={"session_id": {"eq": "s1"}}, budget="low", limit=50)
    answer = search_cubes(app.recall, owner, [cube], asked, clock=NOON + timedelta(days=2))
    assert "every memory it lets through was scored" in answer.route.reason
    assert answer.route.candidates == len(answer.items) == 22


def test_an_answer_from_a_list_is_repeated_when_its_revision_is_the_past(app: App, owner: Principal) -> None:
    name = f"facets-{next(_numbers)}"
    make_cube(app, owner, name, NOON)
    written = NOON + timedelta(days=1)
    texts = [f"The {['kettle', 'garden', 'ladder'][n % 3]} was seen on walk {n}." for n in range(1_200)]
    write(app, owner, name, [fact(text, tags=[f"t{n % 10}"]) for n, text in enumerate(texts)], written)
    asked = SearchQuery("which kettle was seen?", filter={"tags": {"contains": "t3"}}, budget="low", limit=50)
    answer = search_cubes(app.recall, owner, [name], asked, clock=written)
    app.traces.flush()
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        kept = trace.get(owner, tx, answer.trace_id)
    assert answer.route.candidates == 120
    write(app, owner, name, [fact("Another kettle.", tags=["t3"])], written)
    replayed = trace.replay(app.recall, owner, kept, clock=written + timedelta(hours=1))
    assert replayed.same


def test_too_many_are_left_to_the_indexes(
    app: App, owner: Principal, cube: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facets, "few", lambda _: 10)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        branch = cubes.view(tx, cube).branch
        many = narrow(tx, branch, filters.parse({"session_id": {"eq": "s1"}}))
        both = narrow(tx, branch, filters.parse({"session_id": {"eq": "s1"}, "metadata.nested": {"eq": "x"}}))
    assert many.members is None
    assert many.rows_told
    assert many.postings_told
    assert both.members is not None


def test_a_list_does_not_tell_of_what_the_caller_may_not_see(app: App, owner: Principal) -> None:
    name = f"facets-{next(_numbers)}"
    make_cube(app, owner, name, NOON)
    items = [fact(f"The ladder of walk {n}.") for n in range(120)]
    hidden = [fact(f"The safe of room {n}.", sensitivity="secret", tags=["hush"]) for n in range(5)]
    write(app, owner, name, [*items, *hidden], NOON)
    asked = SearchQuery("what is secret?", filter={"tags": {"contains": "hush"}}, budget="low")
    told = []
    for clearance in ("secret", "normal"):
        who = replace(owner, clearance=rank(clearance))
        token = CALLER.set(who)
        route = search_cubes(app.recall, who, [name], asked, clock=NOON + timedelta(days=1)).route
        CALLER.reset(token)
        told.append((route.candidates, route.runner_up_candidates))
    assert told == [(5, 5), (0, 0)]
