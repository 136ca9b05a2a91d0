"""Reading back what must hold, for `memos doctor`: the schema's guards and the chains.

Everything here reads, row by row through server-side cursors, as the app role and one tenant at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

from sqlalchemy import text

from memos.rules.header import sha256
from memos.rules.versioning import Closed, Opened, commitment, fingerprint
from memos.store.engine import Database
from memos.store.memories import COLUMNS, Version
from memos.store.schema import owner_connection
from memos.store.transaction import Transaction

# ---------------------------------------------------------------- the schema's guards


@dataclass(frozen=True, slots=True)
class Login:
    """What the app role could do if it tried. All but the name should be false or empty."""

    name: str
    superuser: bool
    bypasses_rls: bool
    owns: list[str]


@dataclass(frozen=True, slots=True)
class Unguarded:
    """A tenant table through which one tenant could see another, and why."""

    table: str
    why: str


def versions(database: Database) -> tuple[str, str]:
    """PostgreSQL's version and pgvector's ('' when the extension is not there)."""
    row = database.call(
        "SELECT current_setting('server_version') AS server, "
        "coalesce((SELECT extversion FROM pg_extension WHERE extname = 'vector'), '') AS vector"
    )[0]
    return row["server"], row["vector"]


def login(database: Database) -> Login:
    row = database.call(
        "SELECT rolname AS name, rolsuper AS superuser, rolbypassrls AS bypasses_rls, ARRAY("
        "  SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' "
        "  AND c.relkind IN ('r', 'p', 'v', 'm') AND pg_has_role(current_user, c.relowner, 'MEMBER') ORDER BY 1) AS owns "
        "FROM pg_roles WHERE rolname = current_user"
    )[0]
    return Login(**row)


def unguarded_tables(database: Database) -> list[Unguarded]:
    """Tenant tables (`tenants`, and any with a tenant_id) without forced row-level security, or with a policy for the
    app role that does not ask for the tenant."""
    rows = database.call(
        "SELECT c.relname AS table, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced, "
        "  (SELECT count(*) FROM pg_policies p WHERE p.schemaname = 'public' AND p.tablename = c.relname "
        "   AND p.roles && ARRAY['public', current_user]::name[]) AS policies, "
        "  (SELECT count(*) FROM pg_policies p WHERE p.schemaname = 'public' AND p.tablename = c.relname "
        "   AND p.permissive = 'PERMISSIVE' AND p.roles && ARRAY['public', current_user]::name[] "
        "   AND coalesce(p.qual, p.with_check, '') NOT LIKE '%memos_tenant()%') AS open "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND (c.relname = 'tenants' OR EXISTS ("
        "  SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)) "
        "ORDER BY c.relname"
    )
    found = []
    for row in rows:
        if not row["enabled"] or not row["forced"]:
            found.append(Unguarded(row["table"], "row-level security is not forced"))
        elif not row["policies"]:
            found.append(Unguarded(row["table"], "it has no policy for the app role"))
        elif row["open"]:
            found.append(Unguarded(row["table"], "a policy does not ask for the tenant"))
    return found


def vector_width(database: Database) -> int | None:
    """Dimensions of the stored vectors; None before the first migration."""
    rows = database.call(
        "SELECT atttypmod AS width FROM pg_attribute WHERE attrelid = to_regclass('public.heads') AND attname = 'embedding'"
    )
    return int(rows[0]["width"]) if rows else None


def applied_revision(owner_url: str) -> str | None:
    """The migration the database is at; None when it was never migrated."""
    with owner_connection(owner_url) as connection:
        if connection.execute(text("SELECT to_regclass('public.alembic_version')")).scalar() is None:
            return None
        found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return found


# ---------------------------------------------------------------- the queue


@dataclass(frozen=True, slots=True)
class Backlog:
    """Jobs of one tenant. `overdue_s` is how long the oldest due one has waited."""

    queued: int
    running: int
    failed: int
    overdue_s: float


def backlog(tx: Transaction) -> Backlog:
    row = tx.row(
        "SELECT count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state = 'running') AS running, "
        "count(*) FILTER (WHERE state = 'failed') AS failed, coalesce(extract(epoch FROM now() - min(CASE "
        "  WHEN state = 'queued' AND run_after <= now() THEN run_after "
        "  WHEN state = 'running' AND lease_until <= now() THEN lease_until END)), 0)::float8 AS overdue_s "
        "FROM jobs WHERE tenant_id = :tenant AND state IN ('queued', 'running', 'failed')"
    )
    assert row is not None  # noqa: S101 - an aggregate always answers
    return Backlog(**row)


# ---------------------------------------------------------------- the chains


@dataclass(frozen=True, slots=True)
class Link:
    """A revision as stored, and what its versions say of it."""

    number: int
    branch: str
    parent: int | None
    merged_from: int | None
    kind: str
    author: UUID | None
    reason: str
    created_at: datetime
    changes: bytes
    hash: bytes


def links(tx: Transaction, cube_id: UUID) -> Iterator[Link]:
    """Every revision of a cube, oldest first."""
    for row in tx.stream(
        "SELECT r.number, b.name AS branch, r.parent, r.merged_from, r.kind, r.author, r.reason, r.created_at, r.changes, "
        "r.hash FROM revisions r JOIN branches b ON b.tenant_id = r.tenant_id AND b.id = r.branch_id "
        "WHERE r.tenant_id = :tenant AND r.cube_id = :cube ORDER BY r.number",
        cube=cube_id,
    ):
        yield Link(**{**row, "changes": bytes(row["changes"]), "hash": bytes(row["hash"])})


def changes(tx: Transaction, cube_id: UUID) -> Iterator[tuple[int, list[Opened], list[Closed]]]:
    """What each revision opened and closed according to the versions, oldest first; revisions without any are left out."""
    rows = tx.stream(
        "SELECT from_revision AS number, memory_id, version, commitment FROM memory_versions "
        "WHERE tenant_id = :tenant AND cube_id = :cube UNION ALL "
        "SELECT to_revision, memory_id, version, NULL FROM memory_versions "
        "WHERE tenant_id = :tenant AND cube_id = :cube AND to_revision IS NOT NULL ORDER BY number",
        cube=cube_id,
    )
    for number, group in groupby(rows, key=lambda row: int(row["number"])):
        opened, closed = [], []
        for row in group:
            if row["commitment"] is None:
                closed.append(Closed(row["memory_id"], row["version"]))
            else:
                opened.append(Opened(row["memory_id"], row["version"], bytes(row["commitment"])))
        yield number, opened, closed


def states(tx: Transaction, cube_id: UUID) -> Iterator[tuple[Version, bytes | None]]:
    """Every version of a cube with the stored digest of its text (None for a tombstone, or once erased)."""
    names = list(Version.__dataclass_fields__)
    for row in tx.stream(
        f"SELECT {COLUMNS}, c.sha256 AS text_sha256 FROM memory_versions v LEFT JOIN contents c "
        "ON c.tenant_id = v.tenant_id AND c.id = v.content_id WHERE v.tenant_id = :tenant AND v.cube_id = :cube",
        cube=cube_id,
    ):
        digest = row["text_sha256"]
        yield Version(**{name: row[name] for name in names}), None if digest is None else bytes(digest)


def fault_of(version: Version, text_sha256: bytes | None) -> str | None:
    """What is wrong with a version: its content or header is not what was committed to. None when all is well."""
    if version.salt is None or version.fingerprint is None:
        return None if version.erased_at else "salt or fingerprint is missing though nothing was erased"
    if commitment(bytes(version.salt), bytes(version.fingerprint), version.created_at, version.ordinal) != bytes(
        version.commitment
    ):
        return "the commitment does not fit salt and fingerprint"
    if version.erased_at is not None:
        return "it is marked erased but still has its fingerprint"
    if version.tombstone:
        digest = b""
    elif version.text is None or text_sha256 is None:
        return "its text is missing though it was not erased"
    elif sha256(version.text) != text_sha256:
        return "its text is not the text whose digest was stored"
    else:
        digest = text_sha256
    if fingerprint(version.draft(), digest) != bytes(version.fingerprint):
        return "its text or header is not what was written"
    return None
