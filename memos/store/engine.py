"""The database: a pool of connections that can become one tenant at a time.

A transaction names its tenant once, in `memos.tenant_id`; row-level security does the rest, also for a query that forgot
its `WHERE`. The login owns nothing and cannot bypass that.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from pgvector.psycopg import register_vector
from sqlalchemy import Engine, RowMapping, create_engine, event
from sqlalchemy.pool import QueuePool

from memos.errors import Unauthenticated
from memos.metering import meters
from memos.rules.access import (
    EVERYTHING,
    LABELS,
    Limit,
    Principal,
    Scope,
    hash_key,
)
from memos.rules.header import Sensitivity
from memos.settings import Settings
from memos.store.backlog import Backlog
from memos.store.calling import CALLER
from memos.store.cubes import BREADTH
from memos.store.reading import Reader
from memos.store.transaction import Nudge, Transaction, sight_of, statement_of
from memos.tracing import trace_statements


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
            connection.execute(statement_of(SET_TENANT), {"tenant": str(tenant_id)})
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
            limits = sight_of(EVERYTHING if caller is None else caller.clearance, hides=hides, most=sight)
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
            found = connection.execute(statement_of(AUTHENTICATE), {"hash": digest}).mappings().first()
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
            return connection.execute(statement_of(sql), parameters).mappings().all()

    def close(self) -> None:
        self.engine.dispose()


# Sent as it is, in one message: the only value in it is a parsed UUID. The driver must not begin a transaction of its own.
BEGIN_SNAPSHOT = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT set_config('memos.tenant_id', '{tenant}', true), "
    "set_config('memos.sight', '{sight}', true), set_config('memos.clearance', '{clearance}', true), "
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
        pool_use_lifo=True,  # the connection used last has its plans, and its backend the caches, at hand
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
                    "hnsw.ef_search": BREADTH,
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
