"""A search that stays unsure looks into the archive once; what it gives from there comes back, and nothing else does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules import routing
from memos.rules.access import LABELS, Principal
from memos.rules.header import Kind, Sensitivity
from memos.services import assemble, branch, decisions, forget, read, recall, revise, trace, wake, work
from memos.services.remember import ItemIn
from memos.services.views import SearchAnswer
from memos.store import cubes, memories, search_archive, traces
from memos.store.calling import CALLER
from memos.store.revision_writer import RevisionWriter
from memos.wiring import App
from tests.services.deriving import Cube
from tests.services.packaging import packed, remove, unpacked
from tests.services.running import fact, head, make_cube, run, write

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=900)
_numbers = itertools.count(1)
SAFE = "the safe stands behind the painting of the harbour"
Q = "where does the safe stand?"


@pytest.fixture
def cube(app: App, owner: Principal) -> str:
    return fresh(app, owner)


def fresh(app: App, owner: Principal, **forgetting: Any) -> str:
    name = f"archive-{next(_numbers)}"
    make_cube(app, owner, name, START, {"forget": {"room": 0, **forgetting}, "extraction": {"enabled": False}})
    return name


def fade(app: App, owner: Principal, cube: str, now: datetime = LATER) -> None:
    with app.database.transaction(owner.tenant_id) as tx:
        job = forget.request(tx, owner, cube, branch="main", now=now)
    run(app, owner, job.id)


def search(app: App, owner: Principal, cube: str, query: str = Q, **fields: Any) -> SearchAnswer:
    asked = recall.SearchQuery(query, **{"now": LATER, **fields})
    return recall.search_cubes(app.recall, owner, [cube], asked, clock=LATER)


def ids(answer: SearchAnswer) -> set[UUID]:
    return {hit.memory_id for hit in answer.items}


def state(app: App, owner: Principal, cube: str, memory_id: UUID) -> str:
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        return read.get_memory(tx, owner, cube, memory_id, branch="main", at=None).state


def woken(app: App, owner: Principal, cube: str) -> int:
    """Flush, and run the jobs that this promised; how many memories of the cube came back."""
    app.recalls.flush()
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        cube_id = cubes.find(tx, cube).id
    done = [run(app, owner, due.job_id) for due in work.due(app, 500) if due.kind == wake.KIND]
    return sum((job.result or {})["woken"] for job in done if job.cube_id == cube_id)


@contextmanager
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of candidates that looks into the archive gave, in order."""
    seen: list[int] = []
    real = search_archive.archived

    def counted(*arguments: Any) -> Any:
        pool = real(*arguments)
        seen.append(len(pool))
        return pool

    with monkeypatch.context() as patched:
        patched.setattr(search_archive, "archived", counted)
        yield seen


def test_an_unsure_search_finds_what_faded_and_recall_brings_it_back(app: App, owner: Principal, cube: str) -> None:
    [kept] = write(app, owner, cube, [fact(SAFE)], START)
    fade(app, owner, cube)
    before = head(app, owner, cube)

    answer = search(app, owner, cube)
    [hit] = answer.items
    assert (hit.memory_id, hit.state) == (kept, "archived")
    assert answer.route.archived == 1
    assert answer.route.channels == ["dense", "lexical", "archive"]
    assert "of the archive" in answer.route.reason

    assert woken(app, owner, cube) == 1
    assert state(app, owner, cube, kept) == "activated"
    [again] = search(app, owner, cube).items
    assert (again.memory_id, again.state) == (kept, "activated")
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        page = decisions.list_decisions(
            tx, owner, cube, kind="wake", outcome="restore", memory_id=kept, limit=5, cursor=None
        )
    assert [one.revision for one in page.items] == [before + 1]
    # It was just recalled, so it does not fade the next moment; and a rollback undoes the return exactly.
    fade(app, owner, cube, LATER + timedelta(days=1))
    assert state(app, owner, cube, kept) == "activated"
    with app.database.transaction(owner.tenant_id) as tx:
        branch.rollback(tx, owner, cube, to=before, branch="main", now=LATER)
    assert state(app, owner, cube, kept) == "archived"


def test_it_costs_nothing_where_nothing_lies_or_the_answer_is_sure(
    app: App, owner: Principal, cube: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(app, owner, cube, [fact(SAFE)], START)
    with looks(monkeypatch) as seen:
        search(app, owner, cube, "what about bicycles?")
        assert seen == []
    fade(app, owner, cube)
    write(app, owner, cube, [fact("Ana rides a green bicycle")], LATER)
    with looks(monkeypatch) as seen:
        monkeypatch.setattr(routing, "confidence", lambda _: 0.99)
        for budget in ("low", "auto", "high"):
            assert search(app, owner, cube, budget=budget).route.archived == 0
        monkeypatch.setattr(routing, "confidence", lambda _: 0.1)
        assert search(app, owner, cube, budget="low").route.archived == 0
        assert seen == []
        assert search(app, owner, cube).route.archived == 1
        assert seen == [1]


def test_what_was_put_away_on_purpose_set_aside_or_run_out_stays_there(app: App, owner: Principal, cube: str) -> None:
    faded, withdrawn, aside, over = write(
        app,
        owner,
        cube,
        [
            fact(SAFE),
            fact("the safe stands in the cellar"),
            fact("the safe stands in the attic"),
            fact("the safe stands in the garage", valid_to=START + timedelta(days=3)),
        ],
        START,
    )
    with app.database.transaction(owner.tenant_id) as tx:
        revise.archive(tx, owner, cube, withdrawn, branch="main", now=START)
    fade(app, owner, cube)
    with app.database.transaction(owner.tenant_id) as tx:
        writer = RevisionWriter(tx, cube, "main", now=LATER)
        row = memories.get_many(tx, writer.view, [aside])[aside]
        writer.change(row, replace(row.draft(), quarantined=True, action="write"))
        writer.finish(kind="decay", author=None, reason="as if it had faded so")
    assert {state(app, owner, cube, m) for m in (faded, withdrawn, over)} == {"archived"}
    assert ids(search(app, owner, cube)) == {faded}
    # Naming them does not wake them either: a job may be older than what happened since.
    with app.database.transaction(owner.tenant_id) as tx:
        promised = wake.promise(tx, cubes.find(tx, cube).id, "main", [faded, withdrawn, aside])
    assert (run(app, owner, promised).result or {})["woken"] == 1
    assert state(app, owner, cube, withdrawn) == "archived"
    assert woken(app, owner, cube) == 0  # what the search above promised is there already


def test_filters_kinds_states_and_past_states_are_kept_to(app: App, owner: Principal, cube: str) -> None:
    tagged, plain = write(
        app, owner, cube, [fact(SAFE, tags=["house"]), fact("the safe stands open on Mondays")], START
    )
    live = head(app, owner, cube)
    fade(app, owner, cube)
    archived = head(app, owner, cube)
    assert ids(search(app, owner, cube)) == {tagged, plain}
    assert ids(search(app, owner, cube, filter={"tags": {"contains": "house"}})) == {tagged}
    assert ids(search(app, owner, cube, granularity="turn")) == set()
    assert ids(search(app, owner, cube, granularity="fact")) == {tagged, plain}
    assert ids(search(app, owner, cube, filter={"state": {"eq": "activated"}})) == set()
    # A past state is what it was: all was live before the run, and nothing after it.
    assert ids(search(app, owner, cube, at=live)) == {tagged, plain}
    assert ids(search(app, owner, cube, at=archived)) == set()
    # Looking at what was true at a time finds what faded, and recalls nothing.
    woken(app, owner, cube)
    fade(app, owner, cube, LATER + timedelta(days=900))
    assert ids(search(app, owner, cube, as_of=START + timedelta(days=1))) == {tagged, plain}
    assert woken(app, owner, cube) == 0


def test_only_what_stands_high_in_the_answer_comes_back(app: App, owner: Principal, cube: str) -> None:
    written = write(app, owner, cube, [fact(f"the safe of room {n} stands in the hall") for n in range(8)], START)
    fade(app, owner, cube)
    answer = search(app, owner, cube)
    assert ids(answer) == set(written)
    assert woken(app, owner, cube) == routing.RECALLING_PLACES
    best = {hit.memory_id for hit in answer.items[: routing.RECALLING_PLACES]}
    assert {m for m in written if state(app, owner, cube, m) == "activated"} == best
    fade(app, owner, cube, LATER + timedelta(days=1))
    assert {m for m in written if state(app, owner, cube, m) == "activated"} == best


def test_a_context_looks_back_too_and_a_trace_of_it_replays(app: App, owner: Principal, cube: str) -> None:
    [kept] = write(app, owner, cube, [fact(SAFE)], START)
    fade(app, owner, cube)
    answer = assemble.context(
        app.recall, owner, [cube], assemble.ContextQuery(recall.SearchQuery(Q, now=LATER)), clock=LATER
    )
    assert [item.memory_id for item in answer.items] == [kept]
    app.traces.flush()
    assert woken(app, owner, cube) == 1
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        found = traces.find(tx, answer.trace_id)
    assert found is not None
    assert trace.replay(app.recall, owner, found, clock=LATER).same


def test_a_branch_that_inherits_reads_the_archive_of_its_base(app: App, owner: Principal, cube: str) -> None:
    [kept] = write(app, owner, cube, [fact(SAFE)], START)
    fade(app, owner, cube)
    with app.database.transaction(owner.tenant_id) as tx:
        branch.create_branch(tx, owner, cube, name="trial", from_=None, base="main", now=LATER)
    assert ids(search(app, owner, cube, branch="trial")) == {kept}
    assert woken(app, owner, cube) == 1
    assert state(app, owner, cube, kept) == "archived"
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        assert read.get_memory(tx, owner, cube, kept, branch="trial", at=None).state == "activated"


def test_a_full_cube_keeps_what_it_has(app: App, owner: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "confidence", lambda _: 0.1)
    cube = fresh(app, owner, max_memories=1)
    [kept] = write(app, owner, cube, [fact(SAFE)], START)
    fade(app, owner, cube)
    write(app, owner, cube, [fact("Ana rides a green bicycle")], LATER)
    answer = search(app, owner, cube)
    assert kept in ids(answer)
    assert woken(app, owner, cube) == 0
    assert state(app, owner, cube, kept) == "archived"


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.sampled_from(list(LABELS)), min_size=2, max_size=5),
    st.sampled_from(list(LABELS)),
)
def test_nobody_is_shown_by_this_way_what_is_above_their_clearance(
    app: App, owner: Principal, labels: list[Sensitivity], clearance: Sensitivity
) -> None:
    cube = fresh(app, owner)
    items = [
        ItemIn(kind=Kind.FACT, content=f"the safe number {n} stands in the hall", sensitivity=label)
        for n, label in enumerate(labels)
    ]
    written = write(app, owner, cube, items, START)
    fade(app, owner, cube)
    reader = replace(owner, clearance=LABELS.index(clearance))
    token = CALLER.set(reader)
    try:
        answer = search(app, reader, cube)
    finally:
        CALLER.reset(token)
    allowed = {m for m, label in zip(written, labels, strict=True) if LABELS.index(label) <= LABELS.index(clearance)}
    assert ids(answer) == allowed
    woken(app, owner, cube)
    assert {m for m in written if state(app, owner, cube, m) == "activated"} <= allowed


def test_a_policy_may_keep_the_archive_closed(app: App, owner: Principal) -> None:
    cube = fresh(app, owner, look_back=False)
    write(app, owner, cube, [fact(SAFE)], START)
    fade(app, owner, cube)
    assert search(app, owner, cube).items == []


def test_what_lies_in_the_archive_of_a_package_is_found_where_it_is_unpacked(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner, {"forget": {"room": 0}, "extraction": {"enabled": False}})
    [kept] = cube.learn(SAFE)
    fade(app, owner, cube.name)
    package = packed(cube)
    remove(cube)
    unpacked(app, owner, package)
    assert ids(search(app, owner, cube.name)) == {kept}
    assert woken(app, owner, cube.name) == 1
