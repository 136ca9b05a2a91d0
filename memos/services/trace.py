"""Traces: what was asked, how it was answered, and whether it would be answered so again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.errors import NotFound
from memos.metering import meters
from memos.rules.access import Principal, Scope
from memos.rules.header import canonical, instant
from memos.rules.routing_weights import WEIGHTS_VERSION
from memos.services.gathering import Gathered, Recall, Scored, SearchQuery, gather
from memos.store import traces
from memos.store.reading import Read
from memos.store.traces import Trace
from memos.store.transaction import Transaction

MOST_ITEMS = 20
_SAMPLES = 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    memory_id: UUID
    version: int


@dataclass(frozen=True, slots=True)
class Replay:
    """`same`: the same memories in the same versions and order."""

    trace_id: UUID
    same: bool
    before: list[Place]
    after: list[Place]
    confidence: float
    weights: str


def fresh_id() -> UUID:
    return uuid_utils.uuid7()


def keep(
    recall: Recall,
    who: Principal,
    trace_id: UUID,
    door: str,
    asked: SearchQuery,
    gathered: Gathered,
    given: Sequence[Scored],
    *,
    took_ms: float,
    dropped: Sequence[tuple[UUID, str]] = (),
    context_hash: str | None = None,
) -> None:
    """Count the answer, and leave a trace if the cubes' policies want one of this question (`trace_sample`, the least of
    theirs)."""
    route = gathered.route
    meters().recalls.labels(door, "+".join(route.channels), route.budget).observe(took_ms / 1_000)
    if route.escalated:
        meters().escalations.inc()
    _tell(recall, who, door, gathered, given)
    shares = [view.cube.policy.get("trace_sample", 1.0) for view in gathered.views]
    if trace_id.int % _SAMPLES >= min(shares, default=1.0) * _SAMPLES:
        return
    first = gathered.scored[:MOST_ITEMS]

    def written() -> Trace:
        return Trace(
            id=trace_id,
            door=door,
            asked_at=gathered.clock,
            key_id=who.key_id,
            cube_ids=[view.cube.id for view in gathered.views],
            memory_ids=list(dict.fromkeys(one.row.memory_id for one in (*first, *given))),
            request=_written(asked, gathered.moment),
            revisions=gathered.revisions,
            route=asdict(gathered.route),
            items=[_item(one) for one in first],
            dropped=[[str(memory_id), reason] for memory_id, reason in dropped],
            answer_hash=_hash(gathered.scored),
            weights=WEIGHTS_VERSION,
            took_ms=took_ms,
            context_hash=context_hash,
        )

    recall.traces.add(who.tenant_id, written)


def _tell(recall: Recall, who: Principal, door: str, gathered: Gathered, given: Sequence[Scored]) -> None:
    """The audit of reads hears of every answer, whether or not it leaves a trace."""
    if (reader := recall.database.reader) is None:
        return
    for view in gathered.views:
        read = tuple(
            (one.row.memory_id, one.row.version, one.row.sensitivity) for one in given if one.cube == view.cube.id
        )
        if read:
            reader(Read(who.tenant_id, who, door, view.cube.id, view.cube.policy, read, {}))


def get(who: Principal, tx: Transaction, trace_id: UUID) -> Trace:
    """Raises `NotFound` also for what was not sampled, has been purged, or is of a cube out of the key's reach."""
    who.require(Scope.ADMIN)
    found = traces.find(tx, trace_id)
    if found is None:
        raise NotFound("no such trace")
    for cube_id in found.cube_ids:
        who.reach(cube_id)
    return found


def shown(trace: Trace) -> dict[str, Any]:
    """A trace in the words of the API."""
    items = [dict(zip(("memory_id", "version", "score", "channels"), item, strict=True)) for item in trace.items]
    return {**asdict(trace), "items": items}


def replay(recall: Recall, who: Principal, trace: Trace, *, clock: datetime) -> Replay:
    """Ask again, of the same revisions at the same time, and compare."""
    asked = _read(trace.request)
    references = [str(cube_id) for cube_id in trace.cube_ids]
    pinned = {UUID(cube_id): revision for cube_id, revision in trace.revisions.items()}
    gathered = gather(recall, who, references, asked, clock=clock, pinned=pinned)
    before = [Place(UUID(item[0]), int(item[1])) for item in trace.items]
    after = [Place(one.row.memory_id, one.row.version) for one in gathered.scored[:MOST_ITEMS]]
    return Replay(
        trace_id=trace.id,
        same=before == after and trace.answer_hash == _hash(gathered.scored),
        before=before,
        after=after,
        confidence=gathered.route.confidence,
        weights=WEIGHTS_VERSION,
    )


def _item(one: Scored) -> list[Any]:
    channels = {name: round(value, 3) for name, value in one.ranked.channels.items() if abs(value) >= 0.001}
    return [str(one.row.memory_id), one.row.version, round(one.ranked.score, 5), channels]


def _hash(scored: Sequence[Scored]) -> bytes:
    return hashlib.sha256(canonical([[str(one.row.memory_id), one.row.version] for one in scored])).digest()


def _written(asked: SearchQuery, moment: datetime) -> dict[str, Any]:
    plain = {name: getattr(asked, name) for name in SearchQuery.__dataclass_fields__}
    # `revisions` say which state was read, whatever name the caller gave it.
    plain |= {"at": None, "as_of": instant(asked.as_of), "now": instant(moment)}
    plain["granularity"] = asked.granularity if isinstance(asked.granularity, str) else list(asked.granularity)
    return plain


def _read(request: dict[str, Any]) -> SearchQuery:
    asked = SearchQuery(**request)
    as_of = None if request["as_of"] is None else datetime.fromisoformat(request["as_of"])
    return replace(asked, as_of=as_of, now=datetime.fromisoformat(request["now"]))
