"""What the doctor says of the ground, when it is sound and when it is not; every complaint says what to do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from redis import Redis
from sqlalchemy import make_url

from memos.rules.access import Principal
from memos.services import doctor_ground, webhooks
from memos.services.findings import Finding, Verdict
from memos.services.remember import utc_now
from memos.store import health
from memos.wiring import App, connections_of


def one(findings: Iterable[Finding], verdict: Verdict) -> Finding:
    [found] = list(findings)
    assert found.verdict is verdict, found
    assert bool(found.advice) == (verdict is not Verdict.OK)
    return found


@pytest.fixture
def as_superuser(owner_url: str) -> psycopg.Connection:
    url = make_url(owner_url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(url, autocommit=True)


def test_sound_ground(app: App, tmp_path: Path) -> None:
    database = app.database
    one(doctor_ground.tables(database), Verdict.OK)
    one(doctor_ground.clocks(database, app.redis), Verdict.OK)
    one(doctor_ground.connections(database, wanted=connections_of(app.settings)), Verdict.OK)
    one(doctor_ground.indexes(database), Verdict.OK)
    one(doctor_ground.deliveries(database), Verdict.OK)
    one(doctor_ground.folders(tmp_path, tmp_path / "kv"), Verdict.OK)


def test_every_table_of_the_schema_is_looked_for(as_superuser: psycopg.Connection) -> None:
    with as_superuser as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') "
            "AND NOT relispartition"
        ).fetchall()
    assert {row[0] for row in rows} >= doctor_ground.TABLES


def test_a_missing_table_is_named(app: App) -> None:
    assert health.missing_tables(app.database, ["cubes", "no_such_table"]) == ["no_such_table"]


def test_clocks_that_differ(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    for skew_s, verdict in ((3.0, Verdict.WARN), (-90.0, Verdict.FAIL)):
        monkeypatch.setattr(health, "clock", lambda _, by=skew_s: time.time() + by)
        assert "PostgreSQL" in one(doctor_ground.clocks(app.database, app.redis), verdict).detail


def test_a_silent_broker_does_not_hide_the_database(app: App) -> None:
    one(doctor_ground.clocks(app.database, Redis(port=1)), Verdict.OK)


def test_more_connections_wanted_than_there_are(app: App) -> None:
    assert "docs/running.md" in one(doctor_ground.connections(app.database, wanted=10_000), Verdict.WARN).advice


def test_an_index_that_was_never_finished(app: App, as_superuser: psycopg.Connection) -> None:
    with as_superuser as connection:
        connection.execute("CREATE INDEX half_built ON cubes (description)")
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'half_built'::regclass")
        try:
            found = one(doctor_ground.indexes(app.database), Verdict.FAIL)
            assert "REINDEX INDEX CONCURRENTLY half_built" in found.advice
        finally:
            connection.execute("DROP INDEX half_built")


def test_messages_that_were_given_up(app: App, owner: Principal) -> None:
    with app.database.transaction(owner.tenant_id) as tx:
        made = webhooks.create(
            tx, owner, app.settings, url="https://hooks.example.com", kinds=["job.failed"], cube_refs=None,
            description="", now=utc_now(),
        )  # fmt: skip
        webhooks.ping(tx, owner, made.webhook.id, now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        tx.run("UPDATE deliveries SET state = 'dead', ended_at = now() WHERE tenant_id = :tenant")
    assert "redeliver" in one(doctor_ground.deliveries(app.database), Verdict.WARN).advice
    with app.database.transaction(owner.tenant_id) as tx:
        tx.run("UPDATE deliveries SET state = 'waiting', next_at = now() - interval '1 hour' WHERE tenant_id = :tenant")
    assert "workers" in one(doctor_ground.deliveries(app.database), Verdict.WARN).advice
    with app.database.transaction(owner.tenant_id) as tx:
        webhooks.delete(tx, owner, made.webhook.id, now=utc_now())


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(uuid4().hex)
    (tmp_path / "secret").chmod(0o644)
    kv = tmp_path / "kv"
    (kv / "tmp").mkdir(parents=True)
    findings = list(doctor_ground.folders(tmp_path, kv))
    assert [f.verdict for f in findings] == [Verdict.WARN, Verdict.OK]
    (tmp_path / "secret").chmod(0o600)
    left = kv / "tmp" / "half"
    left.write_bytes(b"x" * 100)
    one(doctor_ground.folders(tmp_path, kv), Verdict.OK)
    os.utime(left, (0, 0))
    assert "half-written" in one(doctor_ground.folders(tmp_path, kv), Verdict.WARN).detail
