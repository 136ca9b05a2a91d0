"""One unit of work as one tenant: its statements, what its caller may see, and what follows once it is committed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Cursor
from sqlalchemy import Connection, RowMapping, TextClause, text
from sqlalchemy.exc import DBAPIError

from memos.errors import Forbidden, NotFound
from memos.rules import calling_policy
from memos.rules.access import (
    EVERYTHING,
    Principal,
    rank,
)
from memos.store.backlog import Backlog
from memos.store.reading import Read, Reader
from memos.tracing import statement_span

Nudge = Callable[[UUID, UUID, str], None]
Row = dict[str, Any]


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
        self._after_commit: list[Callable[[], object]] = []

    # Statements go straight to the driver: a write takes two dozen, and between a statement that is text and rows that are
    # read by name, the library above has a third of a millisecond each to add and nothing else.

    def rows(self, sql: str, **parameters: object) -> list[Row]:
        """All rows. `:tenant` is always bound, so that every query can name it and use its indexes."""
        with self._driven(sql, parameters) as cursor:
            names = _names(cursor)
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def tuples(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        """All rows by position, sent in binary: a `real` comes as it is stored, not as it would be written."""
        with self._driven(sql, parameters, binary=True) as cursor:
            return cursor.fetchall()

    def row(self, sql: str, **parameters: object) -> Row | None:
        """The first row."""
        with self._driven(sql, parameters) as cursor:
            row = cursor.fetchone()
            return None if row is None else dict(zip(_names(cursor), row, strict=True))

    def scalar(self, sql: str, **parameters: object) -> Any:
        """The first value of the first row."""
        with self._driven(sql, parameters) as cursor:
            row = cursor.fetchone()
            return None if row is None else row[0]

    def run(self, sql: str, **parameters: object) -> int:
        """Rows touched."""
        with self._driven(sql, parameters) as cursor:
            return cursor.rowcount

    def columns(self, sql: str, **parameters: object) -> list[bytes | None]:
        """The values of the one row of an answer, as PostgreSQL sent them (binary). For arrays that numpy reads."""
        with self._driven(sql, parameters, binary=True) as cursor:
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
    def _driven(self, sql: str, parameters: Mapping[str, object], *, binary: bool = False) -> Iterator[Cursor[Any]]:
        with self._driver.cursor(binary=binary) as cursor:
            with _expected(sql), statement_span(sql):
                cursor.execute(_driver_sql(sql), self._bound(parameters))
            yield cursor

    def run_many(self, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
        """The same statement for many rows, pipelined by the driver."""
        with self._driver.cursor() as cursor, _expected(sql), statement_span(sql):
            cursor.executemany(_driver_sql(sql), rows)

    def stream(self, sql: str, **parameters: object) -> Iterator[RowMapping]:
        """Rows through a server-side cursor, for answers too large to hold."""
        # For this statement alone: on the connection the option would stay, and no later statement could write.
        with self.connection.execute(
            statement_of(sql), self._bound(parameters), execution_options={"yield_per": STREAM_ROWS}
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
                self.run(SET_SIGHT, **sight_of(self.clearance, hides=self._hides))

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

    def after_commit(self, action: Callable[[], object]) -> None:
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


def _names(cursor: Cursor[Any]) -> list[str]:
    """Not by `cursor.description`, which looks up the type of every column: a millisecond for twenty-five."""
    answer = cursor.pgresult
    return [] if answer is None else [(answer.fname(place) or b"").decode() for place in range(answer.nfields)]


@lru_cache(maxsize=2_000)
def statement_of(sql: str) -> TextClause:
    """Parsed once: text() looks for `:names` with a regular expression, and every write begins with one."""
    return text(sql)


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


_NAMED = re.compile(r"(?<![:\w\\]):([a-z]\w*)(?![:\w])", re.IGNORECASE)


# Enough to hide the round trips, few enough to hold.
STREAM_ROWS = 500
SET_SIGHT = "SELECT set_config('memos.sight', :sight, true), set_config('memos.clearance', :clearance, true)"


def sight_of(clearance: int, *, hides: bool, most: int | None = None) -> dict[str, str]:
    """The settings of the two policies: versions beyond the clearance are left out, or shown without their text."""
    clearance = min(clearance, EVERYTHING if most is None else most)
    return {"sight": str(clearance if hides else EVERYTHING), "clearance": str(clearance)}
