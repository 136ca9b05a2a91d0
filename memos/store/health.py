"""How the database itself is doing, for `memos doctor`: what is missing, full, broken or worn."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from memos.store.engine import Database


@dataclass(frozen=True, slots=True)
class Connections:
    """Of the whole server: how many there may be for roles like ours, how many there are, and how many of those ours."""

    most: int
    used: int
    ours: int


@dataclass(frozen=True, slots=True)
class Worn:
    """A table with many dead rows, which every search through its indexes still meets."""

    table: str
    live: int
    dead: int


def missing_tables(database: Database, names: Collection[str]) -> list[str]:
    rows = database.call(
        "SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass('public.' || quote_ident(name)) IS NULL "
        "ORDER BY 1",
        names=sorted(names),
    )
    return [row["name"] for row in rows]


def clock(database: Database) -> float:
    """The database's clock, in seconds since 1970."""
    return float(database.call("SELECT extract(epoch FROM clock_timestamp()) AS now")[0]["now"])


def connections(database: Database) -> Connections:
    row = database.call(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most, "
        "count(*) FILTER (WHERE datid IS NOT NULL) AS used, count(*) FILTER (WHERE usename = current_user) AS ours "
        "FROM pg_stat_activity"
    )[0]
    return Connections(**row)


def broken_indexes(database: Database) -> list[str]:
    """Indexes that an interrupted build left behind: they cost writes and answer nothing."""
    rows = database.call(
        "SELECT c.relname AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND NOT (i.indisvalid AND i.indisready) "
        "ORDER BY 1"
    )
    return [row["name"] for row in rows]


def worn_tables(database: Database, *, share: float, fewest: int) -> list[Worn]:
    """Tables of which more than `share` is dead rows, and at least `fewest` are."""
    rows = database.call(
        "SELECT relname AS table, n_live_tup AS live, n_dead_tup AS dead FROM pg_stat_user_tables "
        "WHERE n_dead_tup >= :fewest AND n_dead_tup > :share * (n_live_tup + n_dead_tup) ORDER BY n_dead_tup DESC LIMIT 5",
        share=share,
        fewest=fewest,
    )
    return [Worn(**row) for row in rows]


def transaction_age(database: Database) -> int:
    """Transactions since the oldest row was frozen; at two thousand million the server stops taking writes."""
    row = database.call("SELECT age(datfrozenxid) AS age FROM pg_database WHERE datname = current_database()")[0]
    return int(row["age"])
