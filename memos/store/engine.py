"""The database: a pool of connections that can become one tenant at a time.

A transaction names its tenant once, in `memos.tenant_id`; row-level security does the rest, also for a query that forgot
its `WHERE`. The login owns nothing and cannot bypass that.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from uuid import UUID

import psycopg
from pgvector.psycopg import register_vector
from psycopg import Cursor
from sqlalchemy import Connection, Engine, RowMapping, TextClause, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from memos.errors import Unauthenticated
from memos.rules.access import Principal, Scope, hash_key
from memos.settings import Settings
from memos.store.backlog import Backlog

Parameters = Mapping[str, Any]
Nudge = Callable[[UUID, UUID, str], None]
_statements: dict[str, TextClause] = {}


class Transaction:
    """One unit of work as one tenant: everything in it happens, or nothing does."""

    def __init__(
        self,
        connection: Connection,
        tenant_id: UUID,
        nudge: Nudge | None = None,
        marks_key: Callable[[], bytes] | None = None,
        backlog: Backlog | None = None,
    ) -> None:
        self.connection = connection
        self.tenant_id = tenant_id
        self.marks_key = marks_key
        self.backlog = backlog
        self._nudge = nudge
        self._after_commit: list[Callable[[], None]] = []

    def rows(self, sql: str, **parameters: object) -> Sequence[RowMapping]:
        """All rows. `:tenant` is always bound, so that every query can name it and use its indexes."""
        return self.connection.execute(_statement(sql), self._bound(parameters)).mappings().all()

    def tuples(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        """All rows by position, by the driver alone: for the few statements of a search, where a third of a millisecond
        each shows."""
        with self._driven(sql, parameters) as cursor:
            return cursor.fetchall()

    def first(self, sql: str, **parameters: object) -> dict[str, Any] | None:
        """The first row by name, by the driver alone."""
        with self._driven(sql, parameters) as cursor:
            row = cursor.fetchone()
            return None if row is None else dict(zip((c.name for c in cursor.description or ()), row, strict=True))

    def columns(self, sql: str, **parameters: object) -> list[bytes | None]:
        """The values of the one row of an answer, as PostgreSQL sent them (binary). For arrays that numpy reads."""
        with self._driven(sql, parameters) as cursor:
            answer = cursor.pgresult
            return [] if answer is None else [answer.get_value(0, place) for place in range(answer.nfields)]

    def say(self, sql: str) -> None:
        """Send text as it is, in one message and without parameters."""
        with _expected(sql):
            self._driver.execute(sql, prepare=False)

    @property
    def _driver(self) -> psycopg.Connection[Any]:
        return self.connection.connection.driver_connection  # type: ignore[return-value]

    @contextmanager
    def _driven(self, sql: str, parameters: Mapping[str, object]) -> Iterator[Cursor[Any]]:
        with self._driver.cursor(binary=True) as cursor:
            with _expected(sql):
                cursor.execute(_driver_sql(sql), self._bound(parameters))
            yield cursor

    def row(self, sql: str, **parameters: object) -> RowMapping | None:
        return self.connection.execute(_statement(sql), self._bound(parameters)).mappings().first()

    def scalar(self, sql: str, **parameters: object) -> Any:
        return self.connection.execute(_statement(sql), self._bound(parameters)).scalar()

    def run(self, sql: str, **parameters: object) -> int:
        """Rows touched."""
        return int(self.connection.execute(_statement(sql), self._bound(parameters)).rowcount)

    def run_many(self, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
        """The same statement for many rows, pipelined by the driver."""
        self.connection.execute(_statement(sql), list(rows))

    def stream(self, sql: str, **parameters: object) -> Iterator[RowMapping]:
        """Rows through a server-side cursor, for answers too large to hold."""
        with self.connection.execution_options(yield_per=STREAM_ROWS).execute(
            _statement(sql), self._bound(parameters)
        ) as result:
            yield from result.mappings()

    def after_commit(self, action: Callable[[], None]) -> None:
        """Run once the transaction is durable; dropped on rollback. For nudges, never for promises."""
        self._after_commit.append(action)

    def nudge(self, job_id: UUID, kind: str) -> None:
        """Tell the workers, once committed, that this job is due."""
        if (nudge := self._nudge) is not None:
            self.after_commit(lambda: nudge(self.tenant_id, job_id, kind))

    def _bound(self, parameters: Mapping[str, object]) -> dict[str, object]:
        return {"tenant": self.tenant_id, **parameters}

    def committed(self) -> None:
        for action in self._after_commit:
            action()


def _statement(sql: str) -> TextClause:
    """Parsed once: text() looks for `:names` with a regular expression, which shows on the search path."""
    statement = _statements.get(sql)
    if statement is None:
        if len(_statements) > 2_000:  # composed filters could otherwise grow it without bound
            _statements.clear()
        statement = _statements[sql] = text(sql)
    return statement


@contextmanager
def _expected(sql: str) -> Iterator[None]:
    """Errors of the driver as those of the library above it, which everybody expects."""
    try:
        yield
    except psycopg.Error as error:
        raise DBAPIError.instance(sql, None, error, psycopg.Error, hide_parameters=True) from error


@lru_cache(maxsize=2_000)
def _driver_sql(sql: str) -> str:
    """The same statement with the driver's own placeholders."""
    return _NAMED.sub(r"%(\1)s", sql.replace("%", "%%"))


_NAMED = re.compile(r"(?<![:\w\\]):([a-z]\w*)(?!:)", re.IGNORECASE)


class Database:
    """The pool, and the identities that may use it."""

    def __init__(
        self,
        url: str,
        settings: Settings,
        *,
        application_name: str = "memos",
        nudge: Nudge | None = None,
        marks_key: Callable[[], bytes] | None = None,
    ) -> None:
        """`nudge` (tenant id, job id, kind) is called for each job that a committed transaction made due; `marks_key`
        gives the key by which erased texts are known again, and is only asked by cubes that refuse their return."""
        self.engine = _engine(url, settings, application_name)
        self._reading = self.engine.execution_options(isolation_level="AUTOCOMMIT", no_parameters=True)
        self._nudge = nudge
        self._marks_key = marks_key
        self._backlog = Backlog(settings.max_queued_jobs)
        self._key_ttl_s = settings.key_cache_ttl.total_seconds()
        self._known: dict[bytes, tuple[float, Principal]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def transaction(self, tenant_id: UUID, *, read_only: bool = False) -> Iterator[Transaction]:
        """Commit at the end, roll back on any exception. A read sees one snapshot throughout."""
        if read_only:
            with self._snapshot(tenant_id) as transaction:
                yield transaction
            return
        with self.engine.connect() as connection:
            connection.execute(_statement(SET_TENANT), {"tenant": str(tenant_id)})
            transaction = Transaction(connection, tenant_id, self._nudge, self._marks_key, self._backlog)
            yield transaction
            connection.commit()
        transaction.committed()

    @contextmanager
    def _snapshot(self, tenant_id: UUID) -> Iterator[Transaction]:
        """A read-only transaction begun and given its identity in one round trip."""
        with self._reading.connect() as connection:
            transaction = Transaction(connection.execution_options(no_parameters=False), tenant_id, self._nudge)
            transaction.say(BEGIN_SNAPSHOT.format(tenant=UUID(str(tenant_id))))
            yield transaction
            # Nothing to commit; but at a rollback, which the pool would send, the driver forgets what it has prepared.
            transaction.say("COMMIT")

    def authenticate(self, key: str) -> Principal:
        """The principal of a key. Remembered for `key_cache_ttl`, so a request costs no extra round trip."""
        if (remembered := self.recognise(key)) is not None:
            return remembered
        digest = hash_key(key)
        with self.engine.connect() as connection:
            found = connection.execute(_statement(AUTHENTICATE), {"hash": digest}).mappings().first()
        if found is None:
            self._known.pop(digest, None)
            raise Unauthenticated
        principal = Principal(
            tenant_id=found["tenant_id"],
            tenant_name=found["tenant_name"],
            operator=found["operator"],
            key_id=found["key_id"],
            scopes=frozenset(Scope(s) for s in found["scopes"]),
            cube_ids=None if found["cube_ids"] is None else frozenset(found["cube_ids"]),
        )
        with self._lock:
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[digest] = (time.monotonic() + self._key_ttl_s, principal)
        return principal

    def recognise(self, key: str) -> Principal | None:
        """The principal of a key that was used a moment ago; None: ask the database."""
        known = self._known.get(hash_key(key))
        return known[1] if known and known[0] > time.monotonic() else None

    def forget_key(self, key_id: UUID) -> None:
        """Revocation takes effect in this process at once."""
        with self._lock:
            self._known = {d: kept for d, kept in self._known.items() if kept[1].key_id != key_id}

    def call(self, sql: str, **parameters: object) -> Sequence[RowMapping]:
        """One of the doors that need no tenant (see migration 0001), in a transaction of its own."""
        with self.engine.begin() as connection:
            return connection.execute(_statement(sql), parameters).mappings().all()

    def close(self) -> None:
        self.engine.dispose()


# Enough to hide the round trips, few enough to hold.
STREAM_ROWS = 500

# Sent as it is, in one message: the only value in it is a parsed UUID. The driver must not begin a transaction of its own.
BEGIN_SNAPSHOT = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT set_config('memos.tenant_id', '{tenant}', true), "
    # Reading, the plans that depend on nothing are kept; that of a vector search never is, as it prunes partitions.
    "set_config('plan_cache_mode', 'auto', true)"
)
SET_TENANT = "SELECT set_config('memos.tenant_id', :tenant, true)"
AUTHENTICATE = "SELECT * FROM memos_authenticate(:hash)"


def driver_url(url: str) -> str:
    """Any PostgreSQL URL, spelled so that SQLAlchemy uses psycopg 3."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg://", url)


def _engine(url: str, settings: Settings, application_name: str) -> Engine:
    engine = create_engine(
        driver_url(url),
        poolclass=QueuePool,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout_s,
        pool_recycle=1_800,
        hide_parameters=True,  # an error's text goes to logs, its parameters are memories
        connect_args={
            "application_name": application_name,
            "connect_timeout": 10,
            "options": " ".join(
                f"-c {name}={value}"
                for name, value in {
                    "statement_timeout": int(settings.statement_timeout_s * 1_000),
                    "idle_in_transaction_session_timeout": 60_000,
                    "jit": "off",  # compiling costs more than these queries take
                    "plan_cache_mode": "force_custom_plan",  # branch and tenant decide which index is right
                    "hnsw.iterative_scan": "relaxed_order",  # a filter must not empty the answer
                    "hnsw.ef_search": 100,
                }.items()
            ),
        },
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:  # halfvec in and out in binary
        connection.autocommit = True
        register_vector(connection)
        connection.autocommit = False

    return engine
