"""Folding: a derived memory stands back while a memory it was made from is at hand.

A fact read out of a turn says nothing the turn does not. Folded, it is found by who asks for facts, and by nobody else;
once its last source is archived it stands in for it. Which memories are folded changes only when sources come and go, so it
is kept with the indexes of the present instead of being worked out for every query.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from memos.store.cubes import Branch
from memos.store.transaction import Transaction

# Turns are short: against a mean of 16 terms the stored impact orders postings nearly as the live mean would. It only
# chooses candidates; scores are computed from counts and the branch's own mean.
NOMINAL_LENGTH = 16.0
K1, B = 1.2, 0.5
IMPACT_SCALE = 32_767 / (K1 + 1)
_SHARE = f"{K1 + 1} * t.n / (t.n + {K1} * ({1 - B} + {B} * c.length / {NOMINAL_LENGTH}))"
IMPACT = f"CAST(round({IMPACT_SCALE} * {_SHARE}) AS smallint)"
"""How much one term adds to the score of one text; SQL over `t.n` occurrences in `c.length` terms."""

# Rows that change sides leave the vector graph they were in; the job that fills the other takes them from there.
_FOLLOW = f"""
WITH known AS (
    SELECT h.memory_id, h.version_id AS id, h.folded, h.length, h.terms, h.counts, EXISTS (
        SELECT 1 FROM memory_sources s JOIN heads o ON o.tenant_id = :tenant AND o.branch_id = :branch
            AND o.memory_id = s.source_memory_id
        WHERE s.tenant_id = :tenant AND s.cube_id = v.cube_id AND s.memory_id = v.memory_id AND s.version = v.version) AS folds
    FROM heads h JOIN memory_versions v ON v.tenant_id = :tenant AND v.id = h.version_id AND v.origin <> 'direct'
    WHERE h.tenant_id = :tenant AND h.branch_id = :branch AND h.memory_id IN (
        SELECT memory_id FROM memory_sources WHERE tenant_id = :tenant AND cube_id = :cube
            AND source_memory_id = ANY(CAST(:sources AS uuid[])))),
turned AS MATERIALIZED (SELECT * FROM known WHERE folded <> folds),
headed AS (UPDATE heads h SET folded = t.folds, indexed = false FROM turned t
    WHERE h.tenant_id = :tenant AND h.branch_id = :branch AND h.memory_id = t.memory_id),
words AS MATERIALIZED (
    SELECT c.id, c.folded, c.folds, t.term, {IMPACT} AS impact FROM turned c, unnest(c.terms, c.counts) AS t (term, n)),
posted AS (UPDATE postings p SET folded = w.folds FROM words w
    WHERE p.tenant_id = :tenant AND p.branch_id = :branch AND p.folded = w.folded AND p.term = w.term
        AND p.impact = w.impact AND p.version_id = w.id),
changes AS (SELECT side.folded, w.term, CAST(sum(side.n) AS integer) AS n FROM words w
    CROSS JOIN LATERAL (VALUES (w.folds, 1), (w.folded, -1)) AS side (folded, n) GROUP BY side.folded, w.term),
fewer AS (UPDATE terms s SET documents = s.documents + c.n FROM changes c
    WHERE s.tenant_id = :tenant AND s.branch_id = :branch AND s.folded = c.folded AND s.term = c.term AND c.n < 0),
more AS (INSERT INTO terms (tenant_id, branch_id, folded, term, documents)
    SELECT :tenant, :branch, folded, term, n FROM changes WHERE n > 0 ORDER BY folded, term
    ON CONFLICT (tenant_id, branch_id, folded, term) DO UPDATE SET documents = terms.documents + excluded.documents)
UPDATE branches SET
    folded_count = folded_count + (SELECT coalesce(sum(CASE WHEN folds THEN 1 ELSE -1 END), 0) FROM turned),
    folded_terms = folded_terms + (SELECT coalesce(sum(CASE WHEN folds THEN length ELSE -length END), 0) FROM turned)
WHERE tenant_id = :tenant AND id = :branch AND EXISTS (SELECT 1 FROM turned)
"""


def follow(tx: Transaction, branch: Branch, sources: Collection[UUID]) -> None:
    """Fold or unfold what was made from memories that came or went."""
    turned = tx.run(_FOLLOW, branch=branch.id, cube=branch.cube_id, sources=list(sources))
    if turned:
        tx.run(
            "DELETE FROM terms WHERE tenant_id = :tenant AND branch_id = :branch AND documents = 0", branch=branch.id
        )
