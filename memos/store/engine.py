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

from memos.errors import Forbidden, NotFound, Unauthenticated
from memos.metering import meters
from memos.rules import calling_policy
from memos.rules.access import (
    EVERYTHING,
    LABELS,
    Limit,
    Principal,
    Scope,
    hash_key,
    rank,
)
from memos.rules.header import Sensitivity
from memos.settings import Settings
from memos.store.backlog import Backlog
from memos.store.calling import CALLER
from memos.store.reading import Read, Reader
from memos.tracing import statement_span, trace_statements

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
        *,
        caller: Principal | None = None,
        narrowed: bool = False,
        reader: Reader | None = None,
    ) -> None:
        """`narrowed`: the database itself leaves out what the caller may not see. A write must see all it rewrites, so
        there whoever answers asks `sees`."""
        self.connection = connection
        self.tenant_id = tenant_id
        self.marks_key = marks_key
        self.outbox: list[Any] = []
        """What `store.events` writes just before the commit."""
        self.caller = caller
        self.clearance = EVERYTHING if caller is None else caller.clearance
        self._narrowed = narrowed
        self._reader = reader
        self._hides = caller is not None and not caller.calling.redacts
        self.backlog = backlog
        self._nudge = nudge
        self._before_commit: list[Callable[[], None]] = []
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
            with _expected(sql), statement_span(sql):
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
        # For this statement alone: on the connection the option would stay, and no later statement could write.
        with self.connection.execute(
            _statement(sql), self._bound(parameters), execution_options={"yield_per": STREAM_ROWS}
        ) as result:
            yield from result.mappings()

    def before_commit(self, action: Callable[[], None]) -> None:
        """Run as the last thing in the transaction, after all that its body locks. A failure rolls everything back."""
        self._before_commit.append(action)

    def enter(self, cube_id: UUID, policy: Mapping[str, Any]) -> None:
        """Called with every cube this transaction opens: its policy may refuse the caller, or let it see less.

        Over several cubes the strictest clearance holds. Raises `Forbidden`, for a guest `NotFound`.
        """
        if self.caller is None or not (section := policy.get("access")):
            return
        access = calling_policy.parse(section)
        verdict = calling_policy.decide(access, self.caller)
        if not verdict.allowed and not self.caller.governs:
            self.saw("refused", cube_id, policy, (), rule=verdict.rule)
            if self.caller.grant_id is not None:
                raise NotFound("no such cube")
            raise Forbidden("the policy of this cube refuses this call in this context", extra={"rule": verdict.rule})
        if verdict.clearance < self.clearance or (access.hides and not self._hides):
            self.clearance = min(self.clearance, verdict.clearance)
            self._hides = self._hides or access.hides
            if self._narrowed:
                self.run(SET_SIGHT, **_sight(self.clearance, hides=self._hides))

    def sees(self, sensitivity: str, *, quarantined: bool) -> bool:
        """Whether the caller may be shown what a version says."""
        return rank(sensitivity, quarantined=quarantined) <= self.clearance

    def see_everything(self) -> None:
        """For reviews: what is in quarantine too, up to the caller's own clearance among labels."""
        if self._narrowed:
            self.run(SET_SIGHT, sight=str(EVERYTHING), clearance=str(EVERYTHING))

    def saw(
        self,
        door: str,
        cube_id: UUID,
        policy: Mapping[str, Any],
        found: Sequence[tuple[UUID, int, str]],
        **detail: object,
    ) -> None:
        """Tell the audit of reads what a caller was given: (memory, version, sensitivity) of each."""
        if self._reader is not None and self.caller is not None:
            self._reader(Read(self.tenant_id, self.caller, door, cube_id, policy, tuple(found), detail))

    def after_commit(self, action: Callable[[], None]) -> None:
        """Run once the transaction is durable; dropped on rollback. For nudges, never for promises."""
        self._after_commit.append(action)

    def nudge(self, job_id: UUID, kind: str) -> None:
        """Tell the workers, once committed, that this job is due."""
        if (nudge := self._nudge) is not None:
            self.after_commit(lambda: nudge(self.tenant_id, job_id, kind))

    def _bound(self, parameters: Mapping[str, object]) -> dict[str, object]:
        return {"tenant": self.tenant_id, **parameters}

    def committing(self) -> None:
        for action in self._before_commit:
            action()

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
        reader: Reader | None = None,
    ) -> None:
        """`nudge` (tenant id, job id, kind) is called for each job that a committed transaction made due; `marks_key`
        gives the key by which erased texts are known again, and is only asked by cubes that refuse their return.
        `reader` is told what callers were given to read."""
        self.engine = _engine(url, settings, application_name)
        self._reading = self.engine.execution_options(isolation_level="AUTOCOMMIT", no_parameters=True)
        self._nudge = nudge
        self._marks_key = marks_key
        self.reader = reader
        self._backlog = Backlog(settings.max_queued_jobs)
        self._key_ttl_s = settings.key_cache_ttl.total_seconds()
        self._known: dict[bytes, tuple[float, Principal]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def transaction(
        self, tenant_id: UUID, *, read_only: bool = False, sight: int | None = None
    ) -> Iterator[Transaction]:
        """Commit at the end, roll back on any exception. A read sees one snapshot throughout, and of it what its caller
        may see (`sight` narrows that for work without a caller)."""
        if read_only:
            with self._snapshot(tenant_id, sight) as transaction:
                yield transaction
            return
        with self.engine.connect() as connection:
            connection.execute(_statement(SET_TENANT), {"tenant": str(tenant_id)})
            transaction = Transaction(
                connection,
                tenant_id,
                self._nudge,
                self._marks_key,
                self._backlog,
                caller=CALLER.get(),
                reader=self.reader,
            )
            yield transaction
            transaction.committing()
            connection.commit()
        transaction.committed()

    @contextmanager
    def _snapshot(self, tenant_id: UUID, sight: int | None = None) -> Iterator[Transaction]:
        """A read-only transaction begun and given its identity in one round trip."""
        caller = CALLER.get()
        if sight is None and caller is None:
            limits = {"sight": "", "clearance": ""}
        else:
            hides = caller is None or not caller.calling.redacts
            limits = _sight(EVERYTHING if caller is None else caller.clearance, hides=hides, most=sight)
        with self._reading.connect() as connection:
            transaction = Transaction(
                connection.execution_options(no_parameters=False),
                tenant_id,
                self._nudge,
                caller=caller,
                narrowed=True,
                reader=self.reader,
            )
            transaction.say(BEGIN_SNAPSHOT.format(tenant=UUID(str(tenant_id)), **limits))
            yield transaction
            # Nothing to commit; but at a rollback, which the pool would send, the driver forgets what it has prepared.
            transaction.say("COMMIT")

    def authenticate(self, key: str) -> Principal:
        """The principal of a key. Remembered for `key_cache_ttl`, so a request costs no extra round trip."""
        if (remembered := self.recognise(key)) is not None:
            return remembered
        meters().caches.labels("keys", "miss").inc()
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
            clearance=LABELS.index(Sensitivity(found["clearance"])),
            granted=frozenset(found["granted"]),
            limits=tuple(Limit(subject, rate, burst) for subject, rate, burst in found["limits"] or ()),
        )
        with self._lock:
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[digest] = (time.monotonic() + self._key_ttl_s, principal)
        return principal

    def recognise(self, key: str) -> Principal | None:
        """The principal of a key that was used a moment ago; None: ask the database."""
        known = self._known.get(hash_key(key))
        if known is None or known[0] <= time.monotonic():
            return None
        meters().caches.labels("keys", "hit").inc()
        return known[1]

    def forget_key(self, key_id: UUID) -> None:
        """Revocation takes effect in this process at once."""
        with self._lock:
            self._known = {d: kept for d, kept in self._known.items() if kept[1].key_id != key_id}

    def forget_keys(self) -> None:
        """What keys may do has changed for many: each is asked for anew."""
        with self._lock:
            self._known = {}

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
    "set_config('memos.sight', '{sight}', true), set_config('memos.clearance', '{clearance}', true), "
    # Reading, the plans that depend on nothing are kept; that of a vector search never is, as it prunes partitions.
    "set_config('plan_cache_mode', 'auto', true)"
)
SET_SIGHT = "SELECT set_config('memos.sight', :sight, true), set_config('memos.clearance', :clearance, true)"
SET_TENANT = "SELECT set_config('memos.tenant_id', :tenant, true)"
AUTHENTICATE = "SELECT * FROM memos_authenticate(:hash)"


def _sight(clearance: int, *, hides: bool, most: int | None = None) -> dict[str, str]:
    """The settings of the two policies: versions beyond the clearance are left out, or shown without their text."""
    clearance = min(clearance, EVERYTHING if most is None else most)
    return {"sight": str(clearance if hides else EVERYTHING), "clearance": str(clearance)}


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

    trace_statements(engine)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:  # halfvec in and out in binary
        connection.autocommit = True
        register_vector(connection)
        connection.autocommit = False

    return engine
