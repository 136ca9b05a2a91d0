"""What has faded is put away, what runs out expires, and a rollback undoes all of it."""

from __future__ import annotations

import itertools
import random
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.errors import Invalid
from memos.rules import policy as policies
from memos.rules.access import Principal
from memos.rules.forgetting import Outcome, decide
from memos.rules.header import Kind
from memos.services import branch, decisions, forget, promote, read, remember, revise
from memos.services.attempt import Attempt
from memos.services.remember import ItemIn
from memos.store import cubes, jobs, retention
from memos.wiring import App
from tests.services.forgetting import FULL, FULL_VERSION, LATER, START, cube_id, decay, get, recalled, transitions
from tests.services.running import fact, head, look, make_cube, run, write

_numbers = itertools.count(1)


@pytest.fixture
def cube(app: App, owner: Principal) -> str:
    name = f"forgetting-{next(_numbers)}"
    make_cube(app, owner, name, START, {"forget": FULL})
    return name


def test_what_nobody_recalls_is_archived_once_and_the_reason_is_kept(app: App, owner: Principal, cube: str) -> None:
    turn = ItemIn(kind=Kind.TURN, content="the train leaves at nine", session_id="s")
    faded, distilled = write(app, owner, cube, [turn, fact("Ana takes the train")], START)
    first = head(app, owner, cube)

    assert decay(app, owner, cube, START + timedelta(days=100)) == (None, {})
    revision, counts = decay(app, owner, cube, START + timedelta(days=200))
    assert (revision, counts) == (first + 1, {"archive": 1})
    assert get(app, owner, cube, faded).state == "archived"
    assert get(app, owner, cube, distilled).state == "generated"
    assert transitions(app, owner, faded) == [("generated", "archived", "archive", revision)]
    assert decay(app, owner, cube, START + timedelta(days=200)) == (None, {})

    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        page = decisions.list_decisions(
            tx, owner, cube, kind="decay", outcome=None, memory_id=faded, limit=10, cursor=None
        )
    [logged] = page.items
    assert (logged.outcome, logged.revision, logged.policy_version, logged.applied) == (
        "archive", revision, FULL_VERSION, True,
    )  # fmt: skip
    assert logged.inputs["state"] == "generated"
    assert logged.score is not None
    assert logged.score < 0.5


def test_a_time_to_live_that_has_passed_expires_even_what_is_pinned(app: App, owner: Principal, cube: str) -> None:
    memories = write(
        app, owner, cube,
        [fact("the code is 4711", ttl_s=3600.0), fact("the key is blue", ttl_s=3600.0, tags=["pinned"]), fact("it rains")],
        START,
    )  # fmt: skip
    assert decay(app, owner, cube, START + timedelta(hours=2))[1] == {"expire": 2}
    assert [get(app, owner, cube, m).state for m in memories] == ["expired", "expired", "generated"]


def test_pinned_and_frozen_memories_do_not_fade(app: App, owner: Principal, cube: str) -> None:
    pinned, frozen, plain = write(app, owner, cube, [fact("a", tags=["pinned"]), fact("b"), fact("c")], START)
    with app.database.transaction(owner.tenant_id) as tx:
        revise.set_state(tx, owner, cube, frozen, to="frozen", branch="main", now=START)
    assert decay(app, owner, cube, LATER)[1] == {"archive": 1}
    assert [get(app, owner, cube, m).state for m in (pinned, frozen, plain)] == ["generated", "frozen", "archived"]


def test_a_budget_evicts_the_least_valuable_and_never_deletes(app: App, owner: Principal) -> None:
    name = f"budget-{next(_numbers)}"
    found = make_cube(app, owner, name, START, {"forget": {"max_memories": 3}})
    memories = write(app, owner, name, [fact(f"fact {n}", priority=n / 10) for n in range(8)], START)
    recalled(app, owner, found, {memories[0]: 2}, START + timedelta(days=1))
    assert decay(app, owner, name, START + timedelta(days=2))[1] == {"evict": 5}
    live = [m for m in memories if get(app, owner, name, m).state != "archived"]
    assert live == [memories[0], memories[6], memories[7]]


def test_a_dry_run_tells_what_the_run_then_does(app: App, owner: Principal, cube: str) -> None:
    write(app, owner, cube, [fact(f"fact {n}", priority=n / 20) for n in range(20)], START)
    now = START + timedelta(days=300)
    before = head(app, owner, cube)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        told = forget.preview(tx, owner, cube, branch="main", now=now, most=100)
    assert head(app, owner, cube) == before
    assert 0 < told.counts["archive"] < 20
    assert decay(app, owner, cube, now) == (before + 1, told.counts)
    archived = {d.memory_id for d in told.decisions}
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        shown = read.list_memories(
            tx, owner, cube, kind=None, state="archived", tag=None, session_id=None, branch="main", at=None, as_of=None,
            limit=100, cursor=None,
        )  # fmt: skip
    assert {m.id for m in shown.items} == archived


def test_what_changes_while_a_run_thinks_is_left_for_the_next(
    app: App, owner: Principal, cube: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited, other = write(app, owner, cube, [fact("the boat is red"), fact("the coat is blue")], START)

    class Interfering(Attempt):
        def check(self) -> None:
            if get(app, owner, cube, edited).content == "the boat is red":
                prepared = revise.prepare_change(
                    app.database, app.embedder, owner, cube, edited, {"content": "the boat is green"}, "main"
                )
                with app.database.transaction(owner.tenant_id) as tx:
                    revise.change(tx, owner, prepared, now=LATER)

    with app.database.transaction(owner.tenant_id) as tx:
        job_id = forget.request(tx, owner, cube, branch="main", now=LATER).id
    with app.database.transaction(owner.tenant_id) as tx:
        job = jobs.claim(tx, job_id, 60.0)
    assert job is not None
    monkeypatch.setattr(Interfering, "reading", lambda self: app.database.transaction(owner.tenant_id, read_only=True))
    forget.decay(Interfering(app, owner.tenant_id, job))
    assert look(app, owner, job_id).result == {"counts": {"archive": 1}, "policy_version": FULL_VERSION, "left": 0}
    assert get(app, owner, cube, edited).state == "generated"
    assert get(app, owner, cube, other).state == "archived"


def test_more_acts_than_one_revision_holds_go_on_in_another_run(
    app: App, owner: Principal, cube: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(app, owner, cube, [fact(f"fact {n}") for n in range(5)], START)
    monkeypatch.setattr(forget, "MOST_ACTS", 3)
    assert decay(app, owner, cube, LATER)[1] == {"archive": 3}
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        [waiting] = [
            j for j in jobs.list_page(tx, "queued", "decay", 10, None, None) if j.payload["now"] == LATER.isoformat()
        ]
    assert run(app, owner, waiting.id).result == {"counts": {"archive": 2}, "policy_version": FULL_VERSION, "left": 0}


def test_reading_only_what_is_near_an_edge_misses_nothing(app: App, owner: Principal, cube: str) -> None:
    dice = random.Random(7)
    items = [
        fact(
            f"fact {n}", priority=dice.random(), tags=["pinned"] if n % 9 == 0 else [],
            ttl_s=dice.choice([None, None, 86_400.0 * dice.randint(1, 600)]),
        )
        for n in range(150)
    ]  # fmt: skip
    memories = write(app, owner, cube, items, START)
    found = cube_id(app, owner, cube)
    for day in range(0, 400, 40):
        recalled(
            app, owner, found, {m: dice.randint(1, 2) for m in dice.sample(memories, 20)}, START + timedelta(days=day)
        )
        decay(app, owner, cube, START + timedelta(days=day + 20))
    for policy in (policies.Forget(), policies.parse({"forget": {"archive_below": 0.8, "restore_above": 0.9}}).forget):
        for days in (400, 500, 900):
            now = START + timedelta(days=days)
            with app.database.transaction(owner.tenant_id, read_only=True) as tx:
                view = cubes.view(tx, cube)
                near = retention.due(tx, view, policy.rule, policy.pin_tags, now)
                every = retention.standings(tx, view)
            wanted = {
                d.memory_id
                for d in decide([forget.candidate(s, policy, now) for s in every], policy.rule, now)
                if d.outcome is not Outcome.KEEP
            }
            assert wanted
            assert wanted <= {s.memory_id for s in near}


def test_beat_promises_runs_only_where_there_is_something_to_do(app: App, owner: Principal) -> None:
    now = remember.utc_now()
    names = [f"beat-{next(_numbers)}" for _ in range(4)]
    wanted: list[dict[str, Any]] = [{}, {"forget": {"enabled": False}}, {}, {"forget": {"max_memories": 1}}]
    fresh, off, empty, overfull = (
        make_cube(app, owner, name, now, policy) for name, policy in zip(names, wanted, strict=True)
    )
    for name in (names[0], names[1], names[3]):
        write(app, owner, name, [fact("one"), fact("two", ttl_s=7_200.0)], now)

    def promised(at: datetime) -> set[UUID]:
        forget.plan(app.database, owner.tenant_id, at)
        with app.database.transaction(owner.tenant_id) as tx:
            waiting = [j for j in jobs.list_page(tx, "queued", "decay", 200, None, None) if j.payload["now"] is None]
            for job in waiting:
                jobs.cancel(tx, job.id)
        return {j.cube_id for j in waiting if j.cube_id in {fresh, off, empty, overfull}}

    assert promised(now) == {fresh, overfull}
    with app.database.transaction(owner.tenant_id) as tx:
        for done in (fresh, overfull):
            retention.mark_run(tx, done, "decayed", now)
    assert promised(now + timedelta(hours=1)) == {overfull}
    assert promised(now + timedelta(hours=3)) == {fresh, overfull}
    assert promised(now + timedelta(hours=30)) == {fresh, overfull}


def _state(app: App, owner: Principal, cube: str, at: int | None) -> dict[UUID, tuple[Any, ...]]:
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        page = read.list_memories(
            tx, owner, cube, kind=None, state=None, tag=None, session_id=None, branch="main", at=at, as_of=None, limit=200,
            cursor=None,
        )  # fmt: skip
    # A memory that was recalled stays recalled: that is the one thing a rollback leaves.
    alive = {"generated": "live", "activated": "live"}
    return {m.id: (m.content, alive.get(m.state, m.state), m.priority, m.expires_at, tuple(m.tags)) for m in page.items}


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 9)),
    st.tuples(st.just("recall"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.integers(1, 400)),
    st.tuples(st.just("decay"), st.just(0)),
    st.tuples(st.just("promote"), st.just(0)),
)


@settings(max_examples=12, deadline=None)
@given(st.lists(STEPS, min_size=3, max_size=12), st.integers(0, 11))
def test_a_rollback_after_any_jobs_restores_exactly(
    app: App, owner: Principal, steps: list[tuple[str, int]], back: int
) -> None:
    name = f"rollback-{next(_numbers)}"
    found = make_cube(app, owner, name, START, {"forget": {"max_memories": 5}})
    memories: list[UUID] = write(app, owner, name, [fact("the first one", ttl_s=86_400.0 * 90)], START)
    now = START
    marks = [(head(app, owner, name), _state(app, owner, name, None))]
    for step, number in steps:
        now += timedelta(minutes=1)
        match step:
            case "add":
                kind = Kind.TURN if number % 2 else Kind.FACT
                memories += write(
                    app,
                    owner,
                    name,
                    [ItemIn(kind=kind, content=f"number {number}", session_id="s", priority=number / 10)],
                    now,
                )
            case "recall":
                recalled(app, owner, found, {memories[number % len(memories)]: 1}, now)
            case "wait":
                now += timedelta(days=number)
            case "decay":
                decay(app, owner, name, now)
            case "promote":
                with app.database.transaction(owner.tenant_id) as tx:
                    job_id = promote.request(tx, owner, name, branch="main", now=now).id
                run(app, owner, job_id)
        marks.append((head(app, owner, name), _state(app, owner, name, None)))
    number, state = marks[back % len(marks)]
    with app.database.transaction(owner.tenant_id) as tx:
        branch.rollback(tx, owner, name, to=number, branch="main", now=now)
    assert _state(app, owner, name, None) == state
    for then, was in marks:
        assert _state(app, owner, name, then) == was


@pytest.mark.parametrize(
    "policy",
    [
        {"forgett": {}},
        {"forget": {"archive_below": 2}},
        {"forget": {"version": "mine"}},
        {"forget": {"archive_below": 0.7}},
        {"promote": {"budget_bytes": -1}},
        {"refuse_erased": "yes"},
        {"extraction": {"admission": 7}},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_when_it_is_set(
    app: App, owner: Principal, policy: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        make_cube(app, owner, f"never-{next(_numbers)}", START, policy)
