"""A real worker and a real beat on real servers: nudged jobs run at once, forgotten ones are found, a killed one is replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from redis import Redis

from memos.rules.access import Principal
from memos.rules.lanes import Lane
from memos.store import jobs
from memos.store.engine import Database
from memos.wiring import App, login_url
from tests.conftest import Servers
from workers.messaging import QUEUES, make_celery
from workers.nudging import celery_nudger
from workers.tasks import ENOUGH_WAITING, sweep_once

PROJECT = Path(__file__).resolve().parents[2]
SOON_S = 60.0  # generous: what is asserted is that it happens, not when


@pytest.fixture(scope="module")
def redis(servers: Servers) -> Iterator[Redis]:
    client = Redis.from_url(servers.redis_url)
    client.flushdb()
    yield client
    client.flushdb()
    client.close()


@pytest.fixture
def part(owner_url: str, servers: Servers) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `memos NAME` on this module's database; ended at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        environment = {
            "DATABASE_URL": owner_url,
            "REDIS_URL": servers.redis_url,
            "MEMOS_EMBEDDER": "fake:64",
            "MEMOS_DATA_DIR": str(servers.root),
            "PYTHONPATH": str(PROJECT),
        }
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "memos.cli", *arguments], env=os.environ | environment, start_new_session=True
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.terminate()
    for process in started:
        assert process.wait(30) is not None


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not what():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.05)


def states(app: App, owner: Principal, job_ids: list[UUID]) -> set[str]:
    with app.database.transaction(owner.tenant_id) as tx:
        return {jobs.get(tx, job_id).state for job_id in job_ids}


def test_a_worker_runs_what_it_is_told_of_and_what_the_sweeper_finds(
    app: App, owner: Principal, servers: Servers, redis: Redis, part: Callable[..., subprocess.Popen[bytes]]
) -> None:
    part("worker")
    nudger = celery_nudger(make_celery(servers.redis_url))
    database = Database(login_url(app.settings), app.settings, nudge=nudger.nudge)
    with database.transaction(owner.tenant_id) as tx:
        told = [jobs.promise(tx, "index", payload={"branch": "main"}, dedup_key=str(n)) for n in range(5)]
    eventually(lambda: states(app, owner, told) == {"succeeded"})

    with app.database.transaction(owner.tenant_id) as tx:  # without a nudge, as if the broker had been away
        untold = [jobs.promise(tx, "index", payload={"branch": "main"}, dedup_key=str(n)) for n in range(5)]
        claimed = jobs.claim(tx, untold[0], lease_s=0)  # by a worker that died at once
    assert claimed is not None
    beat = part("beat")
    eventually(lambda: states(app, owner, untold) == {"succeeded"})
    beat.send_signal(signal.SIGTERM)
    assert beat.wait(30) == 0
    nudger.close()
    database.close()


def test_a_sweep_leaves_as_many_messages_as_jobs_are_due(
    app: App, owner: Principal, servers: Servers, redis: Redis
) -> None:
    redis.flushdb()
    celery = make_celery(servers.redis_url)
    queue = celery.conf.task_default_queue
    with app.database.transaction(owner.tenant_id) as tx:
        tx.run("DELETE FROM jobs WHERE tenant_id = :tenant")
        for _ in range(7):
            jobs.promise(tx, "index", payload={"branch": "main"})
    assert sweep_once(celery, app) == 7
    assert redis.llen(queue) == 7
    assert sweep_once(celery, app) == 7
    assert redis.llen(queue) == 7
    redis.lpop(queue, 3)  # taken, or lost
    assert sweep_once(celery, app) == 7
    assert redis.llen(queue) == 7
    redis.rpush(queue, *["x"] * ENOUGH_WAITING)
    assert sweep_once(celery, app) == 7
    assert redis.llen(queue) == ENOUGH_WAITING + 7


def test_a_worker_of_one_lane_leaves_the_other_lanes_jobs_to_others(
    app: App, owner: Principal, servers: Servers, redis: Redis, part: Callable[..., subprocess.Popen[bytes]]
) -> None:
    redis.flushdb()
    celery = make_celery(servers.redis_url)
    with app.database.transaction(owner.tenant_id) as tx:
        tx.run("DELETE FROM jobs WHERE tenant_id = :tenant")
        waiting = jobs.promise(tx, "decay", payload={"branch": "main"})
        taken = jobs.promise(tx, "kv.gc", payload={"owner": str(owner.tenant_id)})
    assert sweep_once(celery, app) == 2
    assert {lane: redis.llen(queue) for lane, queue in QUEUES.items()} == {Lane.MAIN: 1, Lane.KV: 1}
    part("worker", "--lane", "kv")
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        with app.database.transaction(owner.tenant_id, read_only=True) as tx:
            states = {job_id: jobs.get(tx, job_id).state for job_id in (waiting, taken)}
        if states[taken] not in {"queued", "running"}:
            break
        time.sleep(0.1)
    assert states == {waiting: "queued", taken: "succeeded"}
    assert redis.llen(QUEUES[Lane.MAIN]) == 1
