"""Shared ground: one embedded PostgreSQL and Valkey per test process, a migrated template, a fresh database per module.

With xdist every worker is a process of its own and so has servers of its own; nothing is shared between workers.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import make_url

from memos.encoders.embedder import build_embedder
from memos.rules.access import Principal
from memos.settings import Settings
from memos.store import tenants
from memos.store.schema import migrate
from memos.tracing import configure_tracing, stop_tracing
from memos.wiring import App, build_app
from tests.servers import reachable_root, start_postgres, start_valkey

DIMENSIONS = 64
OWNER_KEY = "mk_owner-key-for-tests-only"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Servers:
    owner_url: str
    redis_url: str
    root: Path


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Embedded ones; with MEMOS_TEST_DATABASE_URL the PostgreSQL it names, of which databases are dropped and made, by one
    process at a time (`pytest -n 0`): to try another release."""
    named = os.environ.get("MEMOS_TEST_DATABASE_URL")
    with reachable_root() as root:
        valkey = start_valkey(root)
        postgres = None if named else start_postgres(root)
        yield Servers(postgres.url() if postgres else str(named), valkey.url(), root)
        if postgres:
            postgres.stop()
        valkey.stop()


@pytest.fixture(scope="session")
def template(servers: Servers) -> str:
    """A migrated database to copy: copying takes 50 ms, migrating a second."""
    url = make_url(servers.owner_url).set(database="template_memos")
    _create_database(servers.owner_url, "template_memos")
    migrate(url.render_as_string(hide_password=False), DIMENSIONS)
    tenants.bootstrap(url.render_as_string(hide_password=False), OWNER_KEY)
    return "template_memos"


@pytest.fixture(scope="module")
def owner_url(servers: Servers, template: str) -> str:
    """The owner's URL of a fresh database with the tenant `default` and its owner key."""
    name = f"memos_{next(_numbers)}"
    _create_database(servers.owner_url, name, template)
    return make_url(servers.owner_url).set(database=name).render_as_string(hide_password=False)


def settings_of(owner_url: str, servers: Servers, data_dir: Path) -> Settings:
    """With an embedder and a KV model small enough for tests."""
    return Settings(
        database_url=SecretStr(owner_url),
        redis_url=SecretStr(servers.redis_url),
        embedder=f"fake:{DIMENSIONS}",
        data_dir=data_dir,
        kv_model="fake",
    )


@pytest.fixture(scope="module")
def app(owner_url: str, servers: Servers) -> Iterator[App]:
    """The service's parts on a fresh database, with an embedder small enough for tests."""
    settings = settings_of(owner_url, servers, servers.root)
    built = build_app(settings, embedder=build_embedder(f"fake:{DIMENSIONS}", cache_dir=servers.root))
    yield built
    built.close()


@pytest.fixture(scope="module")
def owner(app: App) -> Principal:
    return app.database.authenticate(OWNER_KEY)


@pytest.fixture(scope="module")
def other_tenant(app: App, owner: Principal) -> UUID:
    with app.database.transaction(owner.tenant_id) as tx:
        return tenants.create(tx, "other").id


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What is traced meanwhile."""
    exporter = InMemorySpanExporter()
    assert configure_tracing("test", exporter=exporter)
    yield exporter
    stop_tracing()


def _create_database(url: str, name: str, template: str | None = None) -> None:
    admin = make_url(url).set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} (FORCE)").format(sql.Identifier(name)))
        copy = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + copy)
