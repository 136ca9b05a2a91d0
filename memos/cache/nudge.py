"""Nudges: telling the workers at once about a job that waits as a row.

A nudge is a hint and may be lost: the sweeper finds every due job within seconds. So nudging never fails the writer and
never makes it wait: nudges go into a bounded queue, and a thread of its own publishes them.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol
from uuid import UUID

import structlog

from memos.errors import Unavailable

# A burst of jobs beyond this is left to the sweeper, which is fair between tenants; a queue of messages is not.
MOST_WAITING = 1_000
# How long the broker is left alone after it did not answer, and how often that is said in the log.
PAUSE_S = 5.0

log = structlog.get_logger(__name__)

Publish = Callable[[UUID, UUID, str], None]
"""Sends one message (tenant id, job id, kind). Raises `Unavailable` when the broker does not answer."""


class Nudger(Protocol):
    """Where a committed transaction announces its jobs. Thread-safe; returns at once; never raises."""

    def nudge(self, tenant_id: UUID, job_id: UUID, kind: str) -> None: ...

    def close(self) -> None:
        """Publish what is waiting, for a moment at most, and stop."""


class NoNudger:
    """For processes without a broker: the sweeper finds the jobs."""

    def nudge(self, tenant_id: UUID, job_id: UUID, kind: str) -> None:
        """Nothing happens."""

    def close(self) -> None:
        """Nothing to stop."""


class BackgroundNudger:
    """Publishes from one thread, which is started by the first nudge and so after any fork."""

    def __init__(self, publish: Publish, *, most_waiting: int = MOST_WAITING, pause_s: float = PAUSE_S) -> None:
        self._publish = publish
        self._pause_s = pause_s
        self._waiting: queue.Queue[tuple[UUID, UUID, str] | None] = queue.Queue(most_waiting)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._silent_until = 0.0
        self._closing = threading.Event()
        self.dropped = 0

    def nudge(self, tenant_id: UUID, job_id: UUID, kind: str) -> None:
        if time.monotonic() < self._silent_until or self._closing.is_set():
            self.dropped += 1
            return
        try:
            self._waiting.put_nowait((tenant_id, job_id, kind))
        except queue.Full:
            self.dropped += 1
            return
        if self._thread is None:
            self._start()

    def close(self, timeout_s: float = 3.0) -> None:
        self._closing.set()
        if self._thread is None:
            return
        with suppress(queue.Full):  # then the thread is awake, and ends when it has emptied the queue
            self._waiting.put_nowait(None)
        self._thread.join(timeout_s)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="nudger", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not (self._closing.is_set() and self._waiting.empty()):
            nudge = self._waiting.get()
            if nudge is None:
                return
            if time.monotonic() < self._silent_until:
                self.dropped += 1
                continue
            try:
                self._publish(*nudge)
            except Unavailable as error:
                self.dropped += 1
                self._silent_until = time.monotonic() + self._pause_s
                log.warning("broker_unreachable", detail=error.detail, pause_s=self._pause_s, consequence="jobs wait")
