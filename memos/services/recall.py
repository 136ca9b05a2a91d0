"""Recall: a query in, the few memories that matter out, with the route taken and why each is there."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime

from memos.rules.access import Principal
from memos.rules.lifecycle import State
from memos.rules.routing import RECALLING_PLACES
from memos.services import trace
from memos.services.gathering import Gathered, Recall, Scored, SearchQuery, gather
from memos.services.views import Hit, HitSource, SearchAnswer

__all__ = ["Recall", "SearchQuery", "count_recalls", "search_cubes"]


def search_cubes(
    recall: Recall, who: Principal, references: Sequence[str], asked: SearchQuery, *, clock: datetime
) -> SearchAnswer:
    """Search one or several cubes as one corpus. `now` in the query moves the asker's clock, for replays and tests."""
    started = time.perf_counter()
    gathered = gather(recall, who, references, asked, clock=clock)
    count_recalls(recall, who, asked, gathered, gathered.scored)
    answer = SearchAnswer(
        items=[_hit(scored, explain=asked.explain) for scored in gathered.scored],
        route=gathered.route,
        trace_id=trace.fresh_id(),
        took_ms=round((time.perf_counter() - started) * 1_000, 3),
        revisions=gathered.revisions,
    )
    trace.keep(recall, who, answer.trace_id, "search", asked, gathered, gathered.scored, took_ms=answer.took_ms)
    return answer


def count_recalls(
    recall: Recall, who: Principal, asked: SearchQuery, gathered: Gathered, given: Sequence[Scored]
) -> None:
    """Remember what was given to the caller. Looking into the past recalls nothing, and what an unsure search found in
    the archive counts, and comes back, only if it stands high."""
    if asked.at is not None or asked.as_of is not None:
        return
    high = {one.row.version_id for one in gathered.scored[:RECALLING_PLACES]}
    for scored in given:
        row = scored.row
        found_archived = gathered.route.archived > 0 and row.state == State.ARCHIVED
        if found_archived and row.version_id not in high:
            continue
        recall.counts.count(who.tenant_id, scored.cube, row.memory_id, gathered.moment)
        if found_archived:
            recall.counts.wake(who.tenant_id, scored.cube, asked.branch, row.memory_id)


def _hit(scored: Scored, *, explain: bool) -> Hit:
    row = scored.row
    return Hit(
        memory_id=row.memory_id,
        version=row.version,
        kind=row.kind,
        content=row.text,
        score=scored.ranked.score,
        state=row.state,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        source=HitSource(row.session_id, row.external_id, row.created_at, row.role, row.name, row.title),
        sources=row.sources,
        cube=scored.cube,
        tags=row.tags,
        metadata=json.loads(row.metadata_json),
        why=_why(scored) if explain else None,
    )


def _why(scored: Scored) -> dict[str, float]:
    """What each channel added to the score, and the raw similarity it came from."""
    return scored.ranked.channels | {"cosine": scored.ranked.cosine}
