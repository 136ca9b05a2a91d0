"""Candidates for a query from one snapshot: near in meaning, sharing rare words, and what stands around those.

The present is answered by its own indexes (see `present`); the past, and branches that inherit, by scanning the versions
a view shows. Both give the same columns, so whoever ranks them need not know which it was. What is shown in the end is
read by `spell_out`: a few wide rows instead of hundreds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pgvector import HalfVector

from memos.rules import lexical
from memos.rules.filters import mentions
from memos.rules.pool import Pool
from memos.store.columns import COLUMNS, pool_of
from memos.store.cubes import View
from memos.store.memories import SHOWN, visible
from memos.store.request import Corpus, Depth, Request, condition_of, counts
from memos.store.search_past import of_past
from memos.store.sides import sides_of
from memos.store.transaction import Transaction

__all__ = ["Corpus", "Depth", "Request", "candidates", "document_frequencies", "exhaustive", "narrows", "terms_of"]


def narrows(view: View, request: Request) -> bool:
    """Whether lists help to find what a filter lets through: they are of the present, which a named state may not be, and of
    no use where all is read anyway."""
    in_present = view.present and not mentions(request.filter, "state")
    return request.filter is not None and in_present and not exhaustive(view, request)


def exhaustive(view: View, request: Request) -> bool:
    """Whether every memory that fits is a candidate: so few are read whole, which takes no longer than choosing some."""
    if request.narrowed.members is not None:
        return True
    return view.present and _searched(view, request)[0] <= request.depth.whole


def _searched(view: View, request: Request) -> tuple[int, int]:
    """(memories, terms in them) that weigh the terms of a query."""
    branch = view.branch
    if request.counts_folded:
        return branch.live_count, branch.term_total
    return branch.live_count - branch.folded_count, branch.term_total - branch.folded_terms


def document_frequencies(tx: Transaction, view: View, terms: Sequence[str]) -> dict[str, int]:
    """How many unfolded memories of a view hold each term (in a past state: memories); what none holds is left out."""
    bound: dict[str, object] = {"branch": view.branch.id}
    statement = _HELD_NOW
    if not view.present:
        source, bound = visible(view)
        statement = _HELD_THEN.format(visible=source, shown=SHOWN)
    rows = tx.tuples(statement, terms=list(terms), **bound)
    return {term: documents for term, documents in rows if documents > 0}


_HELD_NOW = """
SELECT term, documents FROM terms WHERE tenant_id = :tenant AND branch_id = :branch AND NOT folded AND term = ANY(:terms)
"""
_HELD_THEN = """
SELECT t.term, count(*) FROM {visible} v JOIN contents c ON c.tenant_id = :tenant AND c.id = v.content_id
CROSS JOIN LATERAL unnest(c.terms) AS t (term)
WHERE {shown} AND c.terms && CAST(:terms AS text[]) AND t.term = ANY(CAST(:terms AS text[])) GROUP BY t.term
"""


def terms_of(tx: Transaction, version_ids: Sequence[int]) -> list[dict[str, int]]:
    """The terms of some versions with how often each occurs, a mapping for each version, in no order."""
    rows = tx.tuples(_TERMS_OF, versions=list(version_ids))
    return [dict(zip(terms, counts, strict=True)) for terms, counts in rows]


_TERMS_OF = """
SELECT c.terms, c.counts FROM memory_versions v JOIN contents c ON c.tenant_id = :tenant AND c.id = v.content_id
WHERE v.tenant_id = :tenant AND v.id = ANY(:versions)
"""


def candidates(tx: Transaction, view: View, request: Request) -> tuple[Pool, Corpus]:
    """Candidates of a view, unordered, and the statistics to weigh their terms with. One round trip."""
    condition, parameters = condition_of(request)
    parameters |= {
        "query": HalfVector(request.embedding),
        "most": request.depth.per_channel,
        "around": request.depth.neighbours,
        "rim": request.depth.rim,
        "beside": list(request.beside),
        "named": sorted(request.named),
        "role": request.role,
    }
    if not view.present or mentions(request.filter, "state"):
        whole = view.branch.live_count <= request.depth.whole
        return of_past(tx, view, request, condition, parameters, whole=whole)
    documents, terms = _searched(view, request)
    corpus = Corpus(documents, terms / max(documents, 1), request.documents)
    columns = tx.columns(_statement(view, request, condition, parameters), branch=view.branch.id, **parameters)
    return pool_of(columns, len(request.terms)), corpus


def _statement(view: View, request: Request, condition: str, parameters: dict[str, object]) -> str:
    sides = sides_of(request, condition, parameters)
    folded = "" if True in sides.in_channels else "AND NOT h.folded"
    last = f"{sides.at_last} {folded}"
    columns = COLUMNS.format(counts=counts(request.terms, parameters))
    if request.only is not None or exhaustive(view, request):
        for unused in ("most", "around", "rim"):
            parameters.pop(unused)
        if request.only is not None:
            parameters["only"] = list(request.only)
            last += " AND h.version_id = ANY(:only)"
        elif request.narrowed.members is not None:
            return _EVERYTHING.format(
                columns=columns, heads=_MEMBERS.format(members=request.narrowed.members), last=last
            )
        return _EVERYTHING.format(columns=columns, heads=_HEADS, last=last)
    weights = [_weight(request, term, _searched(view, request)[0]) for term in request.terms]
    parameters |= {"terms": list(request.terms), "weights": weights, "postings": request.depth.postings}
    return _BOUNDED.format(
        near=" UNION ALL ".join(
            _near(indexed, side, condition, few=sides.few)
            for indexed in (True, False)
            for side, condition in sides.in_channels.items()
        ),
        said=" UNION ALL ".join(
            _SAID.format(
                side=str(side).lower(),
                checked="" if side and sides.few else posted,
                after=f"WHERE true {posted}" if side and sides.few else "",
            )
            for side, posted in sides.posted.items()
        ),
        around=_AROUND if request.depth.neighbours else "",
        columns=columns,
        last=last,
    )


def _near(indexed: bool, side: bool, condition: str, *, few: bool) -> str:
    which = f"{'' if indexed else 'NOT '}h.indexed AND {_SIDE[side]}"
    return (_NEAR_FEW if side and few else _NEAR).format(which=which, condition=condition)


def _weight(request: Request, term: str, documents: int) -> float:
    return 0.0 if term in request.names else lexical.idf(request.documents.get(term, 0), documents)


_SIDE: Final = {False: "NOT h.folded", True: "h.folded"}
_HEADS: Final = "(SELECT * FROM heads m WHERE m.tenant_id = :tenant AND m.branch_id = :branch) h"
_MEMBERS: Final = """({members}) n CROSS JOIN LATERAL (SELECT * FROM heads m
    WHERE m.tenant_id = :tenant AND m.branch_id = :branch AND m.version_id = n.version_id LIMIT 1) h"""
_EVERYTHING = """
SELECT {columns} FROM {heads} WHERE {last}
"""

# The vector graphs hold only rows a job has moved in; younger rows are few and scanned exactly. Filters stand inside the
# ordered scans, which go on until they have enough (iterative scan), so a filter cannot empty the answer.
_NEAR = """(SELECT h.version_id, h.embedding <=> :query AS distance FROM heads h
    WHERE h.tenant_id = :tenant AND h.branch_id = :branch AND {which} AND {condition}
    ORDER BY h.embedding <=> :query LIMIT :most)"""
_NEAR_FEW = """(SELECT h.version_id, h.distance FROM (SELECT h.*, h.embedding <=> :query AS distance FROM heads h
    WHERE h.tenant_id = :tenant AND h.branch_id = :branch AND {which}
    ORDER BY h.embedding <=> :query LIMIT 2 * :most) h WHERE {condition} ORDER BY h.distance LIMIT :most)"""
_SAID = """SELECT p.version_id, p.impact * t.weight AS share
    FROM unnest(CAST(:terms AS text[]), CAST(:weights AS real[])) AS t (term, weight)
    CROSS JOIN LATERAL (
        SELECT p.version_id, p.impact FROM postings p
        WHERE p.tenant_id = :tenant AND p.branch_id = :branch AND p.folded = {side} AND p.term = t.term
            AND t.weight > 0 {checked}
        ORDER BY p.impact DESC LIMIT :postings) p {after}"""
_AROUND = """
    UNION
    SELECT n.version_id FROM (
        (SELECT version_id FROM near ORDER BY distance LIMIT :rim)
        UNION (SELECT version_id FROM said ORDER BY share DESC, version_id LIMIT :rim)) best
    CROSS JOIN LATERAL (SELECT o.session_id, o.ordinal FROM heads o
        WHERE o.tenant_id = :tenant AND o.branch_id = :branch AND o.version_id = best.version_id LIMIT 1) o
    CROSS JOIN LATERAL (SELECT h.version_id FROM heads h
        WHERE h.tenant_id = :tenant AND h.branch_id = :branch AND NOT h.folded AND h.session_id = o.session_id
            AND h.ordinal BETWEEN o.ordinal - :around AND o.ordinal + :around
        LIMIT 8) n"""

# Postings know nothing of validity, so the condition is asked of whatever is given out. The laterals with a limit say what
# the planner cannot know: a few hundred rows, each fetched by its key.
_BOUNDED = """
WITH near AS MATERIALIZED ({near}),
said AS MATERIALIZED (
    SELECT version_id, sum(share) AS share FROM ({said}) p GROUP BY version_id ORDER BY share DESC, version_id LIMIT :most),
hits AS MATERIALIZED (SELECT version_id FROM near UNION SELECT version_id FROM said),
pool AS MATERIALIZED (SELECT version_id FROM hits {around})
SELECT {columns} FROM pool
CROSS JOIN LATERAL (SELECT * FROM heads m
    WHERE m.tenant_id = :tenant AND m.branch_id = :branch AND m.version_id = pool.version_id LIMIT 1) h
WHERE {last}
"""
