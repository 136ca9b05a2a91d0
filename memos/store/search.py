"""Candidates for a query from one snapshot: near in meaning, sharing rare words, and what stands around those.

The present is answered by its own indexes (see `present`); the past, and branches that inherit, by scanning the versions
a view shows. Both give the same rows, so whoever ranks them need not know which it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
from pgvector import HalfVector

from memos.rules import lexical
from memos.rules.filters import Filter, mentions
from memos.store.cubes import View
from memos.store.engine import Transaction
from memos.store.filters import compile_filter
from memos.store.memories import SHOWN, visible

# A cube this small is read whole: no candidate can be missed, and it takes no longer than choosing some.
EXHAUSTIVE_MEMORIES = 1_000


@dataclass(frozen=True, slots=True)
class Depth:
    """How far to look: rows per channel, postings read per term, neighbours on each side of a hit, and up to how many
    memories a branch is read whole."""

    per_channel: int
    postings: int
    neighbours: int
    whole: int = EXHAUSTIVE_MEMORIES


@dataclass(frozen=True, slots=True)
class Request:
    """A query as the store needs it. `embedding` is float32 of the embedder's width; `kinds` of None means all.

    `names` are the terms that name a speaker: they say who spoke, and must not fill the lexical channel with greetings.
    `only` asks for these memories and what stands around them, as far as they fulfil all the rest.
    """

    embedding: np.ndarray
    terms: Sequence[str]
    documents: Mapping[str, int]
    names: frozenset[str]
    depth: Depth
    as_of: datetime
    kinds: Sequence[str] | None = None
    filter: Filter | None = None
    only: Sequence[UUID] | None = None


@dataclass(slots=True)
class Found:
    """A candidate with everything ranking and answering need, in the order of `_SELECT`. Cosines are with the query.

    Not frozen: a frozen dataclass costs three times as much to make, and one query makes hundreds.
    """

    version_id: int
    memory_id: UUID
    version: int
    kind: str
    state: str
    text: str
    dense: float | None
    counts: Sequence[int]
    length: int
    tokens: int
    external_id: str | None
    session_id: str | None
    ordinal: int | None
    role: str | None
    name: str | None
    title: str | None
    created_at: datetime
    valid_from: datetime | None
    valid_to: datetime | None
    priority: float
    sensitivity: str
    trust: float
    tags: list[str]
    metadata_json: str
    recalls: int
    last_recalled_at: datetime | None
    stability_days: float | None
    sources: list[UUID]


@dataclass(frozen=True, slots=True)
class Corpus:
    """What term weights are relative to: memories searched, the mean number of terms in one, and holders of each term."""

    documents: int
    mean_length: float
    document_frequency: Mapping[str, int]


def _counts(terms: Sequence[str], parameters: dict[str, object]) -> str:
    """SQL for how often each term stands in a text, in order. Spelled out: a subquery per row costs five times as much."""
    parameters |= {f"t{i}": term for i, term in enumerate(terms)}
    each = (f"coalesce(c.counts[array_position(c.terms, CAST(:t{i} AS text))], 0)" for i in range(len(terms)))
    return f"CAST(ARRAY[{', '.join(each)}] AS integer[])"


def exhaustive(view: View, depth: Depth) -> bool:
    return view.present and view.branch.live_count <= depth.whole


def document_frequencies(tx: Transaction, view: View, terms: Sequence[str]) -> dict[str, int]:
    """How many memories of a view hold each term; terms that none holds are left out."""
    bound: dict[str, object] = {"branch": view.branch.id}
    statement = _HELD_NOW
    if not view.present:
        source, bound = visible(view)
        statement = _HELD_THEN.format(visible=source, shown=SHOWN)
    rows = tx.tuples(statement, terms=list(terms), **bound)
    return {term: documents for term, documents in rows if documents > 0}


_HELD_NOW = "SELECT term, documents FROM terms WHERE tenant_id = :tenant AND branch_id = :branch AND term = ANY(:terms)"
_HELD_THEN = """
SELECT t.term, count(*) FROM {visible} v JOIN contents c ON c.tenant_id = :tenant AND c.id = v.content_id
CROSS JOIN LATERAL unnest(c.terms) AS t (term)
WHERE {shown} AND c.terms && CAST(:terms AS text[]) AND t.term = ANY(CAST(:terms AS text[])) GROUP BY t.term
"""


def candidates(tx: Transaction, view: View, request: Request) -> tuple[list[Found], Corpus]:
    """Candidates of a view, unordered, and the statistics to weigh their terms with. One round trip."""
    condition, parameters = _condition(request)
    parameters |= {
        "query": HalfVector(request.embedding),
        "terms": list(request.terms),
        "most": request.depth.per_channel,
        "postings": request.depth.postings,
        "around": request.depth.neighbours,
    }
    if request.only is not None:
        parameters["only"] = list(request.only)
    parts = {"condition": condition, "counts": _counts(request.terms, parameters)}
    archived = mentions(request.filter, "state")
    if view.present and not archived:
        return _of_present(tx, view, request, parts, parameters)
    return _of_past(tx, view, request, parts, parameters)


def _condition(request: Request) -> tuple[str, dict[str, object]]:
    """What every candidate must fulfil, whatever channel found it."""
    condition, parameters = compile_filter(request.filter)
    parts = [
        condition,
        "(v.valid_from IS NULL OR v.valid_from <= :as_of)",
        "(v.valid_to IS NULL OR v.valid_to > :as_of)",
        "(v.expires_at IS NULL OR v.expires_at > :as_of)",
    ]
    parameters["as_of"] = request.as_of
    if request.kinds is not None:
        parts.append("v.kind = ANY(:kinds)")
        parameters["kinds"] = list(request.kinds)
    if not mentions(request.filter, "state"):
        parts.append("v.state IN ('generated', 'activated', 'frozen')")
    return " AND ".join(parts), parameters


_SELECT = """
SELECT v.id AS version_id, v.memory_id, v.version, v.kind, v.state, c.text,
       1 - (c.embedding <=> :query) AS dense,
       {counts} AS counts,
       c.length, c.tokens, v.external_id, v.session_id, v.ordinal, v.role, v.name, v.title, v.created_at,
       v.valid_from, v.valid_to, v.priority, v.sensitivity, v.trust, v.tags, CAST(v.metadata AS text),
       coalesce(u.recalls, 0) AS recalls, u.last_recalled_at, u.stability_days,
       CASE WHEN v.origin = 'direct' THEN '{{}}' ELSE ARRAY(
           SELECT DISTINCT s.source_memory_id FROM memory_sources s WHERE s.tenant_id = v.tenant_id
           AND s.cube_id = v.cube_id AND s.memory_id = v.memory_id AND s.version = v.version) END AS sources
"""
_WITH_CONTENT = """
JOIN contents c ON c.tenant_id = v.tenant_id AND c.id = v.content_id
LEFT JOIN usage u ON u.tenant_id = v.tenant_id AND u.cube_id = v.cube_id AND u.memory_id = v.memory_id
"""

_EVERYTHING = (
    _SELECT
    + "FROM memory_versions v "
    + _WITH_CONTENT
    + "WHERE v.tenant_id = :tenant AND v.branch_id = :branch AND v.to_revision IS NULL AND "
    + SHOWN
    + " AND {condition}"
)

_AROUND = (
    """pool AS MATERIALIZED (
    SELECT version_id FROM hits
    UNION
    SELECT n.id FROM hits
    CROSS JOIN LATERAL (SELECT o.session_id, o.ordinal FROM memory_versions o
        WHERE o.tenant_id = :tenant AND o.id = hits.version_id LIMIT 1) o
    CROSS JOIN LATERAL (SELECT v.id FROM memory_versions v
        WHERE v.tenant_id = :tenant AND v.branch_id = :branch AND v.to_revision IS NULL
            AND v.session_id = o.session_id AND v.ordinal BETWEEN o.ordinal - :around AND o.ordinal + :around
            AND NOT v.tombstone AND v.erased_at IS NULL AND {condition}
        ORDER BY v.ordinal LIMIT 8) n
    WHERE :around > 0)
"""
    + _SELECT
    + """FROM pool
CROSS JOIN LATERAL (SELECT * FROM memory_versions m WHERE m.tenant_id = :tenant AND m.id = pool.version_id LIMIT 1) v
CROSS JOIN LATERAL (SELECT * FROM contents t WHERE t.tenant_id = :tenant AND t.id = v.content_id LIMIT 1) c
LEFT JOIN LATERAL (SELECT * FROM usage w WHERE w.tenant_id = :tenant AND w.cube_id = v.cube_id
    AND w.memory_id = v.memory_id LIMIT 1) u ON true
WHERE {condition}
"""
)

# The vector graph holds only rows a job has moved in; younger rows are few and scanned exactly. Filters stand inside the
# ordered scans, which go on until they have enough (iterative scan), so a filter cannot empty the answer. The laterals
# with a limit say what the planner cannot know: a few hundred rows, each fetched by its key. Postings know nothing of
# validity, so the condition is asked once more of whatever is given out.
_BOUNDED = (
    """
WITH near AS MATERIALIZED (
    (SELECT h.version_id FROM heads h JOIN memory_versions v ON v.tenant_id = :tenant AND v.id = h.version_id
     WHERE h.tenant_id = :tenant AND h.branch_id = :branch AND h.indexed AND {condition}
     ORDER BY h.embedding <=> :query LIMIT :most)
    UNION ALL
    (SELECT h.version_id FROM heads h JOIN memory_versions v ON v.tenant_id = :tenant AND v.id = h.version_id
     WHERE h.tenant_id = :tenant AND h.branch_id = :branch AND NOT h.indexed AND {condition}
     ORDER BY h.embedding <=> :query LIMIT :most)),
said AS MATERIALIZED (
    SELECT p.version_id FROM unnest(CAST(:terms AS text[]), CAST(:weights AS real[])) AS t (term, weight)
    CROSS JOIN LATERAL (
        SELECT p.version_id, p.impact FROM postings p {posting_filter}
        WHERE p.tenant_id = :tenant AND p.branch_id = :branch AND p.term = t.term AND t.weight > 0 {posting_condition}
        ORDER BY p.impact DESC LIMIT :postings) p
    GROUP BY p.version_id ORDER BY sum(p.impact * t.weight) DESC, p.version_id LIMIT :most),
hits AS MATERIALIZED (SELECT version_id FROM near UNION SELECT version_id FROM said),
"""
    + _AROUND
)
_NAMED = (
    """
WITH hits AS MATERIALIZED (
    SELECT v.id AS version_id FROM memory_versions v WHERE v.tenant_id = :tenant AND v.branch_id = :branch
    AND v.to_revision IS NULL AND v.memory_id = ANY(:only) AND NOT v.tombstone AND v.erased_at IS NULL AND {condition}),
"""
    + _AROUND
)


def _of_present(
    tx: Transaction, view: View, request: Request, parts: dict[str, str], parameters: dict[str, object]
) -> tuple[list[Found], Corpus]:
    branch = view.branch
    corpus = Corpus(branch.live_count, branch.term_total / max(branch.live_count, 1), request.documents)
    if request.only is not None:
        statement = _NAMED.format(**parts)
    elif exhaustive(view, request.depth):
        statement = _EVERYTHING.format(**parts)
    else:
        filtered = request.filter is not None or request.kinds is not None
        statement = _BOUNDED.format(
            **parts,
            posting_filter="JOIN memory_versions v ON v.tenant_id = :tenant AND v.id = p.version_id"
            if filtered
            else "",
            posting_condition=f"AND {parts['condition']}" if filtered else "",
        )
        parameters["weights"] = [_weight(request, t, branch.live_count) for t in request.terms]
    return [Found(*row) for row in tx.tuples(statement, branch=branch.id, **parameters)], corpus


def _weight(request: Request, term: str, documents: int) -> float:
    return 0.0 if term in request.names else lexical.idf(request.documents.get(term, 0), documents)


_PAST = (
    """
WITH seen AS MATERIALIZED (
    SELECT v.* FROM {visible} v WHERE {shown}),
passing AS MATERIALIZED (SELECT v.* FROM seen v WHERE {condition}),
matched AS MATERIALIZED (
    SELECT v.id, t.term, t.n, c.length FROM seen v
    JOIN contents c ON c.tenant_id = :tenant AND c.id = v.content_id
    CROSS JOIN LATERAL unnest(c.terms, c.counts) AS t (term, n)
    WHERE c.terms && CAST(:terms AS text[]) AND t.term = ANY(CAST(:terms AS text[]))),
total AS MATERIALIZED (
    SELECT count(*) AS documents, coalesce(avg(c.length), 0) AS mean_length FROM seen v
    JOIN contents c ON c.tenant_id = :tenant AND c.id = v.content_id),
held AS MATERIALIZED (SELECT term, count(*) AS documents FROM matched GROUP BY term),
near AS MATERIALIZED (
    SELECT v.id FROM passing v JOIN contents c ON c.tenant_id = :tenant AND c.id = v.content_id
    ORDER BY c.embedding <=> :query LIMIT :most),
said AS MATERIALIZED (
    SELECT m.id FROM matched m JOIN passing v ON v.id = m.id JOIN held h ON h.term = m.term CROSS JOIN total
    WHERE m.term <> ALL(CAST(:names AS text[]))
    GROUP BY m.id
    ORDER BY sum(ln(1 + (total.documents - h.documents + 0.5) / (h.documents + 0.5))
        * m.n * 2.2 / (m.n + 1.2 * (0.5 + 0.5 * m.length / greatest(total.mean_length, 1)))) DESC, m.id
    LIMIT :most),
hits AS MATERIALIZED (SELECT id FROM near UNION SELECT id FROM said),
pool AS (
    SELECT id FROM hits
    UNION
    SELECT v.id FROM hits JOIN seen o ON o.id = hits.id JOIN passing v ON v.session_id = o.session_id
        AND v.ordinal BETWEEN o.ordinal - :around AND o.ordinal + :around
    WHERE :around > 0)
"""
    + _SELECT
    + """, (SELECT documents FROM total) AS total_documents, (SELECT mean_length FROM total) AS mean_length,
       (SELECT jsonb_object_agg(term, documents) FROM held) AS held
FROM pool JOIN memory_versions v ON v.tenant_id = :tenant AND v.id = pool.id
"""
    + _WITH_CONTENT
)


def _of_past(
    tx: Transaction, view: View, request: Request, parts: dict[str, str], parameters: dict[str, object]
) -> tuple[list[Found], Corpus]:
    source, bound = visible(view)
    if request.only is not None:
        parts["condition"] += " AND v.memory_id = ANY(:only)"
    statement = _PAST.format(visible=source, shown=SHOWN, **parts)
    parameters.pop("postings")
    if request.only is not None or view.branch.live_count <= request.depth.whole:
        # What the present would read whole is read whole in the past too, so that an answer can be repeated.
        parameters["most"] = max(request.depth.whole, len(request.only or ()))
    parameters["names"] = sorted(request.names)
    rows = tx.tuples(statement, **parameters, **bound)
    if not rows:
        return [], Corpus(0, 0.0, {})
    *_, documents, mean_length, held = rows[0]
    return [Found(*row[:-3]) for row in rows], Corpus(documents, float(mean_length), held or {})
