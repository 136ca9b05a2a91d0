"""Counts of what was recalled, gathered in memory and written in batches.

A search must not wait for bookkeeping, and bookkeeping must not write once per search. A crash loses at most a flush
interval of counts: statistics, never memories.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Set
from datetime import datetime
from uuid import UUID

import structlog

from memos.errors import TooBusy
from memos.services import wake
from memos.services.flusher import Flusher
from memos.store import cubes, usage
from memos.store.engine import Database

# Past this many memories the oldest batch is dropped rather than memory grown: the database is away for long.
MOST_BUFFERED = 100_000

log = structlog.get_logger(__name__)


class RecallBuffer(Flusher):
    """Thread-safe."""

    name = "recall-counts"

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._lock = threading.Lock()
        self._counts: dict[tuple[UUID, UUID], dict[UUID, int]] = {}
        self._woken: dict[tuple[UUID, UUID], dict[str, set[UUID]]] = {}
        self._latest: datetime | None = None
        self._size = 0

    def count(self, tenant_id: UUID, cube_id: UUID, memory_id: UUID, moment: datetime) -> None:
        with self._lock:
            if self._size >= MOST_BUFFERED:
                self._counts, self._size = {}, 0
                log.warning("recall_counts_dropped", memories=MOST_BUFFERED)
            self._counts.setdefault((tenant_id, cube_id), defaultdict(int))[memory_id] += 1
            self._latest = moment if self._latest is None else max(self._latest, moment)
            self._size += 1

    def wake(self, tenant_id: UUID, cube_id: UUID, branch: str, memory_id: UUID) -> None:
        """A memory that was counted came from the archive, and is to come back."""
        with self._lock:
            self._woken.setdefault((tenant_id, cube_id), defaultdict(set))[branch].add(memory_id)

    def flush(self) -> None:
        """Write what was counted."""
        with self._lock:
            counts, latest, woken = self._counts, self._latest, self._woken
            self._counts, self._latest, self._size, self._woken = {}, None, 0, {}
        if latest is None:
            return
        for (tenant_id, cube_id), recalled in counts.items():
            with self._database.transaction(tenant_id) as tx:
                usage.recalled(tx, cube_id, recalled, latest)
            self._promise(tenant_id, cube_id, woken.get((tenant_id, cube_id), {}))

    def _promise(self, tenant_id: UUID, cube_id: UUID, woken: Mapping[str, Set[UUID]]) -> None:
        """After the counts, which must not be lost with it: a tenant whose queue is full is recalled to again."""
        if not woken:
            return
        try:
            with self._database.transaction(tenant_id) as tx:
                if cubes.there(tx, cube_id):
                    for branch, memory_ids in woken.items():
                        wake.promise(tx, cube_id, branch, memory_ids)
        except TooBusy:
            log.warning("wakes_dropped", cube=str(cube_id))
