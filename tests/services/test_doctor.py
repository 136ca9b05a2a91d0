"""The doctor: says nothing of a healthy service, and names what somebody has tampered with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import make_url

from memos.encoders.fake_embedder import FakeEmbedder
from memos.rules.access import Principal
from memos.rules.header import Kind
from memos.services import administer, branch, doctor, remember, revise
from memos.services.doctor import Patient
from memos.services.findings import Finding, Verdict
from memos.services.remember import utc_now
from memos.store.schema import expected_revision
from memos.wiring import App
from tests.conftest import DIMENSIONS, OWNER_KEY

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def patient(app: App, owner_url: str, tmp_path_factory: pytest.TempPathFactory) -> Patient:
    return Patient(
        database=app.database,
        owner_url=owner_url,
        redis=app.redis,
        embedder_name=f"fake:{DIMENSIONS}",
        embedder=lambda: FakeEmbedder(DIMENSIONS),
        data_dir=tmp_path_factory.mktemp("data"),
        owner_key=OWNER_KEY,
    )


@pytest.fixture(scope="module")
def as_superuser(owner_url: str) -> Iterator[psycopg.Connection]:
    url = make_url(owner_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def cube(app: App, owner: Principal) -> Iterator[str]:
    """A cube of its own for each test, with a past: writes, an edit, a branch, a merge, a rollback, an archived memory."""
    name, now = f"garden-{next(_numbers)}", utc_now()
    _write(app, owner, name, now)
    yield name
    with app.database.transaction(owner.tenant_id) as tx:
        administer.delete_cube(tx, owner, name, now=now)


def _write(app: App, owner: Principal, name: str, now: datetime) -> None:
    with app.database.transaction(owner.tenant_id) as tx:
        administer.create_cube(tx, owner, name=name, description="", policy={}, now=now)
    items = [remember.ItemIn(Kind.FACT, f"{word} grows in the garden", tags=["plants"], metadata={"n": 1.5})
             for word in ("Basil", "Thyme", "Sage", "Mint")]  # fmt: skip
    prepared = remember.prepare_items(app.embedder, name, items=items, branch="main", now=now)
    turns = [remember.MessageIn("user", "The mint is taking over", name="Ines")]
    said = remember.prepare_messages(app.embedder, name, session_id="s", messages=turns, branch="main", now=now)
    with app.database.transaction(owner.tenant_id) as tx:
        made = remember.write(tx, owner, prepared, now=now)
        remember.write(tx, owner, said, now=now)
    first, second = made.memories[0].id, made.memories[1].id
    change = revise.prepare_change(
        app.database, app.embedder, owner, name, first, {"content": "Basil grows indoors"}, "main"
    )
    with app.database.transaction(owner.tenant_id) as tx:
        revise.change(tx, owner, change, now=now)
        branch.create_branch(tx, owner, name, name="trial", from_=None, base="main", now=now)
        revise.archive(tx, owner, name, second, branch="trial", now=now)
        branch.merge(tx, owner, name, source="trial", target="main", strategy="fail", dry_run=False, now=now)
        branch.rollback(tx, owner, name, to=2, branch="main", now=now)


def examined(patient: Patient, *, repair: bool = False) -> list[Finding]:
    return list(doctor.examine(patient, repair=repair))


def complaints(patient: Patient, about: str = "") -> dict[str, str]:
    return {f.check: f.detail for f in examined(patient) if f.verdict is not Verdict.OK and about in f.detail}


def test_a_healthy_service_gives_no_cause_for_complaint(patient: Patient, cube: str) -> None:
    findings = examined(patient)
    assert [f for f in findings if f.verdict is not Verdict.OK] == []
    assert {f.check for f in findings} >= {
        "database", "migrations", "app role", "row-level security", "vectors", "model", "broker", "disk", "jobs",
        "owner key", "revision chains", "versions", "audit", "indexes",
    }  # fmt: skip


def forge(connection: psycopg.Connection, cube: str, sql: str) -> None:
    """As a thief with the superuser's password would: triggers and foreign keys are not asked."""
    cube_id = f"(SELECT id FROM cubes WHERE name = '{cube}')"
    places = {
        "{content}": f"id = (SELECT min(id) FROM contents WHERE cube_id = {cube_id})",
        "{version}": f"id = (SELECT min(id) FROM memory_versions WHERE cube_id = {cube_id})",
        "{branch}": f"(SELECT id FROM branches WHERE name = 'main' AND cube_id = {cube_id})",
        "{cube}": cube_id,
    }
    for place, value in places.items():
        sql = sql.replace(place, value)
    connection.execute("SET session_replication_role = replica")
    connection.execute(sql)
    connection.execute("SET session_replication_role = origin")


@pytest.mark.parametrize(
    ("forgery", "check", "says"),
    [
        ("UPDATE contents SET text = 'Forged' WHERE {content}", "versions", "its text is not the text whose digest"),
        ("UPDATE contents SET text = 'Forged', sha256 = sha256('Forged') WHERE {content}", "versions", "text or header is not"),
        ("UPDATE memory_versions SET trust = 0.5 WHERE {version}", "versions", "text or header is not"),
        ("UPDATE memory_versions SET salt = '\\x00' WHERE {version}", "versions", "the commitment does not fit"),
        ("UPDATE memory_versions SET salt = NULL WHERE {version}", "versions", "missing though nothing was erased"),
        ("UPDATE memory_versions SET erased_at = now() WHERE {version}", "versions", "marked erased but still"),
        ("UPDATE memory_versions SET commitment = sha256('x') WHERE {version}", "revision chains", "revision 1: its versions"),
        ("UPDATE revisions SET reason = 'x' WHERE number = 2 AND cube_id = {cube}", "revision chains", "revision 2: its hash"),
        ("UPDATE revisions SET author = NULL WHERE number = 3 AND cube_id = {cube}", "revision chains", "revision 3: its hash"),
        ("UPDATE cubes SET last_revision = 90 WHERE id = {cube}", "revision chains", "ends at revision"),
    ],
)  # fmt: skip
def test_tampering_is_named(
    patient: Patient, cube: str, as_superuser: psycopg.Connection, forgery: str, check: str, says: str
) -> None:
    forge(as_superuser, cube, forgery)
    assert says in complaints(patient, cube)[check]


def test_a_missing_revision_is_a_gap(patient: Patient, cube: str, as_superuser: psycopg.Connection) -> None:
    forge(as_superuser, cube, "DELETE FROM revisions WHERE number = 2 AND cube_id = {cube}")
    found = [f.detail for f in examined(patient) if f.check == "revision chains" and cube in f.detail]
    assert any("revision 2: versions belong to it, but the revision is not there" in f for f in found)
    assert any("revision 3: the revision before it is not 2: there is a gap" in f for f in found)


OTHER_VECTOR = "(SELECT array_agg(0.1)::real[]::halfvec FROM generate_series(1, 64))"


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("DELETE FROM heads WHERE branch_id = {branch} AND version_id = (SELECT max(version_id) FROM heads)", "1 vectors"),
        (f"UPDATE heads SET embedding = {OTHER_VECTOR} WHERE branch_id = {{branch}}", "5 vectors"),
        ("DELETE FROM postings WHERE branch_id = {branch} AND term = 'garden'", "4 postings"),
        ("UPDATE terms SET documents = 9 WHERE branch_id = {branch} AND term = 'garden'", "1 term counts"),
        ("UPDATE speakers SET memories = 2 WHERE branch_id = {branch}", "1 names, 0 facets differ"),
        ("DELETE FROM facets WHERE branch_id = {branch}", "10 facets differ"),
        ("UPDATE branches SET live_count = 99 WHERE id = {branch}", "wrong totals"),
    ],
)  # fmt: skip
def test_damaged_indexes_are_named_and_rebuilt(
    patient: Patient, cube: str, as_superuser: psycopg.Connection, damage: str, what: str
) -> None:
    forge(as_superuser, cube, damage)
    assert what in complaints(patient, cube)["indexes"]
    repaired = [f for f in examined(patient, repair=True) if cube in f.detail]
    assert [f.verdict for f in repaired] == [Verdict.WARN]
    assert "indexes" not in complaints(patient, cube)


def test_a_forged_audit_row_is_named(patient: Patient, as_superuser: psycopg.Connection, cube: str) -> None:
    forge(as_superuser, cube, "UPDATE audit SET target = 'another' WHERE seq = 1")
    assert "act 1 does not follow" in complaints(patient)["audit"]


# With the table its new owner's grants went too.
GIVE_BACK = (
    "ALTER TABLE revision_tags OWNER TO CURRENT_USER; "
    "GRANT SELECT, INSERT, UPDATE, DELETE ON revision_tags TO memos_app"
)


@pytest.mark.parametrize(
    ("harm", "cure", "check", "says"),
    [
        ("ALTER TABLE usage NO FORCE ROW LEVEL SECURITY", "ALTER TABLE usage FORCE ROW LEVEL SECURITY",
         "row-level security", "table usage: row-level security is not forced"),
        ("ALTER TABLE heads_03 DISABLE ROW LEVEL SECURITY", "ALTER TABLE heads_03 ENABLE ROW LEVEL SECURITY",
         "row-level security", "table heads_03: row-level security is not forced"),
        ("CREATE POLICY leak ON contents USING (true)", "DROP POLICY leak ON contents",
         "row-level security", "table contents: a policy does not ask for the tenant"),
        ("CREATE TABLE extra (tenant_id uuid)", "DROP TABLE extra",
         "row-level security", "table extra: row-level security is not forced"),
        ("ALTER ROLE memos_app BYPASSRLS", "ALTER ROLE memos_app NOBYPASSRLS", "app role", "can bypass"),
        ("ALTER TABLE revision_tags OWNER TO memos_app", GIVE_BACK,
         "app role", "owns revision_tags"),
        ("UPDATE alembic_version SET version_num = '0000'", "UPDATE alembic_version SET version_num = '{head}'",
         "migrations", "at 0000, this version expects"),
    ],
)  # fmt: skip
def test_a_hole_in_the_guards_is_named(
    patient: Patient, as_superuser: psycopg.Connection, harm: str, cure: str, check: str, says: str
) -> None:
    as_superuser.execute(harm)
    try:
        assert says in complaints(patient)[check]
    finally:
        as_superuser.execute(cure.replace("{head}", expected_revision()))
    assert check not in complaints(patient)


def test_what_is_around_the_database_is_examined_too(patient: Patient, tmp_path: Path) -> None:
    wrong = FakeEmbedder(32)
    assert "32" in complaints(replace(patient, embedder=lambda: wrong))["vectors"]
    nobody = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    assert "does not answer" in complaints(replace(patient, redis=nobody))["broker"]
    assert "no broker" in complaints(replace(patient, redis=None))["broker"]
    assert "not valid" in complaints(replace(patient, owner_key="mk_of-another-database"))["owner key"]
    (tmp_path / "owner.key").touch(mode=0o644)
    assert "others may read" in complaints(replace(patient, data_dir=tmp_path))["owner key"]


def test_a_queue_without_workers_is_named(patient: Patient, as_superuser: psycopg.Connection) -> None:
    as_superuser.execute(
        "INSERT INTO jobs (tenant_id, id, kind, run_after) SELECT id, gen_random_uuid(), 'index', now() - interval '1 hour' "
        "FROM tenants WHERE name = 'default'"
    )
    assert "overdue by 36" in complaints(patient)["jobs"]
    as_superuser.execute("UPDATE jobs SET state = 'failed' WHERE run_after < now() - interval '59 minutes'")
    assert "1 failed" in complaints(patient)["failed jobs"]


@pytest.mark.parametrize("number", [1.0, -0.0, 0.1, 1e-7, 1e16, 1e22, 1e300, 2**60, 123456789012345680.0])
def test_numbers_in_metadata_come_back_as_what_was_committed_to(
    app: App, owner: Principal, patient: Patient, cube: str, number: float
) -> None:
    items = [remember.ItemIn(Kind.FACT, "Numbered", metadata={"n": number, "deep": [{"n": number}]})]
    prepared = remember.prepare_items(app.embedder, cube, items=items, branch="main", now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        remember.write(tx, owner, prepared, now=utc_now())
    assert "versions" not in complaints(patient, cube)
