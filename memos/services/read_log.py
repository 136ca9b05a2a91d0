"""The audit of reads: who was given which version of which memory, through which door, in which calling context.

An answer does not wait for it: what was read gathers in memory and goes into the hash chain in batches, within seconds.
By default only reads that gave something more secret than `normal` are kept (`audit_reads` of the cube's policy:
`sensitive`; also `all` and `off`). Keeping all would write a row per search and so make the trail, which must be kept,
grow with reading; leaving out the sensitive ones would leave out what an inquiry asks for. What was refused by a policy
is always kept. A process that is killed loses at most the last interval; one that is stopped writes it first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from uuid import UUID

import structlog

from memos.rules.access import rank
from memos.rules.header import Sensitivity
from memos.services.flusher import Flusher, Written
from memos.services.remember import utc_now
from memos.store import audit
from memos.store.audit import Act
from memos.store.engine import Database
from memos.store.reading import Read

MOST_BUFFERED = 5_000
MOST_LISTED = 200
"""Versions named in one row."""
OFF, SENSITIVE, ALL = "off", "sensitive", "all"
MODES = (OFF, SENSITIVE, ALL)
REFUSED = "refused"
_NORMAL = rank(Sensitivity.NORMAL)

log = structlog.get_logger(__name__)


class ReadLog(Flusher):
    """Thread-safe. `note` is a `store.reading.Reader`."""

    name = "reads"

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._waiting: dict[UUID, list[Act]] = defaultdict(list)
        self._size = 0

    def note(self, read: Read) -> None:
        """Keep what the cube's policy wants kept."""
        found = kept(read)
        if not found and read.door != REFUSED:
            return
        acts = _acts(read, found)
        with self._waiting_lock:
            if self._size >= MOST_BUFFERED:
                log.warning("reads_dropped", waiting=self._size)
                return
            self._waiting[read.tenant_id] += acts
            self._size += len(acts)

    def _take(self) -> Iterator[Written]:
        waiting, self._waiting, self._size = self._waiting, defaultdict(list), 0
        for tenant_id, acts in waiting.items():
            yield tenant_id, partial(audit.record_many, acts=acts)


def kept(read: Read) -> list[tuple[UUID, int]]:
    """The (memory, version) pairs of a read that its cube's policy wants in the trail."""
    mode = read.policy.get("audit_reads", SENSITIVE)
    if mode == OFF:
        return []
    return [(m, v) for m, v, label in read.found if mode == ALL or rank(label) > _NORMAL]


def _acts(read: Read, found: list[tuple[UUID, int]]) -> list[Act]:
    """The rows of one read: several when it gave more than a row names."""
    detail = {**audit.context_of(read.who), **read.detail}
    now, key, cube = utc_now(), read.who.key_id, read.cube_id
    if read.door == REFUSED:
        return [Act(now, key, "access.refused", cube, "", detail | {"operation": read.who.calling.operation.value})]
    pairs = [[str(memory_id), version] for memory_id, version in found]
    return [
        Act(now, key, f"read.{read.door}", cube, "", detail | {"read": pairs[start : start + MOST_LISTED]})
        for start in range(0, len(pairs), MOST_LISTED)
    ]
