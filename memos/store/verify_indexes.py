"""Reading back the indexes of the present, for `memos doctor`, and making them anew: all that is in them can be derived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memos.store import cubes, folds, present
from memos.store.cubes import Branch
from memos.store.facets import FACETS
from memos.store.transaction import Transaction

_REBUILD_BATCH = 1_000  # version ids per statement: a second or so each, far from any timeout


@dataclass(frozen=True, slots=True)
class IndexFaults:
    """Rows of a branch's indexes that are missing, left over or different from what the versions ask for.

    `undescribed` memories are on no list for filters yet, which is slow and no fault."""

    vectors: int
    postings: int
    terms: int
    speakers: int
    facets: int
    undescribed: int
    totals: bool

    def __bool__(self) -> bool:
        return bool(self.vectors or self.postings or self.terms or self.speakers or self.facets or self.totals)


# A branch that inherits, and one that was deleted, have no indexes: nothing is wanted there.
_WANTED = f"""
WITH live AS MATERIALIZED (
    SELECT v.id, v.cube_id, v.memory_id, v.version, v.origin, v.kind, v.state, v.session_id, v.ordinal, v.name, v.role, v.trust,
        v.valid_from, v.valid_to, v.expires_at, v.created_at, {FACETS} AS facets,
        c.embedding, c.asks, c.label, c.terms, c.counts, c.length
    FROM memory_versions v JOIN contents c ON c.tenant_id = v.tenant_id AND c.id = v.content_id
    WHERE v.tenant_id = :tenant AND v.branch_id = :branch AND v.to_revision IS NULL AND NOT v.tombstone
        AND v.erased_at IS NULL AND NOT v.quarantined AND v.state = ANY(:recallable)
        AND EXISTS (SELECT 1 FROM branches b WHERE b.tenant_id = :tenant
            AND b.id = :branch AND b.base_branch_id IS NULL AND b.deleted_at IS NULL)),
wanted AS MATERIALIZED (
    SELECT l.*, l.origin <> 'direct' AND EXISTS (SELECT 1 FROM memory_sources s JOIN live o ON o.memory_id = s.source_memory_id
        WHERE s.tenant_id = :tenant AND s.cube_id = l.cube_id AND s.memory_id = l.memory_id AND s.version = l.version) AS folded
    FROM live l)
"""
_RANKED = (
    "folded", "kind", "session_id", "ordinal", "name", "role", "trust", "valid_from", "valid_to", "expires_at",
    "asks", "label", "length", "terms", "counts",
)  # fmt: skip


def _of(row: str) -> str:
    return ", ".join(f"{row}.{column}" for column in _RANKED)


_VECTORS = f"""
SELECT count(*) FROM wanted w
FULL JOIN (SELECT * FROM heads WHERE tenant_id = :tenant AND branch_id = :branch) h ON h.version_id = w.id
WHERE w.id IS NULL OR h.version_id IS NULL OR h.memory_id <> w.memory_id OR h.embedding <> w.embedding
    OR ROW({_of("h")}) IS DISTINCT FROM ROW({_of("w")})
    OR h.created_at IS NOT NULL AND ROW(h.created_at, h.facets) IS DISTINCT FROM ROW(w.created_at, w.facets)
"""
_POSTINGS = f"""
SELECT count(*) FROM (
    SELECT t.term, {folds.IMPACT} AS impact, c.id, c.folded FROM wanted c, unnest(c.terms, c.counts) AS t (term, n)) w
FULL JOIN (SELECT term, impact, version_id, folded FROM postings WHERE tenant_id = :tenant AND branch_id = :branch) p
    ON p.version_id = w.id AND p.term = w.term AND p.impact = w.impact AND p.folded = w.folded
WHERE w.id IS NULL OR p.version_id IS NULL
"""
_TERMS = """
SELECT count(*) FROM (
    SELECT w.folded, t.term, count(*) AS n FROM wanted w, unnest(w.terms) AS t (term) GROUP BY w.folded, t.term) w
FULL JOIN (SELECT folded, term, documents FROM terms WHERE tenant_id = :tenant AND branch_id = :branch AND documents > 0) s
    ON s.term = w.term AND s.folded = w.folded
WHERE w.n IS DISTINCT FROM s.documents
"""
_SPEAKERS = """
SELECT count(*) FROM (SELECT name, count(*) AS n FROM wanted WHERE name IS NOT NULL GROUP BY name) w
FULL JOIN (SELECT name, memories FROM speakers WHERE tenant_id = :tenant AND branch_id = :branch AND memories > 0) s
    ON s.name = w.name
WHERE w.n IS DISTINCT FROM s.memories
"""
_FACETS = """
SELECT count(*) FROM (SELECT f.facet, w.id FROM wanted w JOIN heads h ON h.tenant_id = :tenant AND h.branch_id = :branch
    AND h.version_id = w.id AND h.created_at IS NOT NULL CROSS JOIN LATERAL unnest(w.facets) AS f (facet)) w
FULL JOIN (SELECT facet, version_id FROM facets WHERE tenant_id = :tenant AND branch_id = :branch) f
    ON f.version_id = w.id AND f.facet = w.facet
WHERE w.id IS NULL OR f.version_id IS NULL
"""
_UNDESCRIBED = """
SELECT count(*) FROM heads WHERE tenant_id = :tenant AND branch_id = :branch AND facets IS NULL AND created_at IS NULL
"""
_TOTALS = """
SELECT ROW(b.live_count, b.term_total, b.folded_count, b.folded_terms) IS DISTINCT FROM (
    SELECT ROW(count(*)::integer, coalesce(sum(length), 0)::bigint, (count(*) FILTER (WHERE folded))::integer,
        coalesce(sum(length) FILTER (WHERE folded), 0)::bigint) FROM wanted)
FROM branches b WHERE b.tenant_id = :tenant AND b.id = :branch AND b.base_branch_id IS NULL AND b.deleted_at IS NULL
"""


def index_faults(tx: Transaction, branch_id: int) -> IndexFaults:
    """Compare the indexes of a branch with its versions, both ways."""

    def count(query: str) -> Any:
        return tx.scalar(_WANTED + query, branch=branch_id, recallable=sorted(present.RECALLABLE))

    return IndexFaults(
        vectors=int(count(_VECTORS)),
        postings=int(count(_POSTINGS)),
        terms=int(count(_TERMS)),
        speakers=int(count(_SPEAKERS)),
        facets=int(count(_FACETS)),
        undescribed=int(count(_UNDESCRIBED)),
        totals=bool(count(_TOTALS)),
    )


def rebuild(tx: Transaction, branch: Branch) -> int:
    """Make the indexes of a branch anew from its versions; how many memories they hold. Writers of the cube wait."""
    cubes.find(tx, str(branch.cube_id), lock=True)
    for table in ("heads", "postings", "terms", "speakers", "facets"):
        tx.run(f"DELETE FROM {table} WHERE tenant_id = :tenant AND branch_id = :branch", branch=branch.id)
    tx.run(
        "UPDATE branches SET live_count = 0, term_total = 0, folded_count = 0, folded_terms = 0 "
        "WHERE tenant_id = :tenant AND id = :branch",
        branch=branch.id,
    )
    rows = tx.rows(
        _WANTED + "SELECT id FROM wanted ORDER BY id", branch=branch.id, recallable=sorted(present.RECALLABLE)
    )
    head = tx.scalar("SELECT head_revision FROM branches WHERE tenant_id = :tenant AND id = :branch", branch=branch.id)
    ids = [int(row["id"]) for row in rows]
    for start in range(0, len(ids), _REBUILD_BATCH):
        present.apply(tx, branch, int(head), leave=(), enter=ids[start : start + _REBUILD_BATCH])
    tx.run(_SHELVED, cube=branch.cube_id)
    return len(ids)


# Which texts stand in the archive's vector graph.
_SHELVED = """
UPDATE contents c SET archived = NOT c.archived WHERE c.tenant_id = :tenant AND c.cube_id = :cube
    AND c.embedding IS NOT NULL AND c.archived <> EXISTS (SELECT 1 FROM memory_versions v WHERE v.tenant_id = :tenant
        AND v.content_id = c.id AND v.to_revision IS NULL AND v.state = 'archived' AND NOT v.tombstone)
"""
