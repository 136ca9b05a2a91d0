"""`memos keys`: directly in the database, for whoever can reach it: the way in when no key is left."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from uuid import UUID

from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import OperationalError

from memos.cli.servers import reachable
from memos.errors import Invalid, Misconfigured, Unavailable
from memos.rules.access import ALL_SCOPES, Principal
from memos.services import administer, kv_wrapping
from memos.services.administer import NewKey
from memos.services.kv_wrapping import Rewrapped
from memos.services.remember import utc_now
from memos.settings import Settings
from memos.store import jobs, tenants
from memos.store.engine import Database
from memos.store.tenants import KeyView
from memos.wiring import login_url

# In the audit trail: nobody's key, but the console of the machine.
CONSOLE = UUID(int=0)
_ALL = 10_000


def create(
    settings: Settings, *, scopes: Sequence[str], name: str, cubes: Sequence[str] | None, tenant: str, days: int | None
) -> NewKey:
    """A key of any tenant, with any scopes. Raises `NotFound` and `Invalid` as the service does."""
    now = utc_now()
    with _console(settings) as (database, who), database.transaction(who.tenant_id) as tx:
        return administer.create_key(
            database,
            tx,
            who,
            tenant=tenant,
            scopes=scopes,
            cube_refs=cubes or None,
            name=name,
            expires_at=None if days is None else now + timedelta(days=days),
            now=now,
        )


def show(settings: Settings, tenant: str, *, as_json: bool) -> None:
    """Print the keys of a tenant, without their secrets."""
    with _console(settings) as (database, who):
        with database.transaction(who.tenant_id, read_only=True) as tx:
            found = tenants.find(tx, tenant)
        with database.transaction(found.id, read_only=True) as tx:
            kept = tenants.list_keys(tx, _ALL, None)
    if as_json:
        sys.stdout.write(json.dumps([asdict(key) for key in kept], indent=2, default=str) + "\n")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("Id", "Name", "Scopes", "Cubes", "Created", "State"):
        table.add_column(title, overflow="fold", no_wrap=title == "Id")
    for key in kept:
        bound = "all" if key.cube_ids is None else ", ".join(map(str, key.cube_ids))
        table.add_row(
            str(key.id), key.name, ", ".join(key.scopes), bound, f"{key.created_at:%Y-%m-%d %H:%M}", _state(key)
        )
    Console(highlight=False).print(table)


def revoke(settings: Settings, key_id: str) -> None:
    """Raises `NotFound` when no tenant has this key."""
    try:
        wanted = UUID(key_id)
    except ValueError:
        raise Invalid(f"{key_id!r} is no key's id; 'memos keys list' shows them") from None
    with _console(settings) as (database, who), database.transaction(who.tenant_id) as tx:
        administer.revoke_key(database, tx, who, wanted, now=utc_now())


def rotate(settings: Settings, key_id: str, overlap: timedelta) -> NewKey:
    """A new secret for a key of any tenant. Raises `NotFound` when no tenant has it, or it is revoked."""
    try:
        wanted = UUID(key_id)
    except ValueError:
        raise Invalid(f"{key_id!r} is no key's id; 'memos keys list' shows them") from None
    with _console(settings) as (database, who), database.transaction(who.tenant_id) as tx:
        return administer.rotate_key(database, tx, who, wanted, overlap=overlap, now=utc_now())


def rotate_master(settings: Settings) -> Rewrapped:
    """Another master key for the keys of all cubes' caches. Raises `Misconfigured` as `kv_wrapping.rotate` does."""
    with _console(settings) as (database, _):
        return kv_wrapping.rotate(database, settings)


def _state(key: KeyView) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    return "valid" if key.expires_at is None else f"until {key.expires_at:%Y-%m-%d %H:%M}"


@contextmanager
def _console(settings: Settings) -> Iterator[tuple[Database, Principal]]:
    """The database, and the operator as whom the console acts."""
    with reachable(settings) as named:
        database = Database(login_url(named), named.model_copy(update={"pool_size": 2}), application_name="memos-keys")
        try:
            yield database, operator(database)
        finally:
            database.close()


def operator(database: Database) -> Principal:
    """Whom the console acts as: the operating tenant, with every scope."""
    try:
        ids = jobs.tenant_ids(database)
    except OperationalError as error:
        raise Unavailable(
            f"the database refuses: {str(error.orig).strip()} 'memos doctor' says more about what runs and what does not."
        ) from error
    for tenant_id in ids:
        with database.transaction(tenant_id, read_only=True) as tx:
            tenant = tenants.find(tx, str(tenant_id))
        if tenant.operator:
            return Principal(tenant.id, tenant.name, CONSOLE, ALL_SCOPES, operator=True)
    raise Misconfigured("the database has no tenant yet: run 'memos migrate' first")
