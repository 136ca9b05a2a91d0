"""Whose turn it is, and how much may wait: one tenant's queue is not another's delay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from memos.errors import TooBusy
from memos.rules.access import Principal
from memos.rules.lanes import Lane, lane_of
from memos.services import work
from memos.services.attempt import Attempt, Outcome
from memos.store import jobs
from memos.store.engine import Database
from memos.wiring import App, login_url
from tests.conftest import OWNER_KEY

NOISE = 100_000


@pytest.fixture(autouse=True)
def empty(app: App, owner: Principal, other_tenant: UUID) -> None:
    for tenant_id in (owner.tenant_id, other_tenant):
        with app.database.transaction(tenant_id) as tx:
            tx.run("DELETE FROM jobs WHERE tenant_id = :tenant")


def queue(app: App, tenant_id: UUID, number: int, minutes_ago: int = 0, kind: str = "probe") -> None:
    with app.database.transaction(tenant_id) as tx:
        tx.run(
            "INSERT INTO jobs (tenant_id, id, kind, run_after) SELECT :tenant, gen_random_uuid(), :kind, "
            "now() - make_interval(mins => :ago) FROM generate_series(1, :number)",
            number=number,
            kind=kind,
            ago=minutes_ago,
        )


def served(app: App, number: int) -> list[UUID]:
    """The tenants of the next jobs that workers run, one after another."""
    order: list[UUID] = []

    def handler(attempt: Attempt) -> Outcome:
        order.append(attempt.tenant_id)
        return Outcome()

    for _ in range(number):
        work.run_next(app, handlers={"probe": handler})
    return order


def test_a_noisy_tenant_does_not_delay_anothers_single_job(app: App, owner: Principal, other_tenant: UUID) -> None:
    queue(app, owner.tenant_id, NOISE, minutes_ago=60)
    queue(app, other_tenant, 1)
    named = work.due(app, 100)
    assert len(named) == 100
    assert other_tenant in {due.tenant_id for due in named[:2]}
    # One worker: a lot between two each time. That it falls wrongly forty times is one in a million million.
    assert other_tenant in served(app, 40)


def test_who_has_least_running_goes_first(app: App, owner: Principal, other_tenant: UUID) -> None:
    queue(app, owner.tenant_id, 50, minutes_ago=5)
    queue(app, other_tenant, 3)
    with app.database.transaction(owner.tenant_id) as tx:
        assert jobs.claim_next(tx, 60) is not None
    assert served(app, 3) == [other_tenant] * 3
    assert set(served(app, 5)) == {owner.tenant_id}


def test_every_due_job_is_run_once_and_the_oldest_first(app: App, owner: Principal) -> None:
    for age in (1, 3, 2):
        queue(app, owner.tenant_id, 1, minutes_ago=age)
    queue(app, owner.tenant_id, 1, minutes_ago=-5)
    ran: list[UUID] = []

    def handler(attempt: Attempt) -> Outcome:
        ran.append(attempt.job.id)
        return Outcome()

    while work.run_next(app, handlers={"probe": handler}) is not None:
        pass
    assert len(set(ran)) == len(ran) == 3
    with app.database.transaction(owner.tenant_id) as tx:
        times = [jobs.get(tx, job_id).run_after for job_id in ran]
        assert times == sorted(times)
        assert Counter(job.state for job in jobs.list_page(tx, None, None, 9, None, None)) == {
            "succeeded": 3,
            "queued": 1,
        }


def test_a_dead_workers_job_comes_before_new_ones(app: App, owner: Principal) -> None:
    queue(app, owner.tenant_id, 2)
    with app.database.transaction(owner.tenant_id) as tx:
        dead = jobs.claim_next(tx, 0)
    assert dead is not None
    assert len(served(app, 1)) == 1
    with app.database.transaction(owner.tenant_id) as tx:
        assert jobs.get(tx, dead.id).state == "succeeded"


# ---------------------------------------------------------------- the bound


@pytest.fixture
def bounded(app: App) -> Iterator[Database]:
    database = Database(login_url(app.settings), app.settings.model_copy(update={"max_queued_jobs": 3}))
    yield database
    database.close()


def test_beyond_the_bound_jobs_are_refused_and_below_it_taken_again(
    app: App, owner: Principal, other_tenant: UUID, bounded: Database
) -> None:
    for _ in range(3):
        with bounded.transaction(owner.tenant_id) as tx:
            jobs.promise(tx, "probe", dedup_key=None)
    with pytest.raises(TooBusy) as refused, bounded.transaction(owner.tenant_id) as tx:
        jobs.promise(tx, "probe")
    assert refused.value.retry_after_s > 0
    with bounded.transaction(other_tenant) as tx:
        jobs.promise(tx, "probe")
    with app.database.transaction(owner.tenant_id) as tx:
        assert len(jobs.list_page(tx, "queued", None, 9, None, None)) == 3
    assert served(app, 2)
    again = Database(login_url(app.settings), app.settings.model_copy(update={"max_queued_jobs": 3}))
    with again.transaction(owner.tenant_id) as tx:
        jobs.promise(tx, "probe")
    again.close()


def test_who_waits_already_is_not_refused(app: App, owner: Principal, bounded: Database) -> None:
    with bounded.transaction(owner.tenant_id) as tx:
        first = jobs.promise(tx, "probe", dedup_key="one")
    queue(app, owner.tenant_id, 10)
    with bounded.transaction(owner.tenant_id) as tx:
        assert jobs.promise(tx, "probe", dedup_key="one") == first


def test_what_workers_promise_is_never_refused(app: App, owner: Principal) -> None:
    database = Database(login_url(app.settings), app.settings.model_copy(update={"max_queued_jobs": 0}))
    with database.transaction(owner.tenant_id) as tx:
        promised = {jobs.promise(tx, "probe") for _ in range(10)}
    database.close()
    assert len(promised) == 10


def test_over_http_a_full_queue_is_429_with_a_time_to_come_back(app: App, owner: Principal) -> None:
    database = Database(login_url(app.settings), app.settings.model_copy(update={"max_queued_jobs": 2}))
    client = TestClient(create_app(replace_database(app, database)), headers={"Authorization": f"Bearer {OWNER_KEY}"})
    assert client.post("/v1/cubes", json={"name": "full"}).status_code == 201
    queue(app, owner.tenant_id, 5)
    body = {"session_id": "s", "messages": [{"role": "user", "content": "I live in Lyon.", "external_id": "m"}]}
    for path, sent in (("messages", body), ("extract", {}), ("decay", {}), ("consolidate", {})):
        answer = client.post(f"/v1/cubes/full/{path}", json=sent)
        assert answer.status_code == 429, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "too_busy"
        assert int(answer.headers["retry-after"]) > 0
    assert client.get("/v1/cubes/full/memories").json()["items"] == []
    measured = client.get("/metrics").text
    assert 'memos_jobs{kind="probe",state="queued"} 5.0' in measured
    assert 'memos_jobs_oldest_seconds{kind="probe",state="queued"}' in measured
    database.close()


def replace_database(app: App, database: Database) -> App:
    return replace(app, database=database)


def test_each_lane_runs_its_own_jobs_and_leaves_the_others(app: App, owner: Principal, other_tenant: UUID) -> None:
    """Also where one lane is full of older jobs, and where a worker of the other lane died."""
    queue(app, owner.tenant_id, 200, minutes_ago=30)
    queue(app, owner.tenant_id, 2, minutes_ago=1, kind="kv.build")
    queue(app, other_tenant, 1, minutes_ago=60, kind="kv.gc")
    ran: list[tuple[UUID, str]] = []

    def handler(attempt: Attempt) -> Outcome:
        ran.append((attempt.tenant_id, attempt.job.kind))
        return Outcome()

    handlers = dict.fromkeys(("probe", "kv.build", "kv.gc"), handler)
    assert {due.kind for due in work.due(app, 500, Lane.KV)} == {"kv.build", "kv.gc"}
    assert {due.kind for due in work.due(app, 500, Lane.MAIN)} == {"probe"}
    while work.run_next(app, lane=Lane.KV, handlers=handlers) is not None:
        pass
    assert sorted(kind for _, kind in ran) == ["kv.build", "kv.build", "kv.gc"]
    assert work.run_next(app, lane=Lane.MAIN, handlers=handlers) == "succeeded"
    assert ran[-1][1] == "probe"
    queue(app, other_tenant, 1, kind="kv.build")
    with app.database.transaction(other_tenant) as tx:
        assert jobs.claim_next(tx, 0.0, Lane.MAIN) is None
        assert jobs.claim_next(tx, 0.0, Lane.KV) is not None  # and its worker dies at once
    assert work.run_next(app, lane=Lane.MAIN, handlers=handlers) == "succeeded"
    assert ran[-1] == (owner.tenant_id, "probe")
    assert work.run_next(app, lane=Lane.KV, handlers=handlers) == "succeeded"
    assert ran[-1] == (other_tenant, "kv.build")


def test_every_kind_there_is_has_a_lane_that_python_and_the_database_agree_on(app: App, owner: Principal) -> None:
    for kind in work.HANDLERS:
        queue(app, owner.tenant_id, 1, kind=kind)
    named = {lane: {due.kind for due in work.due(app, 100, lane)} for lane in Lane}
    assert named == {lane: {kind for kind in work.HANDLERS if lane_of(kind) is lane} for lane in Lane}
