"""Counts of what was recalled, gathered in memory and written in batches.

A search must not wait for bookkeeping, and bookkeeping must not write once per search. A crash loses at most a flush
interval of counts: statistics, never memories.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from datetime import datetime
from functools import partial
from uuid import UUID

import structlog

from memos.services import wake
from memos.services.flusher import Flusher, Written
from memos.store import cubes, usage
from memos.store.engine import Database
from memos.store.transaction import Transaction

# Past this many memories the oldest batch is dropped rather than memory grown: the database is away for long.
MOST_BUFFERED = 100_000

log = structlog.get_logger(__name__)


class RecallBuffer(Flusher):
    """Thread-safe."""

    name = "recall-counts"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._counts: dict[tuple[UUID, UUID], dict[UUID, int]] = {}
        self._woken: dict[tuple[UUID, UUID], dict[str, set[UUID]]] = {}
        self._latest: datetime | None = None
        self._size = 0

    def count(self, tenant_id: UUID, cube_id: UUID, memory_id: UUID, moment: datetime) -> None:
        with self._waiting_lock:
            if self._size >= MOST_BUFFERED:
                self._counts, self._size = {}, 0
                log.warning("recall_counts_dropped", memories=MOST_BUFFERED)
            self._counts.setdefault((tenant_id, cube_id), defaultdict(int))[memory_id] += 1
            self._latest = moment if self._latest is None else max(self._latest, moment)
            self._size += 1

    def wake(self, tenant_id: UUID, cube_id: UUID, branch: str, memory_id: UUID) -> None:
        """A memory that was counted came from the archive, and is to come back."""
        with self._waiting_lock:
            self._woken.setdefault((tenant_id, cube_id), defaultdict(set))[branch].add(memory_id)

    def _take(self) -> Iterator[Written]:
        counts, latest, woken = self._counts, self._latest, self._woken
        self._counts, self._latest, self._size, self._woken = {}, None, 0, {}
        if latest is None:
            return
        for (tenant_id, cube_id), recalled in counts.items():
            yield tenant_id, partial(usage.recalled, cube_id=cube_id, counts=recalled, now=latest)
            # In a transaction of its own, for the counts must not be lost with it: a tenant whose queue is full is recalled
            # to again.
            if branches := woken.get((tenant_id, cube_id)):
                yield tenant_id, partial(_promise, cube_id, branches)


def _promise(cube_id: UUID, branches: Mapping[str, Set[UUID]], tx: Transaction) -> None:
    if cubes.there(tx, cube_id):
        for branch, memory_ids in branches.items():
            wake.promise(tx, cube_id, branch, memory_ids)
