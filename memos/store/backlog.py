"""The backlog: how many jobs of a tenant may wait before writes that add one are asked to come back later.

What waits is never counted to the end: the count stops at the bound, over an index of queued jobs only, and once a
process has counted it lets an eighth of the room that is left go by without counting again. So a tenant far from its
bound costs a count of a few rows each second, one at its bound a count each second, and the bound is overshot by an
eighth of the last room per process at most.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from memos.errors import TooBusy

COUNT_FOR_S = 1.0
"""How long a count is believed."""
SHARE = 8
RETRY_AFTER_S = 10
"""A worker does hundreds of jobs in that time; coming back sooner would mostly be refused again."""
_MOST_TENANTS = 10_000


class Counts(Protocol):
    """A transaction, as far as counting goes."""

    @property
    def tenant_id(self) -> UUID: ...

    def scalar(self, sql: str, **parameters: object) -> object: ...


@dataclass(slots=True)
class _Room:
    """How many more jobs go by uncounted, and until when. Negative: none do, and the bound is reached."""

    left: int
    until: float


class Backlog:
    """The bound of one process, shared by its threads. `most` of 0 means there is none."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rooms: dict[UUID, _Room] = {}
        self._lock = threading.Lock()

    def admit(self, tx: Counts) -> None:
        """Call after a new job was inserted. Raises `TooBusy` when it is one too many: roll back."""
        if self._most <= 0 or self._passes(tx.tenant_id):
            return
        waiting = _count(tx, self._most + 1)
        room = self._most - waiting
        with self._lock:
            if len(self._rooms) >= _MOST_TENANTS:
                self._rooms.clear()
            self._rooms[tx.tenant_id] = _Room(room // SHARE if room >= 0 else -1, time.monotonic() + COUNT_FOR_S)
        if room < 0:
            self._refuse()

    def _passes(self, tenant_id: UUID) -> bool:
        """Whether the last count has room for this one. Raises `TooBusy` when it had none at all."""
        with self._lock:
            room = self._rooms.get(tenant_id)
            if room is None or room.until <= time.monotonic() or room.left == 0:
                return False
            if room.left > 0:
                room.left -= 1
                return True
        self._refuse()
        return False

    def _refuse(self) -> None:
        raise TooBusy(
            f"{self._most} jobs of this tenant wait already; the workers have to catch up first",
            retry_after_s=RETRY_AFTER_S,
        )


def _count(tx: Counts, most: int) -> int:
    """Queued jobs of the tenant, counted up to `most`, the ones this transaction has added among them."""
    counted = tx.scalar(
        "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE tenant_id = :tenant AND state = 'queued' LIMIT :most) AS waiting",
        most=most,
    )
    return int(str(counted))
