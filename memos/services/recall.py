"""Recall: a query in, the few memories that matter out, with the route taken and why each is there."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.encoders.embedder import Embedder
from memos.errors import Invalid
from memos.rules import filters
from memos.rules.access import Principal, Scope
from memos.rules.embedding_text import query_text
from memos.rules.header import Kind
from memos.rules.ranking import LEARNED, Candidate, QueryFeatures, Ranked, Statistics, asks, query_features, rank
from memos.rules.speakers import name_terms, named_speakers
from memos.services.known_speakers import KnownSpeakers
from memos.services.recall_buffer import RecallBuffer
from memos.services.views import Hit, HitSource, RouteView, SearchAnswer
from memos.store import cubes, search
from memos.store.cubes import At
from memos.store.engine import Database
from memos.store.search import Corpus, Depth, Found

# Chosen by `memos eval speed` and `memos eval locomo`: beyond these, more candidates cost more than they find.
DEPTHS = {
    "low": Depth(per_channel=40, postings=200, neighbours=0),
    "mid": Depth(per_channel=60, postings=400, neighbours=1),
    "high": Depth(per_channel=200, postings=1_500, neighbours=2),
}


@dataclass(frozen=True, slots=True)
class SearchQuery:
    query: str
    limit: int = 10
    granularity: str | Sequence[str] = "auto"
    filter: object | None = None
    budget: str = "auto"
    branch: str = cubes.MAIN
    at: At = None
    as_of: datetime | None = None
    now: datetime | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Recall:
    """The parts a search needs, put together once."""

    database: Database
    embedder: Embedder
    counts: RecallBuffer
    speakers: KnownSpeakers


def search_cubes(
    recall: Recall, who: Principal, references: Sequence[str], asked: SearchQuery, *, clock: datetime
) -> SearchAnswer:
    """Search one or several cubes as one corpus. `now` in the query moves the asker's clock, for replays and tests."""
    started = time.perf_counter()
    who.require(Scope.READ)
    tree = None if asked.filter is None else filters.parse(asked.filter)
    kinds = _kinds(asked.granularity)
    features = query_features(asked.query)
    moment = asked.now or clock
    budget = "mid" if asked.budget == "auto" else asked.budget
    scope = (who.tenant_id, tuple(references), asked.branch)
    text = query_text(asked.query, recall.speakers.known(scope, asked.query))
    vector = recall.embedder.embed([text])[0]
    with recall.database.transaction(who.tenant_id, read_only=True) as tx:
        views = [
            cubes.view_for_query(tx, reference, asked.branch, asked.at, features.terms, asked.query)
            for reference in dict.fromkeys(references)
        ]
        for view, _ in views:
            who.reach(view.cube.id)
        named = named_speakers(asked.query, {name for _, about in views for name in about.speakers})
        if (exact := query_text(asked.query, named)) != text:
            vector = recall.embedder.embed([exact])[0]
        pool: list[Candidate] = []
        rows: dict[int, tuple[Found, UUID]] = {}
        corpora: list[Corpus] = []
        for view, about in views:
            request = search.Request(
                embedding=vector,
                terms=features.terms,
                documents=about.documents,
                names=name_terms(named),
                depth=DEPTHS[budget],
                as_of=asked.as_of or moment,
                kinds=kinds,
                filter=tree,
            )
            found, corpus = search.candidates(tx, view, request)
            corpora.append(corpus)
            pool += [_candidate(row, features, view.cube.id) for row in found]
            rows |= {row.version_id: (row, view.cube.id) for row in found}
    recall.speakers.learn(scope, asked.query, named)
    hits = [
        _hit(*rows[ranked.version_id], ranked, explain=asked.explain)
        for ranked in rank(features, pool, _statistics(corpora), LEARNED, asked.limit)
    ]
    if asked.at is None and asked.as_of is None:
        for hit in hits:
            recall.counts.count(who.tenant_id, hit.cube, hit.memory_id, moment)
    whole = all(search.exhaustive(view) for view, _ in views)
    return SearchAnswer(
        items=hits,
        route=_route(kinds, budget, whole=whole, past=asked.at is not None),
        trace_id=uuid_utils.uuid7(),
        took_ms=round((time.perf_counter() - started) * 1_000, 3),
        revisions={str(view.cube.id): view.at for view, _ in views},
    )


def _statistics(corpora: Sequence[Corpus]) -> Statistics:
    """Several cubes weigh terms as one corpus, so that their candidates can be compared."""
    documents = sum(c.documents for c in corpora)
    length = sum(c.mean_length * c.documents for c in corpora)
    held: dict[str, int] = {}
    for corpus in corpora:
        for term, n in corpus.document_frequency.items():
            held[term] = held.get(term, 0) + n
    return Statistics(documents, length / documents if documents else 0.0, held)


def _kinds(granularity: str | Sequence[str]) -> list[str] | None:
    """None for `auto`: every kind takes part."""
    if granularity == "auto":
        return None
    names = [granularity] if isinstance(granularity, str) else list(granularity)
    known = [k.value for k in Kind]
    for name in names:
        if name not in known:
            raise Invalid(
                f"unknown granularity {name!r}; known: auto, {', '.join(known)}", where=["body", "granularity"]
            )
    return names


def _candidate(row: Found, features: QueryFeatures, cube_id: UUID) -> Candidate:
    return Candidate(
        version_id=row.version_id,
        kind=row.kind,
        # Sessions of two cubes may share an id and nothing else.
        session_id=None if row.session_id is None else f"{cube_id}/{row.session_id}",
        ordinal=row.ordinal,
        speaker=row.name,
        role=row.role,
        asks=asks(row.text),
        created_at=row.created_at,
        dense=row.dense,
        context_dense=None,
        terms={term: n for term, n in zip(features.terms, row.counts, strict=True) if n},
        length=row.length,
        state=row.state,
        trust=row.trust,
    )


def _hit(row: Found, cube_id: UUID, ranked: Ranked, *, explain: bool) -> Hit:
    return Hit(
        memory_id=row.memory_id,
        version=row.version,
        kind=row.kind,
        content=row.text,
        score=ranked.score,
        state=row.state,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        source=HitSource(row.session_id, row.external_id, row.created_at, row.role, row.name, row.title),
        sources=row.sources,
        cube=cube_id,
        tags=row.tags,
        metadata=json.loads(row.metadata_json),
        why=_why(row, ranked) if explain else None,
    )


def _why(row: Found, ranked: Ranked) -> dict[str, float]:
    """What each channel added to the score, and the raw similarity it came from."""
    return ranked.channels if row.dense is None else ranked.channels | {"cosine": row.dense}


def _route(kinds: list[str] | None, budget: str, *, whole: bool, past: bool) -> RouteView:
    granularities = kinds or ["turn", "passage", "fact"]
    if past:
        reason = "a past state was asked for: its versions were scanned exactly"
    elif whole:
        reason = "the cube is small: every memory was scored"
    else:
        reason = f"the nearest {DEPTHS[budget].per_channel} of each channel and what stands around them were scored"
    return RouteView(granularities, ["dense", "lexical"], budget, reason, 1.0 if whole else 0.8)
