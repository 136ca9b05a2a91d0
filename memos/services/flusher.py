"""A buffer that a thread of its own empties now and then, for what must not make a caller wait."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from memos.errors import MemosError
from memos.store.engine import Database
from memos.store.transaction import Transaction

FLUSH_INTERVAL_S = 2.0

log = structlog.get_logger(__name__)

Written = tuple[UUID, Callable[[Transaction], object]]
"""A tenant, and what to write for it in a transaction of its own."""


class Flusher(ABC):
    """Subclasses say what is waiting. `start` writes it in the background; without that, call `flush` yourself.

    What cannot be written is lost, with a line in the log and for its tenant alone: buffers hold statistics, traces and
    the trail of reads, never memories.
    """

    name = "buffer"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting_lock = threading.Lock()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def _take(self) -> Iterable[Written]:
        """Hand over what is waiting and keep nothing of it. Called with `_waiting_lock` held."""

    def flush(self) -> None:
        """Write what is waiting. Once it returns, all that was added before is written or lost: also what another thread
        had taken and was about to write, so that whoever reads next finds it."""
        with self._writing:
            with self._waiting_lock:
                taken = list(self._take())
            for tenant_id, write in taken:
                try:
                    with self._database.transaction(tenant_id) as tx:
                        write(tx)
                except (SQLAlchemyError, MemosError) as error:
                    log.warning("buffer_lost", buffer=self.name, tenant=str(tenant_id), error=type(error).__name__)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and write once more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self.flush()

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_INTERVAL_S):
            self.flush()
