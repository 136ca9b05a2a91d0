"""Oversee: the numbers an operator looks at first, and the lists behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from memos.rules import series
from memos.rules.access import Principal, Scope
from memos.rules.series import Bucket, Level
from memos.services.cursors import id_of, number_of
from memos.services.views import Page, page
from memos.store import audit, decisions, jobs, oversight, receipts, storage, traces
from memos.store import cubes as cube_rows
from memos.store.audit import Recorded
from memos.store.decisions import Logged
from memos.store.jobs import Job
from memos.store.oversight import Cell, CubeRow, QueueRow
from memos.store.receipts import Receipt
from memos.store.storage import Part, TableSize
from memos.store.traces import Trace
from memos.store.transaction import Transaction

DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)
# What the charts are drawn from; a busier day is drawn from its latest part.
_MOST_TIMINGS = 20_000
_MOST_SPANS = 5_000


@dataclass(frozen=True, slots=True)
class Memories:
    """How many there are on `main` branches. `strength` counts what can be recalled, in tenths from weakest to strongest."""

    total: int
    by_kind: dict[str, int]
    by_state: dict[str, int]
    by_tier: dict[str, int]
    strength: list[int]
    estimated: bool


@dataclass(frozen=True, slots=True)
class Recalls:
    """The traced answers of the last day. `p50_ms` and `p95_ms` are None without any."""

    answers: int
    p50_ms: float | None
    p95_ms: float | None
    hours: list[Bucket]


@dataclass(frozen=True, slots=True)
class Vitals:
    memories: Memories
    recalls: Recalls
    queues: list[QueueRow]
    queue_depth: list[Level]


@dataclass(frozen=True, slots=True)
class Storage:
    """`tables` are the whole service's, for its operator; empty for anybody else."""

    parts: list[Part]
    by_tier: dict[str, int]
    tables: list[TableSize]


@dataclass(frozen=True, slots=True)
class Verified:
    """`broken_at` is the first row that does not follow from the one before it, or that is missing at the end."""

    rows: int
    intact: bool
    broken_at: int | None
    head: str


def vitals(tx: Transaction, who: Principal, now: datetime) -> Vitals:
    """Counted within bounds, whatever the size of the tenant."""
    who.require(Scope.ADMIN)
    only = _only(who)
    counted = oversight.census(tx, now, only)
    timings = [(t.asked_at, t.took_ms) for t in oversight.timings(tx, now - DAY, _MOST_TIMINGS, only)]
    spans = [(s.created_at, s.ended_at) for s in oversight.spans(tx, now - DAY, _MOST_SPANS, only)]
    took = [took_ms for _, took_ms in timings]
    return Vitals(
        memories=_memories(counted.cells, estimated=counted.estimated),
        recalls=Recalls(
            answers=len(timings),
            p50_ms=series.percentile(took, 0.5),
            p95_ms=series.percentile(took, 0.95),
            hours=series.buckets(timings, now, width=HOUR, count=24),
        ),
        queues=oversight.queues(tx, now, only),
        queue_depth=series.levels(spans, now, width=HOUR / 2, count=48),
    )


def queues(tx: Transaction, who: Principal, now: datetime) -> list[QueueRow]:
    who.require(Scope.ADMIN)
    return oversight.queues(tx, now, _only(who))


def list_cubes(tx: Transaction, who: Principal, *, part: str | None, limit: int, cursor: str | None) -> Page[CubeRow]:
    """By counters alone, so that a hundred cubes of a million memories are listed as fast as empty ones."""
    who.require(Scope.ADMIN)
    return page(oversight.cubes(tx, _only(who), part, id_of(cursor), limit + 1), limit, lambda row: row.id)


def list_jobs(
    tx: Transaction, who: Principal, *, state: str | None, kind: str | None, limit: int, cursor: str | None
) -> Page[Job]:
    who.require(Scope.ADMIN)
    return page(jobs.list_page(tx, state, kind, limit + 1, id_of(cursor), _only(who)), limit, lambda job: job.id)


def list_decisions(
    tx: Transaction,
    who: Principal,
    *,
    cube: str | None,
    job_id: UUID | None,
    kind: str | None,
    outcome: str | None,
    memory_id: UUID | None,
    limit: int,
    cursor: str | None,
) -> Page[Logged]:
    """Of all cubes within reach, newest first."""
    who.require(Scope.ADMIN)
    rows = decisions.list_all(
        tx,
        cube_id=_cube(tx, who, cube),
        job_id=job_id,
        kind=kind,
        outcome=outcome,
        memory_id=memory_id,
        only=_only(who),
        limit=limit + 1,
        before=id_of(cursor),
    )
    return page(rows, limit, lambda row: row.id)


def list_traces(
    tx: Transaction,
    who: Principal,
    *,
    cube: str | None,
    door: str | None,
    memory_id: UUID | None,
    limit: int,
    cursor: str | None,
    find: str | None = None,
) -> Page[Trace]:
    """Answered questions, newest first; `find` is an id, the hash of a context, or words of the question."""
    who.require(Scope.ADMIN)
    rows = traces.list_page(
        tx,
        door=door,
        cube_id=_cube(tx, who, cube),
        memory_id=memory_id,
        find=find,
        only=_only(who),
        limit=limit + 1,
        before=id_of(cursor),
    )
    return page(rows, limit, lambda row: row.id)


def list_acts(
    tx: Transaction,
    who: Principal,
    *,
    action: str | None,
    key_id: UUID | None,
    cube: str | None,
    limit: int,
    cursor: str | None,
    memory_id: UUID | None = None,
) -> Page[Recorded]:
    """The audit trail, newest first; of a memory, what was done to it and who was given it to read. A key bound to cubes sees
    what was done to them."""
    who.require(Scope.ADMIN)
    rows = audit.list_page(
        tx,
        action=action,
        key_id=key_id,
        cube_id=_cube(tx, who, cube),
        memory_id=memory_id,
        only=_only(who),
        limit=limit + 1,
        before=number_of(cursor),
    )
    return page(rows, limit, lambda row: row.seq)


def verify_audit(tx: Transaction, who: Principal) -> Verified:
    """Compute every hash of the chain anew, from the first act to the last."""
    who.require(Scope.ADMIN)
    who.require_unbound()
    rows, broken_at = audit.verify(tx)
    return Verified(rows, broken_at is None, broken_at, audit.head(tx)[1])


def list_receipts(tx: Transaction, who: Principal, *, limit: int, cursor: str | None) -> Page[Receipt]:
    who.require(Scope.ADMIN)
    return page(receipts.list_page(tx, _only(who), limit + 1, id_of(cursor)), limit, lambda row: row.id)


def stored(tx: Transaction, who: Principal) -> Storage:
    """What the tenant's memory takes up. The operator also sees every table of the service."""
    who.require(Scope.ADMIN)
    who.require_unbound()
    parts = storage.parts(tx)
    return Storage(
        parts, _summed(parts, lambda p: p.tier, lambda p: p.bytes), storage.tables(tx) if who.operator else []
    )


def _only(who: Principal) -> list[UUID] | None:
    return None if who.cube_ids is None else sorted(who.cube_ids)


def _cube(tx: Transaction, who: Principal, reference: str | None) -> UUID | None:
    """The id of the cube asked for. Raises `NotFound` for one out of reach."""
    if reference is None:
        return None
    found = cube_rows.find(tx, reference)
    who.reach(found.id)
    return found.id


def _memories(cells: Sequence[Cell], *, estimated: bool) -> Memories:
    strength = [0] * oversight.BANDS
    for cell in cells:
        if cell.state in _LIVE:
            strength[cell.band] += cell.memories
    return Memories(
        total=sum(cell.memories for cell in cells),
        by_kind=_summed(cells, lambda c: c.kind, lambda c: c.memories),
        by_state=_summed(cells, lambda c: c.state, lambda c: c.memories),
        by_tier=_summed(cells, lambda c: c.tier, lambda c: c.memories),
        strength=strength,
        estimated=estimated,
    )


T = TypeVar("T")
_LIVE = frozenset({"generated", "activated", "frozen"})


def _summed(rows: Sequence[T], key: Callable[[T], str], amount: Callable[[T], int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        found[key(row)] = found.get(key(row), 0) + amount(row)
    return dict(sorted(found.items()))
