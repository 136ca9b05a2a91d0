"""Assemble: what was recalled, packed into a token budget and ready for a prompt."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from memos.rules.access import Principal
from memos.rules.header import canonical, instant
from memos.rules.packing import MOST_PIECES, Packed, Piece, pack
from memos.services import trace
from memos.services.gathering import Gathered, Recall, Scored, SearchQuery, gather
from memos.services.recall import count_recalls
from memos.services.views import ContextAnswer, ContextItem, DroppedItem

DEFAULT_BUDGET_TOKENS = 2_000
_FORMAT = "context-1"


@dataclass(frozen=True, slots=True)
class ContextQuery:
    """`search.limit` bounds the memories considered."""

    search: SearchQuery
    budget_tokens: int = DEFAULT_BUDGET_TOKENS


def context(
    recall: Recall, who: Principal, references: Sequence[str], asked: ContextQuery, *, clock: datetime
) -> ContextAnswer:
    """Recall and pack. Tokens are counted by the embedder's tokenizer, which the answer names."""
    started = time.perf_counter()
    considered = replace(asked.search, limit=min(asked.search.limit, MOST_PIECES))
    gathered = gather(recall, who, references, considered, clock=clock)
    scored = gathered.scored
    packed = packed_of(recall, gathered, asked.budget_tokens)
    given = [scored[item.piece.rank] for item in packed.items]
    count_recalls(recall, who, considered, gathered, given)
    tokenizer = recall.embedder.name
    answer = ContextAnswer(
        text=packed.text,
        tokens=packed.tokens,
        tokenizer=tokenizer,
        items=[
            ContextItem(
                number=item.number,
                memory_id=one.row.memory_id,
                version=one.row.version,
                kind=one.row.kind,
                cube=one.cube,
                tokens=item.tokens,
                excerpt=item.excerpt,
            )
            for item, one in zip(packed.items, given, strict=True)
        ],
        dropped=[DroppedItem(scored[one.piece.rank].row.memory_id, one.reason) for one in packed.dropped],
        route=gathered.route,
        context_hash=_hash(asked, gathered, packed, given, tokenizer),
        trace_id=trace.fresh_id(),
        took_ms=round((time.perf_counter() - started) * 1_000, 3),
        revisions=gathered.revisions,
    )
    dropped = [(one.memory_id, one.reason) for one in answer.dropped]
    trace.keep(
        recall, who, answer.trace_id, "context", considered, gathered, given,
        took_ms=answer.took_ms, dropped=dropped, context_hash=answer.context_hash,
    )  # fmt: skip
    return answer


def packed_of(recall: Recall, gathered: Gathered, budget_tokens: int) -> Packed:
    """What fits of what was gathered. The rank of a piece is its place in `gathered.scored`."""
    scored = gathered.scored
    several = len(gathered.views) > 1
    names = {view.cube.id: view.cube.name for view in gathered.views}
    best = max((one.ranked.evidence for one in scored), default=0.0)
    pieces = [
        _piece(place, one, math.exp(one.ranked.evidence - best), names[one.cube] if several else None)
        for place, one in enumerate(scored)
    ]
    embedder = recall.embedder
    return pack(pieces, gathered.weights, budget_tokens, embedder.count_tokens, embedder.token_starts)


def _piece(place: int, scored: Scored, value: float, cube: str | None) -> Piece:
    row = scored.row
    day = row.created_at
    heading = ", ".join(part for part in (cube, row.title, f"{day.day} {day:%B %Y}") if part)
    # A memory outside any session stands with the others of its day.
    group = (str(scored.cube), f"{day:%Y-%m-%d}", row.session_id or "", row.title or "")
    return Piece(
        rank=place,
        value=value,
        text=row.text,
        tokens=row.tokens,
        speaker=row.name or row.role,
        heading=heading,
        group=group,
        order=(cube or "", *group[1:], -1 if row.ordinal is None else row.ordinal, instant(day), str(row.memory_id)),
    )


def _hash(asked: ContextQuery, gathered: Gathered, packed: Packed, given: Sequence[Scored], tokenizer: str) -> str:
    """Equal for equal requests to equal states; `now` only counts where the caller said it."""
    search = asked.search
    at = instant(search.at) if isinstance(search.at, datetime) else search.at
    used: list[tuple[UUID, int]] = [(one.row.memory_id, one.row.version) for one in given]
    state = [
        _FORMAT,
        tokenizer,
        [search.query, search.limit, search.granularity, search.filter, search.budget, search.branch, at],
        [instant(search.as_of), instant(search.now), asked.budget_tokens],
        sorted(gathered.revisions.items()),
        [[str(memory_id), version] for memory_id, version in used],
        packed.text,
    ]
    return hashlib.sha256(canonical(state)).hexdigest()
