"""What a backup says of a database, read in the very snapshot that is dumped, and compared when it has been restored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, make_url, text

from memos.errors import Conflict, Misconfigured
from memos.store.engine import driver_url
from memos.store.schema import SYSTEM_ROLE, owner_connection


@dataclass(frozen=True, slots=True)
class Facts:
    """What must be the same after a restore. `chains` covers every revision's hash of every cube of every tenant;
    `doors` are the functions that must belong to the system role to work."""

    server: str
    migration: str
    width: int
    tables: dict[str, int]
    chains: str
    doors: list[str]


@contextmanager
def snapshot(owner_url: str) -> Iterator[tuple[str, Facts]]:
    """(the name of a snapshot that `pg_dump` can use while this lasts, what it shows). Raises `Misconfigured` for a login that
    row-level security would keep from seeing everything."""
    with owner_connection(owner_url) as connection:
        held = connection.execution_options(isolation_level="REPEATABLE READ")
        _require_all_seeing(held)
        name = held.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        yield str(name), _facts(held)
        held.rollback()


def facts(owner_url: str) -> Facts:
    with owner_connection(owner_url) as connection:
        return _facts(connection.execution_options(isolation_level="REPEATABLE READ"))


def server_version(owner_url: str) -> str:
    """Such as `18.6`."""
    with owner_connection(owner_url) as connection:
        return str(connection.execute(text("SHOW server_version")).scalar_one())


def require_empty(owner_url: str) -> None:
    """Raise `Conflict` when the database holds a service already."""
    with owner_connection(owner_url) as connection:
        if connection.execute(text("SELECT to_regclass('public.tenants')")).scalar() is not None:
            raise Conflict(
                "there is a service in this database already; restore into another --data-dir or an empty database, and change "
                "over when it holds"
            )


def own_doors(owner_url: str, doors: list[str]) -> None:
    """Give the functions that act for the system role back to it: a dump without owners has lost that."""
    with owner_connection(owner_url) as connection:
        for door in doors:
            quoted = connection.execute(
                text("SELECT CAST(CAST(:door AS regprocedure) AS text)"), {"door": door}
            ).scalar_one()
            connection.execute(text(f"ALTER FUNCTION {quoted} OWNER TO {SYSTEM_ROLE}"))
        connection.commit()


def libpq_environment(owner_url: str) -> dict[str, str]:
    """The PG* variables by which PostgreSQL's own programs reach the database."""
    url = make_url(driver_url(owner_url))
    found = {
        "PGHOST": url.host or "127.0.0.1",
        "PGPORT": str(url.port or 5432),
        "PGUSER": url.username or "",
        "PGPASSWORD": url.password or "",
        "PGDATABASE": url.database or "",
    }
    if isinstance(mode := url.query.get("sslmode"), str):
        found["PGSSLMODE"] = mode
    return found


def _require_all_seeing(connection: Connection) -> None:
    sees = connection.execute(
        text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
    ).scalar_one()
    if not sees:
        raise Misconfigured(
            "row-level security hides every tenant from this login, so a dump would be empty: set DATABASE_URL to a superuser or "
            "a role with BYPASSRLS for this command"
        )


def _facts(connection: Connection) -> Facts:
    names = connection.execute(
        text(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1"
        )
    ).scalars()
    tables = {
        name: int(connection.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one()) for name in list(names)
    }
    digest = hashlib.sha256()
    links = connection.execute(
        text("SELECT tenant_id, cube_id, number, hash FROM revisions ORDER BY tenant_id, cube_id, number"),
        execution_options={"yield_per": 5_000},
    )
    for tenant, cube, number, link in links:
        digest.update(tenant.bytes + cube.bytes + int(number).to_bytes(4) + bytes(link))
    doors = connection.execute(
        text(
            "SELECT CAST(CAST(p.oid AS regprocedure) AS text) FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner "
            "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public' AND r.rolname = :role ORDER BY 1"
        ),
        {"role": SYSTEM_ROLE},
    ).scalars()
    width = connection.execute(
        text("SELECT atttypmod FROM pg_attribute WHERE attrelid = 'heads'::regclass AND attname = 'embedding'")
    ).scalar_one()
    return Facts(
        server=connection.execute(text("SHOW server_version")).scalar_one(),
        migration=connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one(),
        width=int(width),
        tables=tables,
        chains=digest.hexdigest(),
        doors=list(doors),
    )
