"""The doctor: everything that must hold for the service to be trusted, examined one after the other.

First the ground (servers, schema, isolation, model, disk), then the queue, then the truth itself (see `doctor_truth`).
A check that cannot be made is a finding too, and the ones that do not depend on it go on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from redis import Redis, RedisError
from sqlalchemy.exc import SQLAlchemyError

from memos.encoders.embedder import Embedder
from memos.encoders.minilm_weights import WEIGHTS_SHA256, minilm_dir, verified_file
from memos.errors import MemosError, Unauthenticated
from memos.services import doctor_ground, doctor_truth
from memos.services.findings import Finding, fail, ok, warn
from memos.store import jobs, verify
from memos.store.engine import Database
from memos.store.schema import MIN_PGVECTOR, MIN_POSTGRES, expected_revision

# A checkpoint, a vacuum or an index build may need this much at once.
LITTLE_SPACE_BYTES = 2 * 2**30
NO_SPACE_BYTES = 200 * 2**20
# The sweeper looks every 5 s. A due job a minute old waits in a queue; one of ten minutes waits for a worker that is not there.
SLOW_S, STUCK_S = 60.0, 600.0


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined. `owner_url` is needed to read the migration; `embedder` builds the configured one."""

    database: Database
    owner_url: str | None
    redis: Redis | None
    embedder_name: str
    embedder: Callable[[], Embedder]
    data_dir: Path
    owner_key: str | None
    kv_dir: Path | None = None
    """Where KV caches lie, when not in the data directory."""
    connections: int = 0
    """Database connections that the processes of this configuration may open at most."""


Check = Callable[[Patient], Iterator[Finding]]


def examine(patient: Patient, *, repair: bool = False) -> Iterator[Finding]:
    """Findings, as they are made. With `repair` the indexes of the present are rebuilt where they are wrong."""
    yield from _guarded("disk", _disk, patient)
    yield from _guarded("model", _model, patient)
    yield from _guarded("broker", _broker, patient)
    reachable = True
    for finding in _guarded("database", _database, patient):
        reachable = reachable and finding.verdict != "fail"
        yield finding
    if not reachable:
        return
    yield from _guarded("migrations", _migrations, patient)
    if verify.vector_width(patient.database) is None:
        yield fail("schema", "the database is empty", "run 'memos migrate'")
        return
    for name, check in (
        ("app role", _login),
        ("row-level security", _isolation),
        ("vectors", _vectors),
        ("owner key", _owner_key),
        ("jobs", _jobs),
        ("tables", lambda p: doctor_ground.tables(p.database)),
        ("clocks", lambda p: doctor_ground.clocks(p.database, p.redis)),
        ("connections", lambda p: doctor_ground.connections(p.database, wanted=p.connections)),
        ("index health", lambda p: doctor_ground.indexes(p.database)),
        ("webhooks", lambda p: doctor_ground.deliveries(p.database)),
        ("KV folder", lambda p: doctor_ground.folders(p.data_dir, p.kv_dir or p.data_dir / "kv")),
    ):
        yield from _guarded(name, check, patient)

    def truth(patient: Patient) -> Iterator[Finding]:
        return doctor_truth.examine(patient.database, repair=repair)

    yield from _guarded("memories", truth, patient)


def _guarded(name: str, check: Check, patient: Patient) -> Iterator[Finding]:
    try:
        yield from check(patient)
    except MemosError as error:
        yield fail(name, error.detail, "see the message; then run 'memos doctor' again")
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or type(error).__name__).partition("\n")[0]
        yield fail(name, f"the database refused: {reason}", "see that it runs and that its login is right")


def _disk(patient: Patient) -> Iterator[Finding]:
    folder = next(f for f in (patient.data_dir, *patient.data_dir.parents) if f.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 2**30:.1f} GiB free below {folder}"
    if free < NO_SPACE_BYTES:
        yield fail("disk", detail, "free some space now: PostgreSQL stops when it cannot write")
    elif free < LITTLE_SPACE_BYTES:
        yield warn("disk", detail, f"free some space: {LITTLE_SPACE_BYTES / 2**30:.0f} GiB are needed for maintenance")
    else:
        yield ok("disk", detail)


def _model(patient: Patient) -> Iterator[Finding]:
    if patient.embedder_name.startswith("minilm"):
        verified_file(minilm_dir() / "model.safetensors", WEIGHTS_SHA256)
    embedder = patient.embedder()
    length = float((embedder.embed(["ready"])[0] ** 2).sum()) ** 0.5
    if abs(length - 1) > 0.01:
        yield fail(
            "model", f"{embedder.name} makes vectors of length {length:.2f} instead of 1", "reinstall its package"
        )
    else:
        yield ok("model", f"{embedder.name}, {embedder.dimensions} dimensions, fingerprint {embedder.fingerprint[:12]}")


def _broker(patient: Patient) -> Iterator[Finding]:
    if patient.redis is None:
        yield fail("broker", "no broker is named: jobs wait for ever", "set REDIS_URL, or use 'memos serve'")
        return
    try:
        server = patient.redis.info("server")
        memory = patient.redis.info("memory")
    except RedisError as error:
        yield fail(
            "broker", f"it does not answer: {error}", "start it, or correct REDIS_URL; until then jobs wait as rows"
        )
        return
    assert isinstance(server, dict) and isinstance(memory, dict)  # noqa: S101, PT018 - the client is not asynchronous
    name = "Valkey" if "valkey_version" in server else "Redis"
    version = server.get("valkey_version") or server.get("redis_version")
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield warn("broker", f"{name} {version} may evict messages ({policy})", "set maxmemory-policy to noeviction")
    else:
        yield ok("broker", f"{name} {version} answers")


def _database(patient: Patient) -> Iterator[Finding]:
    server, vector = verify.versions(patient.database)
    detail = f"PostgreSQL {server.split()[0]}, pgvector {vector or 'missing'}"
    if int(server.split(".")[0].split()[0]) < MIN_POSTGRES // 10_000:
        yield fail("database", detail, "upgrade PostgreSQL to 15 or newer")
    elif not vector:
        yield fail("database", detail, "run 'memos migrate', which creates the extension")
    elif tuple(int(part) for part in vector.split(".")[:2]) < MIN_PGVECTOR:
        yield fail("database", detail, "install pgvector 0.8 or newer, then run 'ALTER EXTENSION vector UPDATE'")
    else:
        yield ok("database", detail)


def _migrations(patient: Patient) -> Iterator[Finding]:
    expected = expected_revision()
    if patient.owner_url is None:
        yield warn("migrations", "only the owner can read them", "set DATABASE_URL for this command")
        return
    applied = verify.applied_revision(patient.owner_url)
    if applied == expected:
        yield ok("migrations", f"at {applied}, as this version expects")
    else:
        yield fail("migrations", f"at {applied or 'none'}, this version expects {expected}", "run 'memos migrate'")


def _login(patient: Patient) -> Iterator[Finding]:
    login = verify.login(patient.database)
    if login.superuser or login.bypasses_rls:
        yield fail(
            "app role",
            f"{login.name} can bypass row-level security: any defect may show one tenant's memories to another",
            f"run 'ALTER ROLE {login.name} NOSUPERUSER NOBYPASSRLS', or log in as memos_app",
        )
    elif login.owns:
        yield fail(
            "app role", f"{login.name} owns {', '.join(login.owns[:5])}", "give the tables back to the owner's role"
        )
    else:
        yield ok("app role", f"{login.name} owns nothing and cannot bypass row-level security")


def _isolation(patient: Patient) -> Iterator[Finding]:
    unguarded = verify.unguarded_tables(patient.database)
    if not unguarded:
        yield ok("row-level security", "forced, with a policy, on every tenant table")
    for table in unguarded:
        yield fail(
            "row-level security",
            f"table {table.table}: {table.why}",
            f"run 'ALTER TABLE {table.table} FORCE ROW LEVEL SECURITY' and compare its policies with the migrations",
        )


def _vectors(patient: Patient) -> Iterator[Finding]:
    width, dimensions = verify.vector_width(patient.database), patient.embedder().dimensions
    if width == dimensions:
        yield ok("vectors", f"stored with {width} dimensions, as the model makes them")
    else:
        yield fail(
            "vectors",
            f"stored with {width} dimensions, but the model makes {dimensions}",
            "set MEMOS_EMBEDDER to the model this database was made with",
        )


def _owner_key(patient: Patient) -> Iterator[Finding]:
    path = patient.data_dir / "owner.key"
    if path.exists() and path.stat().st_mode & 0o077:
        yield warn("owner key", f"others may read {path}", f"run 'chmod 600 {path}'")
    if patient.owner_key is None:
        return
    try:
        patient.database.authenticate(patient.owner_key)
    except Unauthenticated:
        yield warn("owner key", f"the key in {path} is not valid here", "make another with 'memos keys create'")
    else:
        yield ok("owner key", "it opens the service")


def _jobs(patient: Patient) -> Iterator[Finding]:
    queued = running = failed = 0
    overdue_s = 0.0
    for tenant_id in jobs.tenant_ids(patient.database):
        with patient.database.transaction(tenant_id, read_only=True) as tx:
            backlog = verify.backlog(tx)
        queued, running, failed = queued + backlog.queued, running + backlog.running, failed + backlog.failed
        overdue_s = max(overdue_s, backlog.overdue_s)
    detail = f"{queued} waiting, {running} running, the oldest overdue by {overdue_s:.0f} s"
    if overdue_s > STUCK_S:
        yield fail("jobs", detail, "start a worker and beat: 'memos worker' and 'memos beat', or 'memos serve'")
    elif overdue_s > SLOW_S:
        yield warn("jobs", detail, "see that a worker and beat run; if they do, add a worker")
    else:
        yield ok("jobs", detail)
    if failed:
        yield warn(
            "failed jobs", f"{failed} failed for good", "see 'GET /v1/jobs?state=failed'; then retry or cancel them"
        )
