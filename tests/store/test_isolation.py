"""The database keeps tenants apart, whatever a query forgets."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import ProgrammingError

from memos.rules.access import Principal
from memos.services import administer, remember
from memos.services.remember import utc_now
from memos.store.schema import APP_ROLE, SYSTEM_ROLE, app_url
from memos.wiring import App


@pytest.fixture(scope="module")
def filled(app: App, owner: Principal) -> UUID:
    now = utc_now()
    with app.database.transaction(owner.tenant_id) as tx:
        cube = administer.create_cube(tx, owner, name="mine", description="", policy={}, now=now)
    message = remember.MessageIn("user", "the safe is behind the painting")
    prepared = remember.prepare_messages(
        app.embedder, "mine", session_id="s", messages=[message], branch="main", now=now
    )
    with app.database.transaction(owner.tenant_id) as tx:
        remember.write(tx, owner, prepared, now=now)
    return cube.id


def tenant_tables(owner_url: str) -> list[str]:
    """Every table with a tenant_id, partitions included."""
    with psycopg.connect(_plain(owner_url)) as connection:
        rows = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' "
            "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') ORDER BY 1"
        ).fetchall()
    return [row[0] for row in rows]


def test_every_tenant_table_has_forced_row_level_security_and_a_policy(owner_url: str) -> None:
    tables = tenant_tables(owner_url)
    assert {"memory_versions", "contents", "heads", "postings", "jobs", "audit"} <= set(tables)
    with psycopg.connect(_plain(owner_url)) as connection:
        for table in [*tables, "tenants"]:
            secured = connection.execute(
                "SELECT relrowsecurity AND relforcerowsecurity, (SELECT count(*) FROM pg_policies p "
                "WHERE p.tablename = c.relname AND p.policyname = 'tenant_isolation') FROM pg_class c "
                "WHERE c.relname = %s AND c.relnamespace = 'public'::regnamespace",
                [table],
            ).fetchone()
            assert secured == (True, 1), f"{table} needs FORCE ROW LEVEL SECURITY and the policy tenant_isolation"


def test_every_tenant_table_has_the_tenant_in_its_keys(owner_url: str) -> None:
    with psycopg.connect(_plain(owner_url)) as connection:
        for table in tenant_tables(owner_url):
            keys = connection.execute(
                "SELECT conname, contype, ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = conrelid "
                "AND attnum = ANY(conkey)), confrelid::regclass::text FROM pg_constraint "
                "WHERE conrelid = %s::regclass AND contype IN ('p', 'f')",
                [table],
            ).fetchall()
            assert any(kind == "p" for _, kind, _, _ in keys), f"{table} has no primary key"
            for name, _, columns, _target in keys:
                assert "tenant_id" in columns, f"{table}.{name} leaves out the tenant"


def test_the_app_role_owns_nothing_and_cannot_bypass_policies(owner_url: str) -> None:
    with psycopg.connect(_plain(owner_url)) as connection:
        for role in (APP_ROLE, SYSTEM_ROLE):
            attributes = connection.execute(
                "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = %s", [role]
            ).fetchone()
            assert attributes == (False, False, False, False)
        owned = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = %s)", [APP_ROLE]
        ).fetchone()
        assert owned == (0,)


def test_without_an_identity_nothing_is_visible(app: App, filled: UUID) -> None:
    with app.database.engine.connect() as connection:
        for table in ("tenants", "cubes", "memory_versions", "contents", "heads", "postings", "jobs", "audit"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


def test_another_tenant_sees_and_changes_nothing(
    app: App, owner: Principal, other_tenant: UUID, filled: UUID, owner_url: str
) -> None:
    with app.database.transaction(other_tenant) as tx:
        for table in tenant_tables(owner_url):
            if table.startswith("heads_"):
                continue  # partitions cannot be named by the app at all, see below
            seen = tx.connection.execute(
                text(f"SELECT count(*) FROM {table} WHERE tenant_id <> :other"), {"other": other_tenant}
            )
            assert seen.scalar() == 0, table
        changed = tx.connection.execute(
            text("UPDATE contents SET text = 'mine now' WHERE tenant_id = :t"), {"t": owner.tenant_id}
        )
        assert changed.rowcount == 0


def test_a_row_for_another_tenant_is_refused(app: App, owner: Principal, other_tenant: UUID) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), app.database.transaction(other_tenant) as tx:
        tx.connection.execute(
            text("INSERT INTO cubes (tenant_id, id, name) VALUES (:t, gen_random_uuid(), 'smuggled')"),
            {"t": owner.tenant_id},
        )


def test_partitions_are_out_of_reach_for_the_app(owner_url: str, filled: UUID) -> None:
    with (
        psycopg.connect(_plain(app_url(owner_url))) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT count(*) FROM heads_00")


def test_the_audit_cannot_be_rewritten_by_the_app(app: App, owner: Principal, filled: UUID) -> None:
    for statement in ("UPDATE audit SET action = 'nothing'", "DELETE FROM audit"):
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            app.database.transaction(owner.tenant_id) as tx,
        ):
            tx.connection.execute(text(statement))


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
