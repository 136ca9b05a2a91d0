"""Candidates of a past state, or of a branch that inherits: by scanning the versions a view shows, exactly."""

from __future__ import annotations

import json

from memos.rules.filters import mentions
from memos.rules.narrowing import few, necessary
from memos.rules.pool import Pool
from memos.store.columns import COLUMNS, pool_of
from memos.store.cubes import View
from memos.store.filters import compile_filter
from memos.store.memories import SHOWN, visible
from memos.store.request import Corpus, Request, counts
from memos.store.transaction import Transaction

_RECALLABLE = "v.state IN ('generated', 'activated', 'frozen')"
_FOLDED_BY = """EXISTS (SELECT 1 FROM memory_sources s JOIN {among} o ON o.memory_id = s.source_memory_id
        WHERE s.tenant_id = :tenant AND s.cube_id = {row}.cube_id AND s.memory_id = {row}.memory_id
        AND s.version = {row}.version)"""

_PAST = (
    """
WITH shown AS MATERIALIZED (SELECT v.* FROM {visible} v WHERE {shown}),
recallable AS MATERIALIZED (SELECT v.memory_id FROM shown v WHERE {recallable}),
seen AS MATERIALIZED (
    SELECT v.*, c.embedding, c.asks, c.terms, c.counts, c.length, v.origin <> 'direct' AND """
    + _FOLDED_BY.format(row="v", among="recallable")
    + """ AS folded
    FROM shown v JOIN contents c ON c.tenant_id = :tenant AND c.id = v.content_id),
known AS MATERIALIZED (SELECT v.id, v.terms, v.length FROM seen v WHERE {recallable} AND v.folded IN (false, :folded)),
fitting AS MATERIALIZED (SELECT v.* FROM seen v WHERE {condition} AND {filter}),
passing AS MATERIALIZED (SELECT f.* FROM fitting f WHERE {side}),
total AS MATERIALIZED (SELECT count(*) AS documents, coalesce(avg(length), 0) AS mean_length FROM known),
held AS MATERIALIZED (SELECT t.term, count(*) AS documents FROM known CROSS JOIN LATERAL unnest(terms) AS t (term)
    WHERE t.term = ANY(CAST(:terms AS text[])) GROUP BY t.term),
near AS MATERIALIZED (SELECT id FROM passing ORDER BY embedding <=> :query, id
    LIMIT CASE WHEN (SELECT count(*) FROM passing) <= :few THEN :few ELSE :most END),
said AS MATERIALIZED (
    SELECT m.id FROM passing m CROSS JOIN LATERAL unnest(m.terms, m.counts) AS t (term, n)
    JOIN held h ON h.term = t.term CROSS JOIN total
    WHERE t.term <> ALL(CAST(:names AS text[]))
    GROUP BY m.id
    ORDER BY sum(ln(1 + (total.documents - h.documents + 0.5) / (h.documents + 0.5))
        * t.n * 2.2 / (t.n + 1.2 * (0.5 + 0.5 * m.length / greatest(total.mean_length, 1)))) DESC, m.id
    LIMIT :most),
hits AS MATERIALIZED (SELECT id FROM near UNION SELECT id FROM said),
pool AS MATERIALIZED (
    SELECT id FROM hits
    UNION
    SELECT v.id FROM hits JOIN seen o ON o.id = hits.id JOIN passing v ON v.session_id = o.session_id AND NOT v.folded
        AND v.ordinal BETWEEN o.ordinal - :around AND o.ordinal + :around
    WHERE :around > 0)
SELECT {columns}, (SELECT CAST(jsonb_build_object('documents', documents, 'mean_length', mean_length, 'held',
    (SELECT coalesce(jsonb_object_agg(term, documents), '{{}}') FROM held)) AS text) FROM total)
FROM (SELECT passing.*, passing.id AS version_id FROM pool JOIN passing ON passing.id = pool.id) h
"""
)


def of_past(
    tx: Transaction, view: View, request: Request, condition: str, parameters: dict[str, object], *, whole: bool
) -> tuple[Pool, Corpus]:
    """`whole`: what the present would read whole is read whole in the past too, so that an answer can be repeated. So are the
    few that a filter lets through, where the present would have a list of them."""
    source, bound = visible(view)
    compiled, filtering = compile_filter(request.filter)
    each = condition.format(row="v")
    if not mentions(request.filter, "state"):
        each += f" AND {_RECALLABLE}"
    if request.only is not None:
        each += " AND v.id = ANY(:only)"
        parameters["only"] = list(request.only)
    side = "NOT f.folded OR f.kind = ANY(CAST(:beside AS text[]))"
    if request.kinds is not None:
        side = "CAST(:beside AS text[]) IS NOT NULL"
    elif request.filter is not None:
        side += " OR NOT " + _FOLDED_BY.format(row="f", among="fitting")
    parameters |= {
        "terms": list(request.terms),
        "names": sorted(request.names),
        "folded": request.counts_folded,
        "few": few(view.branch.live_count) if necessary(request.filter) else 0,
        "most": max(request.depth.whole, request.depth.per_channel) if whole else request.depth.per_channel,
    }
    statement = _PAST.format(
        visible=source,
        shown=SHOWN,
        recallable=_RECALLABLE,
        condition=each,
        filter=compiled,
        side=side,
        columns=COLUMNS.format(counts=counts(request.terms, parameters)),
    )
    *columns, told = tx.columns(statement, **parameters, **filtering, **bound)
    known = json.loads(told or b"{}")
    corpus = Corpus(known["documents"], float(known["mean_length"]), known["held"])
    return pool_of(columns, len(request.terms)), corpus
