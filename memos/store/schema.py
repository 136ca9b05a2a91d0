"""Bringing a database to the schema this code expects, and saying clearly when it cannot be.

Three roles: the *owner* (from `DATABASE_URL`) owns the tables and migrates; `memos_app` is what the API and workers log
in as and owns nothing; `memos_system` owns the few SECURITY DEFINER functions and cannot log in.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import NullPool

from memos.errors import Misconfigured, Unavailable
from memos.store.engine import driver_url

APP_ROLE = "memos_app"
SYSTEM_ROLE = "memos_system"
MIN_POSTGRES = 150_000
MIN_PGVECTOR = (0, 8)
_MIGRATION_LOCK = 0x6D656D6F73  # "memos"


def app_url(owner_url: str) -> str:
    """The app role's login. Its password follows from the owner's, so nothing more has to be kept or passed on."""
    url = make_url(driver_url(owner_url))
    password = hmac.new((url.password or "memos").encode(), APP_ROLE.encode(), hashlib.sha256).hexdigest()
    return url.set(username=APP_ROLE, password=password).render_as_string(hide_password=False)


def migrate(owner_url: str, dimensions: int, login_url: str | None = None) -> None:
    """Create roles, migrate to the newest revision, verify. Safe to run from several processes at once.

    `login_url` is what the API and workers will log in with (its password becomes the app role's); by default it follows
    from the owner's.

    Raises `Misconfigured` when the server is too old, lacks pgvector, or holds vectors of another width.
    """
    with owner_connection(owner_url) as connection:
        check_server(connection)
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
        try:
            _ensure_roles(connection, driver_url(login_url) if login_url else app_url(owner_url))
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
            connection.commit()
            config = alembic_config()
            config.attributes["connection"] = connection
            config.attributes["dimensions"] = dimensions
            command.upgrade(config, "head")
            connection.commit()
            check_width(connection, dimensions)
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
            connection.commit()


def prepare_roles(owner_url: str, login_url: str | None = None) -> None:
    """The roles and the extension that a restored schema expects to find. Raises `Misconfigured` as `migrate` does."""
    with owner_connection(owner_url) as connection:
        check_server(connection)
        _ensure_roles(connection, driver_url(login_url) if login_url else app_url(owner_url))
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
        connection.commit()


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations"))
    return config


def expected_revision() -> str:
    """The newest migration this code ships."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head() or ""


def check_server(connection: Connection) -> None:
    """Raise `Misconfigured` unless this is PostgreSQL 15 or newer with pgvector 0.8 or newer at hand, and text is UTF-8."""
    version = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    if version < MIN_POSTGRES:
        raise Misconfigured(f"PostgreSQL {version // 10_000} is too old: 15 or newer is needed. Upgrade the server.")
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise Misconfigured(
            f"this database's encoding is {encoding}: memories are UTF-8. Make another with CREATE DATABASE memos TEMPLATE "
            "template0 ENCODING 'UTF8' LOCALE 'C.UTF-8', and name it in DATABASE_URL."
        )
    offered = connection.execute(
        text("SELECT coalesce(installed_version, default_version) FROM pg_available_extensions WHERE name = 'vector'")
    ).scalar()
    if offered is None:
        raise Misconfigured(
            "the pgvector extension is not installed on this server; install the package postgresql-NN-pgvector or use "
            "the image pgvector/pgvector"
        )
    if tuple(int(part) for part in offered.split(".")[:2]) < MIN_PGVECTOR:
        raise Misconfigured(
            f"pgvector {offered} is too old: 0.8 or newer is needed (filters would empty answers). Install it, then run "
            "'ALTER EXTENSION vector UPDATE'."
        )


def width_of(connection: Connection) -> int:
    """How many dimensions the stored vectors have."""
    return int(
        connection.execute(
            text("SELECT atttypmod FROM pg_attribute WHERE attrelid = 'heads'::regclass AND attname = 'embedding'")
        ).scalar_one()
    )


def check_width(connection: Connection, dimensions: int) -> None:
    """Raise `Misconfigured` when the stored vectors do not fit the configured embedder."""
    width = width_of(connection)
    if width != dimensions:
        way_out = (
            f"make room for it with MEMOS_VECTOR_WIDTH={dimensions} and 'memos widen' (docs/portability.md)"
            if width < dimensions
            else f"set MEMOS_VECTOR_WIDTH={width} too"
        )
        raise Misconfigured(
            f"the database holds vectors of {width} dimensions and the embedder makes {dimensions}. Set MEMOS_EMBEDDER to "
            f"the model this database was made with, or {way_out}."
        )


# Text comes as text also from a database of another encoding, which is then told so (`check_server`).
_CONNECT = {"connect_timeout": 10, "client_encoding": "utf8"}


@contextmanager
def owner_connection(owner_url: str) -> Iterator[Connection]:
    """A connection as the schema's owner. Raises `Misconfigured` for a URL that is none, `Unavailable` without a server."""
    try:
        url = make_url(owner_url)
        engine = create_engine(driver_url(owner_url), poolclass=NullPool, connect_args=_CONNECT)
    except ArgumentError:
        # Its text is not repeated: it may hold a password.
        raise Misconfigured(
            "DATABASE_URL is not the URL of a database; write it like postgresql://user:password@host:5432/name"
        ) from None
    try:
        try:
            connection = engine.connect()
        except OperationalError as error:
            raise Unavailable(
                f"PostgreSQL at {url.host}:{url.port or 5432} refuses: {str(error.orig).strip()} Start it or correct "
                "DATABASE_URL, or unset DATABASE_URL to have 'memos serve' start one of its own."
            ) from error
        with connection:
            yield connection
    finally:
        engine.dispose()


def _ensure_roles(connection: Connection, login_url: str) -> None:
    password = make_url(login_url).password or ""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 - narrows the type of the driver we chose
    connection.execute(
        text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK + 1}
    )  # roles are cluster-wide
    for role, attributes in (
        (APP_ROLE, sql.SQL("LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD {}").format(password)),
        (SYSTEM_ROLE, sql.SQL("NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE")),
    ):
        exists = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).scalar()
        verb = "ALTER" if exists else "CREATE"
        driver.execute(sql.SQL(verb + " ROLE {} WITH ").format(sql.Identifier(role)) + attributes)
    driver.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(SYSTEM_ROLE)))
    # A function's owner must be able to create in its schema at the moment the function changes hands.
    driver.execute(sql.SQL("GRANT CREATE, USAGE ON SCHEMA public TO {}").format(sql.Identifier(SYSTEM_ROLE)))
    driver.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(sql.Identifier(APP_ROLE)))
