"""The indexes of the present: vectors (`heads`), inverted lists (`postings`), term statistics (`terms`), names
(`speakers`) and lists for filters (`facets`).

They hold one row per recallable memory of a branch and nothing of the past, so a search of today costs the same whether
a memory has one version or a hundred. All of it is derived from `memory_versions` and `contents` and can be rebuilt.

What was derived from memories at hand is folded (see `folds`) and has lists of its own beside those of all others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from memos.store import folds
from memos.store.cubes import Branch
from memos.store.facets import FACETS
from memos.store.folds import IMPACT
from memos.store.memories import Version
from memos.store.transaction import Row, Transaction

RECALLABLE = frozenset({"generated", "activated", "frozen"})


def apply(
    tx: Transaction,
    branch: Branch,
    number: int,
    *,
    leave: Sequence[Version],
    enter: Sequence[int],
    new: Collection[UUID] = (),
) -> None:
    """Bring the indexes of a branch to revision `number`: old versions leave, new version ids enter. `new` are memories
    that nobody knew before this revision, so that nothing older can have been made from them."""
    if branch.base_branch_id is not None:
        # A branch that inherits is read through its lineage; an index of its own rows alone would answer wrongly.
        leave, enter = (), ()
    left = _leave(tx, branch, [v.id for v in leave if v.state in RECALLABLE and not v.tombstone])
    came = _enter(tx, branch, enter)
    tx.run(
        "UPDATE branches SET head_revision = :number, live_count = live_count + :memories, "
        "term_total = term_total + :terms, folded_count = folded_count + :folded, "
        "folded_terms = folded_terms + :folded_terms WHERE tenant_id = :tenant AND id = :branch",
        number=number,
        branch=branch.id,
        memories=came.memories - left.memories,
        terms=came.terms - left.terms,
        folded=came.folded - left.folded,
        folded_terms=came.folded_terms - left.folded_terms,
    )
    # A memory that only got another version is at hand before and after.
    if turned := (came.ids ^ left.ids).difference(new):
        folds.follow(tx, branch, turned)


@dataclass(frozen=True, slots=True)
class _Moved:
    """Memories that entered or left, the terms in them, and how much of both is folded."""

    ids: frozenset[UUID] = frozenset()
    memories: int = 0
    terms: int = 0
    folded: int = 0
    folded_terms: int = 0

    @classmethod
    def of(cls, row: Row | None) -> _Moved:
        if row is None or row["ids"] is None:
            return cls()
        return cls(frozenset(row["ids"]), *(int(row[name]) for name in ("memories", "terms", "folded", "folded_terms")))


_MOVED = """array_agg(memory_id) AS ids, count(*) AS memories, coalesce(sum(length), 0) AS terms,
    count(*) FILTER (WHERE folded) AS folded, coalesce(sum(length) FILTER (WHERE folded), 0) AS folded_terms"""

_ENTER = f"""
WITH fresh AS (
    SELECT v.id, v.cube_id, v.memory_id, v.version, v.origin, v.kind, v.session_id, v.ordinal, v.name, v.role, v.trust,
        v.valid_from, v.valid_to, v.expires_at, v.created_at, {FACETS} AS facets,
        c.embedding, c.asks, c.label, c.terms, c.counts, c.length
    FROM memory_versions v JOIN contents c ON c.tenant_id = v.tenant_id AND c.id = v.content_id
    WHERE v.tenant_id = :tenant AND v.id = ANY(:ids) AND NOT v.tombstone),
placed AS MATERIALIZED (
    SELECT v.*, v.origin <> 'direct' AND EXISTS (SELECT 1 FROM memory_sources s
        WHERE s.tenant_id = :tenant AND s.cube_id = v.cube_id AND s.memory_id = v.memory_id AND s.version = v.version
        AND (s.source_memory_id IN (SELECT memory_id FROM fresh) OR EXISTS (SELECT 1 FROM heads o
            WHERE o.tenant_id = :tenant AND o.branch_id = :branch AND o.memory_id = s.source_memory_id))) AS folded
    FROM fresh v),
headed AS (INSERT INTO heads (tenant_id, branch_id, memory_id, version_id, folded, embedding, kind, session_id,
        ordinal, name, role, trust, valid_from, valid_to, expires_at, created_at, facets, asks, label, length, terms, counts)
    SELECT :tenant, :branch, memory_id, id, folded, embedding, kind, session_id,
        ordinal, name, role, trust, valid_from, valid_to, expires_at, created_at, facets, asks, label, length, terms, counts
    FROM placed),
listed AS (INSERT INTO facets (tenant_id, branch_id, facet, version_id)
    SELECT :tenant, :branch, f.facet, c.id FROM placed c, unnest(c.facets) AS f (facet)),
posted AS (INSERT INTO postings (tenant_id, branch_id, folded, term, impact, version_id)
    SELECT :tenant, :branch, c.folded, t.term, {IMPACT}, c.id FROM placed c, unnest(c.terms, c.counts) AS t (term, n)),
counted AS (INSERT INTO terms (tenant_id, branch_id, folded, term, documents)
    SELECT :tenant, :branch, c.folded, t.term, count(*) FROM placed c, unnest(c.terms) AS t (term)
    GROUP BY c.folded, t.term ORDER BY c.folded, t.term
    ON CONFLICT (tenant_id, branch_id, folded, term) DO UPDATE SET documents = terms.documents + excluded.documents),
spoken AS (INSERT INTO speakers (tenant_id, branch_id, name, words, memories)
    SELECT :tenant, :branch, name, regexp_split_to_array(lower(name), '[^[:alnum:]]+'), count(*) FROM placed
    WHERE name IS NOT NULL GROUP BY name ORDER BY name
    ON CONFLICT (tenant_id, branch_id, name) DO UPDATE SET memories = speakers.memories + excluded.memories)
SELECT {_MOVED} FROM placed
"""

_LEAVE = f"""
WITH gone AS (DELETE FROM heads WHERE tenant_id = :tenant AND branch_id = :branch AND version_id = ANY(:ids)
    RETURNING version_id AS id, memory_id, name, folded, facets, terms, counts, length),
unlisted AS (DELETE FROM facets p USING (SELECT c.id, f.facet FROM gone c, unnest(c.facets) AS f (facet)) o
    WHERE p.tenant_id = :tenant AND p.branch_id = :branch AND p.facet = o.facet AND p.version_id = o.id),
unposted AS (DELETE FROM postings p USING (
        SELECT c.id, c.folded, t.term, {IMPACT} AS impact FROM gone c, unnest(c.terms, c.counts) AS t (term, n)) o
    WHERE p.tenant_id = :tenant AND p.branch_id = :branch AND p.folded = o.folded AND p.term = o.term
        AND p.impact = o.impact AND p.version_id = o.id),
uncounted AS (UPDATE terms s SET documents = s.documents - o.n FROM (
        SELECT c.folded, t.term, count(*) AS n FROM gone c, unnest(c.terms) AS t (term) GROUP BY c.folded, t.term) o
    WHERE s.tenant_id = :tenant AND s.branch_id = :branch AND s.folded = o.folded AND s.term = o.term),
unspoken AS (UPDATE speakers s SET memories = s.memories - o.n FROM (
        SELECT name, count(*) AS n FROM gone WHERE name IS NOT NULL GROUP BY name) o
    WHERE s.tenant_id = :tenant AND s.branch_id = :branch AND s.name = o.name)
SELECT {_MOVED}, (SELECT array_agg(DISTINCT t.term) FROM gone c, unnest(c.terms) AS t (term)) AS words,
    array_agg(DISTINCT name) AS names FROM gone
"""


def _enter(tx: Transaction, branch: Branch, version_ids: Sequence[int]) -> _Moved:
    if not version_ids:
        return _Moved()
    return _Moved.of(tx.row(_ENTER, ids=list(version_ids), branch=branch.id))


def _leave(tx: Transaction, branch: Branch, version_ids: Sequence[int]) -> _Moved:
    if not version_ids:
        return _Moved()
    row = tx.row(_LEAVE, ids=list(version_ids), branch=branch.id)
    if row and row["words"]:
        # A word nobody holds any more must not stay behind: after an erasure it could be the one that mattered.
        tx.run(
            "DELETE FROM terms WHERE tenant_id = :tenant AND branch_id = :branch AND documents = 0 AND term = ANY(:words)",
            branch=branch.id,
            words=row["words"],
        )
        tx.run(
            "DELETE FROM speakers WHERE tenant_id = :tenant AND branch_id = :branch AND memories = 0 AND name = ANY(:names)",
            branch=branch.id,
            names=row["names"],
        )
    return _Moved.of(row)


def pending(tx: Transaction, branch_id: int) -> int:
    """Rows of a branch that are not in the vector graph yet."""
    return int(
        tx.scalar(
            "SELECT count(*) FROM heads WHERE tenant_id = :tenant AND branch_id = :branch AND NOT indexed",
            branch=branch_id,
        )
    )


def index_some(tx: Transaction, branch_id: int, most: int) -> int:
    """Move up to `most` rows of a branch into the vector graph; how many moved."""
    return tx.run(
        "UPDATE heads SET indexed = true WHERE tenant_id = :tenant AND branch_id = :branch AND memory_id IN "
        "(SELECT memory_id FROM heads WHERE tenant_id = :tenant AND branch_id = :branch AND NOT indexed "
        "LIMIT :most FOR UPDATE SKIP LOCKED)",
        branch=branch_id,
        most=most,
    )
