"""Traces on their way to the database: gathered in memory, written in batches, so that no answer waits for its trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from uuid import UUID

from memos.services.flusher import Flusher, Written
from memos.store import traces
from memos.store.engine import Database
from memos.store.traces import Trace
from memos.store.transaction import Transaction

# A trace takes a few kilobytes. When the database is away for long, the newest are left out.
MOST_BUFFERED = 2_000


class TraceBuffer(Flusher):
    """Thread-safe."""

    name = "traces"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._waiting: dict[UUID, list[Callable[[], Trace]]] = defaultdict(list)
        self._size = 0

    def add(self, tenant_id: UUID, written: Callable[[], Trace]) -> None:
        """`written` makes the trace when it is time to write it: the caller of a search need not wait for that either."""
        with self._waiting_lock:
            if self._size >= MOST_BUFFERED:
                return
            self._waiting[tenant_id].append(written)
            self._size += 1

    def _take(self) -> Iterator[Written]:
        waiting, self._waiting, self._size = self._waiting, defaultdict(list), 0
        for tenant_id, held in waiting.items():
            yield tenant_id, partial(_write, held)


def _write(held: list[Callable[[], Trace]], tx: Transaction) -> None:
    traces.add(tx, [written() for written in held])
