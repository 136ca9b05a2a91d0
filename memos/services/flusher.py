"""A buffer that a thread of its own empties now and then, for what must not make a caller wait."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

import structlog
from sqlalchemy.exc import SQLAlchemyError

FLUSH_INTERVAL_S = 2.0

log = structlog.get_logger(__name__)


class Flusher(ABC):
    """Subclasses say what `flush` writes. `start` runs it in the background; without that, call `flush` yourself.

    What cannot be written is lost: buffers hold statistics and traces, never memories.
    """

    name = "buffer"

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def flush(self) -> None:
        """Write what is waiting."""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and write once more."""
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
            log.warning("buffer_lost", buffer=self.name, error=type(error).__name__)
