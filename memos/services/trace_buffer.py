"""Traces on their way to the database: gathered in memory, written in batches, so that no answer waits for its trace."""

from __future__ import annotations

import threading
from collections import defaultdict
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from memos.store import traces
from memos.store.engine import Database
from memos.store.traces import Trace

FLUSH_INTERVAL_S = 1.0
# A trace takes a few kilobytes. When the database is away for long, the newest are left out.
MOST_BUFFERED = 2_000

log = structlog.get_logger(__name__)


class TraceBuffer:
    """Thread-safe. `start` runs a flusher; without it, call `flush` yourself."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiting: dict[UUID, list[Trace]] = defaultdict(list)
        self._size = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, tenant_id: UUID, trace: Trace) -> None:
        with self._lock:
            if self._size >= MOST_BUFFERED:
                return
            self._waiting[tenant_id].append(trace)
            self._size += 1

    def flush(self) -> None:
        """Write what is waiting. On a database error those traces are lost, and the error is the caller's."""
        with self._lock:
            waiting, self._waiting, self._size = self._waiting, defaultdict(list), 0
        for tenant_id, held in waiting.items():
            with self._database.transaction(tenant_id) as tx:
                traces.add(tx, held)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="trace-buffer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._attempt()

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_INTERVAL_S):
            self._attempt()

    def _attempt(self) -> None:
        try:
            self.flush()
        except SQLAlchemyError as error:
            log.warning("traces_lost", error=type(error).__name__)
