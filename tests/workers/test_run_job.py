"""Running jobs against a real database: claimed once, ended once, tried again by the kind of failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError

from memos.errors import Invalid, TooBusy, Unavailable
from memos.rules.access import Principal
from memos.services import administer, stopping, work
from memos.services.attempt import Attempt, Outcome
from memos.services.remember import utc_now
from memos.store import jobs
from memos.store.engine import Database
from memos.store.jobs import Job
from memos.store.transaction import Transaction
from memos.wiring import App, login_url

Handlers = dict[str, Callable[[Attempt], Outcome]]


@pytest.fixture
def promise(app: App, owner: Principal) -> Callable[..., UUID]:
    def make(kind: str = "probe", **options: Any) -> UUID:
        with app.database.transaction(owner.tenant_id) as tx:
            return jobs.promise(tx, kind, **options)

    return make


def look(app: App, owner: Principal, job_id: UUID) -> Job:
    with app.database.transaction(owner.tenant_id) as tx:
        return jobs.get(tx, job_id)


def run(app: App, owner: Principal, job_id: UUID, handler: Callable[[Attempt], Outcome]) -> str | None:
    return work.run_job(app, owner.tenant_id, job_id, handlers={"probe": handler})


def alter(app: App, owner: Principal, job_id: UUID, what: str) -> None:
    with app.database.transaction(owner.tenant_id) as tx:
        tx.run(f"UPDATE jobs SET {what} WHERE tenant_id = :tenant AND id = :id", id=job_id)


def test_a_job_runs_once_and_keeps_its_result(app: App, owner: Principal, promise: Callable[..., UUID]) -> None:
    seen: list[Any] = []

    def handler(attempt: Attempt) -> Outcome:
        seen.append(attempt.job.payload)
        return Outcome({"made": 2}, revision=7)

    job_id = promise(payload={"a": 1})
    assert run(app, owner, job_id, handler) == "succeeded"
    assert run(app, owner, job_id, handler) is None
    job = look(app, owner, job_id)
    assert (job.state, job.result, job.revision, job.attempts) == ("succeeded", {"made": 2}, 7, 1)
    assert job.finished_at is not None
    assert seen == [{"a": 1}]


def test_of_many_claimants_one_wins(app: App, owner: Principal, promise: Callable[..., UUID]) -> None:
    ran: list[int] = []
    job_id = promise()
    start = threading.Barrier(6)

    def handler(_: Attempt) -> Outcome:
        ran.append(1)
        return Outcome()

    def contend() -> None:
        start.wait()
        run(app, owner, job_id, handler)

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ran == [1]


def test_a_job_that_is_to_wait_is_not_run(app: App, owner: Principal, promise: Callable[..., UUID]) -> None:
    assert run(app, owner, promise(delay_s=3_600), lambda _: Outcome()) is None


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (Unavailable("away"), "queued", "unavailable"),
        (TooBusy(retry_after_s=50), "queued", "too_busy"),
        (OperationalError("SELECT 'a memory'", {}, Exception("a memory")), "queued", "database_error"),
        (ConnectionResetError("a memory"), "queued", "internal_error"),
        (Invalid("no such thing"), "failed", "invalid"),
        (KeyError("a memory"), "queued", "internal_error"),
    ],
)
def test_failures_are_tried_again_by_their_kind(
    app: App, owner: Principal, promise: Callable[..., UUID], error: Exception, state: str, code: str
) -> None:
    def handler(_: Attempt) -> Outcome:
        raise error

    job_id = promise()
    assert run(app, owner, job_id, handler) == state
    job = look(app, owner, job_id)
    assert job.state == state
    assert job.error is not None
    assert job.error["code"] == code
    assert "a memory" not in str(job.error)
    if state == "queued":
        assert job.run_after > utc_now()
    if isinstance(error, TooBusy):
        assert job.run_after > utc_now() + timedelta(seconds=45)


def test_a_defect_is_given_up_after_three_attempts(app: App, owner: Principal, promise: Callable[..., UUID]) -> None:
    def handler(_: Attempt) -> Outcome:
        raise ZeroDivisionError

    job_id = promise()
    states = []
    for _ in range(3):
        states.append(run(app, owner, job_id, handler))
        alter(app, owner, job_id, "run_after = now()")
    assert states == ["queued", "queued", "failed"]
    with app.database.transaction(owner.tenant_id) as tx:
        assert jobs.retry(tx, job_id).state == "queued"
    assert run(app, owner, job_id, lambda _: Outcome()) == "succeeded"


def test_an_unknown_kind_fails_with_a_reason(app: App, owner: Principal, promise: Callable[..., UUID]) -> None:
    job_id = promise("nonsense")
    assert work.run_job(app, owner.tenant_id, job_id) == "failed"
    assert (look(app, owner, job_id).error or {})["code"] == "unknown_kind"


def test_a_dead_workers_job_is_due_again(app: App, owner: Principal, promise: Callable[..., UUID]) -> None:
    job_id = promise()
    with app.database.transaction(owner.tenant_id) as tx:
        assert jobs.claim(tx, job_id, lease_s=60) is not None
    assert run(app, owner, job_id, lambda _: Outcome()) is None
    alter(app, owner, job_id, "lease_until = now()")
    assert job_id in {d.job_id for d in work.due(app, 100)}
    assert run(app, owner, job_id, lambda _: Outcome()) == "succeeded"


def test_a_job_that_kills_its_workers_is_given_up(app: App, owner: Principal, promise: Callable[..., UUID]) -> None:
    job_id = promise()
    alter(app, owner, job_id, "attempts = 12")
    assert run(app, owner, job_id, lambda _: Outcome()) == "failed"
    assert (look(app, owner, job_id).error or {})["code"] == "worker_lost"


def effects(app: App, owner: Principal, name: str) -> int:
    with app.database.transaction(owner.tenant_id) as tx:
        return int(
            tx.scalar("SELECT count(*) FROM cubes WHERE tenant_id = :tenant AND name LIKE :name", name=name + "%")
        )


def leave_effect(tx: Transaction, owner: Principal, name: str) -> None:
    administer.create_cube(tx, owner, name=name, description="", policy={}, now=utc_now())


def test_a_cancelled_job_saves_nothing_more(app: App, owner: Principal, promise: Callable[..., UUID]) -> None:
    job_id = promise()

    def handler(attempt: Attempt) -> Outcome:
        with attempt.saving() as tx:
            leave_effect(tx, owner, "cancelled-1")
        with app.database.transaction(owner.tenant_id) as tx:
            jobs.cancel(tx, job_id)
        with attempt.saving() as tx:
            leave_effect(tx, owner, "cancelled-2")
        return Outcome()

    assert run(app, owner, job_id, handler) == "interrupted"
    assert look(app, owner, job_id).state == "cancelled"
    assert effects(app, owner, "cancelled-") == 1


def test_the_slower_of_two_who_both_think_it_is_theirs_saves_nothing(
    app: App, owner: Principal, promise: Callable[..., UUID]
) -> None:
    """The first worker sleeps past its lease, a second one takes over and finishes, then the first one wakes."""
    job_id = promise()

    def finishing(attempt: Attempt) -> Outcome:
        with attempt.saving() as tx:
            leave_effect(tx, owner, f"twice-{attempt.job.attempts}")
            return attempt.finish(tx, {"by": attempt.job.attempts})

    def sleeping(attempt: Attempt) -> Outcome:
        alter(app, owner, job_id, "lease_until = now()")
        assert run(app, owner, job_id, finishing) == "succeeded"
        return finishing(attempt)

    assert run(app, owner, job_id, sleeping) == "interrupted"
    assert effects(app, owner, "twice-") == 1
    assert look(app, owner, job_id).result == {"by": 2}


def test_a_retried_job_is_not_the_old_workers_any_more(
    app: App, owner: Principal, promise: Callable[..., UUID]
) -> None:
    """A retry forgives attempts, so their number cannot tell who holds the job."""
    job_id = promise()

    def cancelled_and_retried(attempt: Attempt) -> Outcome:
        with app.database.transaction(owner.tenant_id) as tx:
            jobs.cancel(tx, job_id)
            jobs.retry(tx, job_id)
        with app.database.transaction(owner.tenant_id) as tx:
            again = jobs.claim(tx, job_id, 60)
        assert again is not None
        assert again.attempts == attempt.job.attempts
        with attempt.saving() as tx:
            leave_effect(tx, owner, "retried")
        return Outcome()

    assert run(app, owner, job_id, cancelled_and_retried) == "interrupted"
    assert effects(app, owner, "retried") == 0


def test_effects_and_end_are_one_transaction(app: App, owner: Principal, promise: Callable[..., UUID]) -> None:
    def handler(attempt: Attempt) -> Outcome:
        with attempt.saving() as tx:
            leave_effect(tx, owner, "atomic")
            attempt.finish(tx, {})
            raise Unavailable("just before the commit")

    job_id = promise()
    assert run(app, owner, job_id, handler) == "queued"
    assert effects(app, owner, "atomic") == 0


def test_a_long_job_keeps_its_lease_and_shows_progress(
    app: App, owner: Principal, promise: Callable[..., UUID]
) -> None:
    job_id = promise()

    def handler(attempt: Attempt) -> Outcome:
        attempt.report({"done": 1, "total": 2})
        assert look(app, owner, job_id).progress == {"done": 1, "total": 2}
        renewed = threading.Event()
        before = lease(app, owner, job_id)
        for _ in range(200):
            if lease(app, owner, job_id) > before:
                renewed.set()
                break
            time.sleep(0.02)
        assert renewed.is_set()
        return Outcome()

    assert work.run_job(app, owner.tenant_id, job_id, handlers={"probe": handler}, lease_s=0.3) == "succeeded"


def lease(app: App, owner: Principal, job_id: UUID) -> Any:
    with app.database.transaction(owner.tenant_id) as tx:
        return tx.scalar("SELECT lease_until FROM jobs WHERE tenant_id = :tenant AND id = :id", id=job_id)


def test_committed_jobs_are_nudged_and_others_are_not(app: App, owner: Principal) -> None:
    told: list[tuple[UUID, UUID, str]] = []
    database = Database(login_url(app.settings), app.settings, nudge=lambda *nudge: told.append(nudge))
    try:
        with database.transaction(owner.tenant_id) as tx:
            now = jobs.promise(tx, "probe")
            jobs.promise(tx, "probe", delay_s=5)
            assert told == []
        with suppress(ZeroDivisionError), database.transaction(owner.tenant_id) as tx:
            jobs.promise(tx, "probe")
            raise ZeroDivisionError
    finally:
        database.close()
    assert told == [(owner.tenant_id, now, "probe")]


def test_tenants_take_turns(app: App, owner: Principal, other_tenant: UUID) -> None:
    with app.database.transaction(owner.tenant_id) as tx:
        tx.run("UPDATE jobs SET state = 'succeeded' WHERE tenant_id = :tenant AND state <> 'succeeded'")
        for _ in range(10):
            jobs.promise(tx, "probe")
    with app.database.transaction(other_tenant) as tx:
        jobs.promise(tx, "probe")
        jobs.promise(tx, "probe")
    order = [d.tenant_id for d in work.due(app, 100)]
    assert len(order) == 12
    assert set(order[:2]) == set(order[2:4]) == {owner.tenant_id, other_tenant}


def test_what_has_served_its_time_is_thrown_away(app: App, owner: Principal, promise: Callable[..., UUID]) -> None:
    old, fresh, failed = promise(), promise(), promise()
    for job_id, state, days in ((old, "succeeded", 8), (fresh, "succeeded", 6), (failed, "failed", 90)):
        alter(app, owner, job_id, f"state = '{state}', finished_at = now() - interval '{days} days'")
    with app.database.transaction(owner.tenant_id) as tx:
        for key, hours in (("old", 49), ("new", 47)):
            tx.run(
                "INSERT INTO idempotency (tenant_id, key_id, key, request, status, created_at) VALUES (:tenant, "
                "gen_random_uuid(), :key, '', 200, now() - make_interval(hours => :hours))",
                key=key,
                hours=hours,
            )
    assert work.purge(app.database, utc_now()).items() >= {"answers": 1, "jobs": 1}.items()
    with app.database.transaction(owner.tenant_id) as tx:
        left = {row["id"] for row in tx.rows("SELECT id FROM jobs WHERE tenant_id = :tenant")}
        assert [r["key"] for r in tx.rows("SELECT key FROM idempotency WHERE tenant_id = :tenant")] == ["new"]
    assert old not in left
    assert {fresh, failed} <= left


def test_a_process_that_is_to_stop_hands_its_job_back(app: App, owner: Principal, promise: Callable[..., UUID]) -> None:
    job_id, told = promise(), []

    def handler(attempt: Attempt) -> Outcome:
        told.append("begun")
        if len(told) == 1:
            stopping.watch(lambda: True)
        attempt.check()
        return Outcome({"done": True})

    try:
        assert run(app, owner, job_id, handler) == "handed_back"
    finally:
        stopping.watch(bool)
    waiting = look(app, owner, job_id)
    assert (waiting.state, waiting.attempts, waiting.error) == ("queued", 0, None)
    assert run(app, owner, job_id, handler) == "succeeded"


def test_what_is_computed_is_saved_by_a_process_that_is_to_stop(
    app: App, owner: Principal, promise: Callable[..., UUID]
) -> None:
    def handler(attempt: Attempt) -> Outcome:
        stopping.watch(lambda: True)
        with attempt.saving() as tx:
            return attempt.finish(tx, {"saved": 1})

    try:
        assert run(app, owner, promise(), handler) == "succeeded"
    finally:
        stopping.watch(bool)
