"""What the database keeps of governance whatever a service forgets, and what the workers do for it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from memos.errors import Forbidden, NotFound, QuotaExceeded
from memos.rules.access import LABELS, Calling, Operation, Principal
from memos.services import (
    branch,
    entities,
    erase,
    grants,
    holds,
    neighbourhood,
    quotas,
    read,
    revise,
    signing,
    trace,
    work,
)
from memos.services.assemble import ContextQuery, context
from memos.services.erase import Wanted
from memos.services.recall import SearchQuery, search_cubes
from memos.services.remember import utc_now
from memos.store import ages, audit, cubes, jobs, memories
from memos.store.calling import CALLER
from memos.store.transaction import Transaction
from memos.wiring import App
from tests.services.running import fact, look, make_cube, write

_numbers = itertools.count(1)


@pytest.fixture
def cube(app: App, owner: Principal) -> str:
    name = f"governed-{next(_numbers)}"
    make_cube(app, owner, name, utc_now())
    return name


@contextmanager
def calling(who: Principal, *, redacts: bool = False, operation: Operation = Operation.READ) -> Iterator[Principal]:
    who = replace(who, calling=Calling(operation, redacts=redacts))
    token = CALLER.set(who)
    try:
        yield who
    finally:
        CALLER.reset(token)


# ---------------------------------------------------------------- secrecy


def doors(app: App, who: Principal, cube: str, ids: list[UUID], head: int) -> Iterator[tuple[str, bool, Any]]:
    """(name, whether it may redact, what it does) of every way in which a caller can read."""

    def reading(act: Any) -> Any:
        def run(caller: Principal) -> Any:
            with app.database.transaction(caller.tenant_id, read_only=True) as tx:
                return act(tx, caller)

        return run

    listing = {"kind": None, "state": None, "tag": None, "session_id": None, "branch": "main", "as_of": None}
    for at in (None, *range(1, head + 1)):
        yield (
            f"list at {at}",
            True,
            reading(lambda tx, w, at=at: read.list_memories(tx, w, cube, **listing, at=at, limit=200, cursor=None)),
        )
    for memory_id in ids:
        yield "get", True, reading(lambda tx, w, m=memory_id: read.get_memory(tx, w, cube, m, branch="main", at=None))
        yield "history", True, reading(lambda tx, w, m=memory_id: read.history(tx, w, cube, m, limit=50, cursor=None))
        yield (
            "provenance",
            True,
            reading(lambda tx, w, m=memory_id: read.provenance(tx, w, cube, m, branch="main", at=None)),
        )
        yield (
            "graph",
            False,
            reading(
                lambda tx, w, m=memory_id: neighbourhood.neighbourhood(
                    tx, w, cube, center=str(m), hops=2, branch="main", at=None, as_of=None
                )
            ),
        )
    yield "diff", True, reading(lambda tx, w: branch.diff(tx, w, cube, from_=0, to=head, branch="main"))
    yield (
        "entities",
        False,
        reading(
            lambda tx, w: entities.list_entities(
                tx, w, cube, q=None, branch="main", at=None, as_of=None, limit=200, cursor=None
            )
        ),
    )
    for at in (None, *range(1, head + 1)):
        asked = SearchQuery("the word and everything said of it", limit=100, at=at)
        yield f"search at {at}", False, lambda w, q=asked: search_cubes(app.recall, w, [cube], q, clock=utc_now())
        yield (
            f"context at {at}",
            False,
            lambda w, q=asked: context(app.recall, w, [cube], ContextQuery(q, 4_000), clock=utc_now()),
        )


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.sampled_from([label.value for label in LABELS]), min_size=1, max_size=3), min_size=1, max_size=4
    ),
    st.integers(0, 3),
)
def test_no_door_tells_what_is_above_a_clearance(
    app: App, owner: Principal, labels: list[list[str]], clearance: int
) -> None:
    """Each memory goes through some labels, with a new text each time; the newest label also covers the texts before."""
    name = f"secrecy-{next(_numbers)}"
    make_cube(app, owner, name, utc_now())
    ids, words = [], {}
    for place, history in enumerate(labels):
        word = f"Word{uuid4().hex[:10]}"
        first = fact(f"The word {word}a of {place}.", sensitivity=history[0], tags=[f"{word}t"], metadata={"m": word})
        [memory_id] = write(app, owner, name, [first], utc_now())
        ids.append(memory_id)
        for step, label in enumerate(history[1:]):
            changes = {"content": f"The word {word}{'bcd'[step]} of {place}.", "sensitivity": label}
            prepared = revise.prepare_change(app.database, app.embedder, owner, name, memory_id, changes, "main")
            with app.database.transaction(owner.tenant_id) as tx:
                revise.change(tx, owner, prepared, now=utc_now())
        ranks = [[label.value for label in LABELS].index(label) for label in history]
        shown = [max(own, ranks[-1]) <= clearance for own in ranks]
        words |= {f"{word}{'abcd'[step]}": fine for step, fine in enumerate(shown)}
        words[f"{word}t"] = any(shown)  # every version carries it
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        head = cubes.view(tx, name).branch.head_revision
    reader = replace(owner, clearance=clearance, operator=False)
    told: set[str] = set()
    for door, redacts, act in doors(app, reader, name, ids, head):
        with calling(reader, redacts=redacts) as who, suppress(NotFound):
            answer = repr(act(who))
            for word, fine in words.items():
                assert fine or word not in answer, (door, word)
                told |= {word} if word in answer else set()
    # What may be seen is seen somewhere: the doors are not merely closed.
    assert {word for word, fine in words.items() if fine} <= told


def test_a_caller_of_less_clearance_neither_edits_nor_erases_what_it_cannot_read(
    app: App, owner: Principal, cube: str
) -> None:
    [secret] = write(app, owner, cube, [fact("the vault", sensitivity="secret")], utc_now())
    reader = replace(owner, clearance=1)
    with calling(reader, operation=Operation.WRITE) as who:
        with app.database.transaction(who.tenant_id) as tx, pytest.raises(NotFound):
            revise.set_state(tx, who, cube, secret, to="archived", branch="main", now=utc_now())
        with app.database.transaction(who.tenant_id) as tx, pytest.raises(Forbidden):
            erase.request(tx, who, cube, Wanted([secret]), now=utc_now())
        with app.database.transaction(who.tenant_id, read_only=True) as tx, pytest.raises(Forbidden):
            erase.preview(tx, who, cube, Wanted(filter={"sensitivity": {"eq": "secret"}}))
        # A rollback by such a caller rewrites what it cannot read, without telling and without breaking it.
        with app.database.transaction(who.tenant_id) as tx:
            branch.rollback(tx, who, cube, to=0, branch="main", now=utc_now())
        with app.database.transaction(who.tenant_id) as tx:
            branch.rollback(tx, who, cube, to=1, branch="main", now=utc_now())
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        assert read.get_memory(tx, owner, cube, secret, branch="main", at=None).content == "the vault"


def test_a_label_on_a_branch_also_covers_the_text_it_shares_with_main(app: App, owner: Principal, cube: str) -> None:
    shared, other = write(app, owner, cube, [fact("the vault"), fact("the barn")], utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        branch.create_branch(tx, owner, cube, name="side", from_=None, base="main", now=utc_now())
    prepared = revise.prepare_change(app.database, app.embedder, owner, cube, shared, {"sensitivity": "secret"}, "side")
    with app.database.transaction(owner.tenant_id) as tx:
        revise.change(tx, owner, prepared, now=utc_now())
    with calling(replace(owner, clearance=1), operation=Operation.RECALL) as who:
        answer = search_cubes(app.recall, who, [cube], SearchQuery("vault barn"), clock=utc_now())
    assert [hit.memory_id for hit in answer.items] == [other]


def test_saying_what_one_may_not_read_neither_tells_of_it_nor_writes_over_it(
    app: App, owner: Principal, cube: str
) -> None:
    items = [fact("the vault", sensitivity="secret"), fact("the key", sensitivity="secret", external_id="k")]
    secret, keyed = write(app, owner, cube, items, utc_now())
    with calling(replace(owner, clearance=1), operation=Operation.WRITE) as who:
        mine, other = write(app, who, cube, [fact("the vault"), fact("another key", external_id="k")], utc_now())
        assert write(app, who, cube, [fact("the vault")], utc_now()) == [mine]
    assert {mine, other}.isdisjoint({secret, keyed})
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        assert read.get_memory(tx, owner, cube, keyed, branch="main", at=None).content == "the key"


def test_the_conflicts_of_a_merge_are_withheld_too(app: App, owner: Principal, cube: str) -> None:
    [memory] = write(app, owner, cube, [fact("first", external_id="x", sensitivity="secret")], utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        branch.create_branch(tx, owner, cube, name="side", from_=None, base="main", now=utc_now())
    write(app, owner, cube, [fact("ours-vault", external_id="x", sensitivity="secret")], utc_now())
    write(app, owner, cube, [fact("theirs-vault", external_id="x", sensitivity="normal")], utc_now(), branch="side")
    with calling(replace(owner, clearance=1), operation=Operation.WRITE) as who:
        with app.database.transaction(who.tenant_id) as tx:
            plan = branch.merge(
                tx, who, cube, source="side", target="main", strategy="fail", dry_run=True, now=utc_now()
            )
    assert [conflict.memory_id for conflict in plan.conflicts] == [memory]
    assert "vault" not in repr(plan)
    assert plan.conflicts[0].ours is not None
    assert plan.conflicts[0].ours.redacted


def test_a_trace_replayed_by_a_caller_of_less_clearance_names_no_more_than_it_may_see(
    app: App, owner: Principal, cube: str
) -> None:
    secret, open_ = write(app, owner, cube, [fact("the vault", sensitivity="secret"), fact("the barn")], utc_now())
    with calling(owner, operation=Operation.RECALL) as who:
        answer = search_cubes(app.recall, who, [cube], SearchQuery("vault barn"), clock=utc_now())
    app.traces.flush()
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        kept = trace.get(owner, tx, answer.trace_id)
    with calling(replace(owner, clearance=1)) as who:
        again = trace.replay(app.recall, who, kept, clock=utc_now())
    assert {place.memory_id for place in again.before} == {secret, open_}
    assert {place.memory_id for place in again.after} == {open_}


# ---------------------------------------------------------------- grants, quotas


def test_a_grant_is_used_exactly_as_often_as_it_allows(
    app: App, owner: Principal, other_tenant: UUID, cube: str
) -> None:
    key = _key_of(app, other_tenant)
    with app.database.transaction(owner.tenant_id) as tx:
        grants.create_grant(
            app.database, tx, owner, cube, ability="read", to_key=key, to_tenant=None, purpose=None, expires_at=None,
            max_uses=10, now=utc_now(),
        )  # fmt: skip
        cube_id = cubes.find(tx, cube).id
    guest = Principal(other_tenant, "other", key, owner.scopes, granted=frozenset({cube_id}))

    def enter(_: int) -> bool:
        return grants.as_guest(app.database, guest, str(cube_id), "get_memory").tenant_id == owner.tenant_id

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(enter, range(40))) == 10
    # Somebody else's key id, or the owner's identity, opens nothing.
    stranger = replace(guest, key_id=uuid4())
    assert grants.as_guest(app.database, stranger, str(cube_id), "get_memory") is stranger


def test_a_quota_holds_under_writers_of_several_cubes(app: App, owner: Principal, other_tenant: UUID) -> None:
    writer = Principal(other_tenant, "other", _key_of(app, other_tenant), owner.scopes)
    names = [f"quota-{next(_numbers)}" for _ in range(4)]
    for name in names:
        make_cube(app, writer, name, utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        quotas.put_quota(
            app.database, tx, owner, "tenant", tenant=str(other_tenant), rate_per_s=None, burst=None, max_memories=10,
            max_bytes=None, now=utc_now(),
        )  # fmt: skip

    def attempt(n: int) -> bool:
        try:
            write(app, writer, names[n % 4], [fact(f"memory {n}")], utc_now())
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, range(24))) == 10
    with app.database.transaction(other_tenant, read_only=True) as tx:
        stored = tx.scalar("SELECT count(*) FROM memories WHERE tenant_id = :tenant")
        assert stored == 10 == quotas.list_quotas(app.database, tx, writer, tenant=None)[0].memories


# ---------------------------------------------------------------- holds and retention


def test_the_database_itself_empties_nothing_that_is_held(app: App, owner: Principal, cube: str) -> None:
    [memory] = write(app, owner, cube, [fact("evidence")], utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        holds.place(tx, owner, cube=cube, memory_id=memory, reason="case", now=utc_now())
    with pytest.raises(SQLAlchemyError, match="legal hold"), app.database.transaction(owner.tenant_id) as tx:
        tx.run("UPDATE memories SET erased_at = now() WHERE tenant_id = :tenant AND id = :id", id=memory)


def test_retention_erases_and_expires_what_is_over_and_leaves_what_is_held(app: App, owner: Principal) -> None:
    name = f"kept-{next(_numbers)}"
    classes = [
        {"name": "secrets", "sensitivity": ["secret"], "max_age_days": 10, "then": "erase"},
        {"name": "facts", "kinds": ["fact"], "max_age_days": 30, "then": "expire"},
    ]
    make_cube(app, owner, name, utc_now(), {"retention": classes})
    secret, held, plain = write(
        app, owner, name,
        [fact("a secret", sensitivity="secret"), fact("a held secret", sensitivity="secret"), fact("plain")], utc_now(),
    )  # fmt: skip
    with app.database.transaction(owner.tenant_id) as tx:
        holds.place(tx, owner, cube=name, memory_id=held, reason="case", now=utc_now())
    assert _retain(app, owner, name, timedelta(days=5)) == {"expired": 0, "erasing": 0, "held": 0}
    assert _retain(app, owner, name, timedelta(days=20)) == {"expired": 0, "erasing": 1, "held": 1}
    for job in _queued(app, owner, "erase"):
        assert work.run_job(app, owner.tenant_id, job) == "succeeded"
    assert _retain(app, owner, name, timedelta(days=40)) == {"expired": 1, "erasing": 0, "held": 1}
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        shown = memories.get_many(tx, cubes.view(tx, name), [secret, held, plain])
        assert {m: row.state for m, row in shown.items()} == {held: "generated", plain: "expired"}
        assert audit.verify(tx)[1] is None
    with app.database.transaction(owner.tenant_id) as tx:
        cube_id = cubes.find(tx, name).id
        now = utc_now() + timedelta(days=41)
        assert cube_id not in ages.cubes_to_retain(tx, now - timedelta(days=1, hours=12), timedelta(days=1))
        assert cube_id in ages.cubes_to_retain(tx, now + timedelta(days=1), timedelta(days=1))


# ---------------------------------------------------------------- keys


def test_the_signing_key_rotates_and_old_receipts_still_verify(app: App) -> None:
    keys = [signing.keyring(app.settings.model_copy(update={"signing_generation": n})) for n in range(3)]
    assert len({one.public for one in keys}) == 3
    assert keys[2].retired == (keys[1].public, keys[0].public)
    assert len({one.tombstones for one in keys}) == len({one.marks for one in keys}) == 1


def _key_of(app: App, tenant_id: UUID) -> UUID:
    key = uuid4()
    with app.database.transaction(tenant_id) as tx:
        tx.connection.execute(
            text("INSERT INTO api_keys (tenant_id, id, hash, scopes) VALUES (:t, :id, :hash, :scopes)"),
            {"t": tenant_id, "id": key, "hash": uuid4().bytes * 2, "scopes": ["read", "write"]},
        )
    return key


def _retain(app: App, owner: Principal, cube: str, later: timedelta) -> dict[str, Any]:
    with app.database.transaction(owner.tenant_id) as tx:
        payload = {"now": (utc_now() + later).isoformat()}
        job = jobs.promise(tx, "retain", cube_id=cubes.find(tx, cube).id, payload=payload)
    assert work.run_job(app, owner.tenant_id, job) == "succeeded", look(app, owner, job).error
    return look(app, owner, job).result or {}


def _queued(app: App, owner: Principal, kind: str) -> list[UUID]:
    def listed(tx: Transaction) -> list[UUID]:
        return [job.id for job in jobs.list_page(tx, "queued", kind, 50, None, None)]

    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        return listed(tx)
