"""The indexes of the present: vectors (`heads`), inverted lists (`postings`), term statistics (`terms`) and names
(`speakers`).

They hold one row per recallable memory of a branch and nothing of the past, so a search of today costs the same whether
a memory has one version or a hundred. All of it is derived from `memory_versions` and `contents` and can be rebuilt.
"""

from __future__ import annotations

from collections.abc import Sequence

from memos.store.cubes import Branch
from memos.store.engine import Transaction
from memos.store.memories import Version

RECALLABLE = frozenset({"generated", "activated", "frozen"})
# Turns are short: against a mean of 16 terms the stored impact orders postings nearly as the live mean would. It only
# chooses candidates; scores are computed from counts and the branch's own mean.
NOMINAL_LENGTH = 16.0
K1, B = 1.2, 0.5
IMPACT_SCALE = 32_767 / (K1 + 1)
_SHARE = f"{K1 + 1} * t.n / (t.n + {K1} * ({1 - B} + {B} * c.length / {NOMINAL_LENGTH}))"
IMPACT = f"CAST(round({IMPACT_SCALE} * {_SHARE}) AS smallint)"


def apply(tx: Transaction, branch: Branch, number: int, *, leave: Sequence[Version], enter: Sequence[int]) -> None:
    """Bring the indexes of a branch to revision `number`: old versions leave, new version ids enter."""
    if branch.base_branch_id is not None:
        # A branch that inherits is read through its lineage; an index of its own rows alone would answer wrongly.
        leave, enter = (), ()
    left = _leave(tx, branch, [v.id for v in leave if v.state in RECALLABLE and not v.tombstone])
    came = _enter(tx, branch, enter)
    tx.run(
        "UPDATE branches SET head_revision = :number, live_count = live_count + :memories, term_total = term_total + :terms "
        "WHERE tenant_id = :tenant AND id = :branch",
        number=number,
        memories=came[0] - left[0],
        terms=came[1] - left[1],
        branch=branch.id,
    )


def _enter(tx: Transaction, branch: Branch, version_ids: Sequence[int]) -> tuple[int, int]:
    """(memories, terms) added."""
    if not version_ids:
        return 0, 0
    row = tx.row(
        "WITH fresh AS (SELECT v.id, v.memory_id, v.name, c.embedding, c.terms, c.counts, c.length FROM memory_versions v "
        "  JOIN contents c ON c.tenant_id = v.tenant_id AND c.id = v.content_id "
        "  WHERE v.tenant_id = :tenant AND v.id = ANY(:ids) AND NOT v.tombstone), "
        "headed AS (INSERT INTO heads (tenant_id, branch_id, memory_id, version_id, embedding) "
        "  SELECT :tenant, :branch, memory_id, id, embedding FROM fresh), "
        "posted AS (INSERT INTO postings (tenant_id, branch_id, term, impact, version_id) "
        f"  SELECT :tenant, :branch, t.term, {IMPACT}, c.id FROM fresh c, unnest(c.terms, c.counts) AS t (term, n)), "
        "counted AS (INSERT INTO terms (tenant_id, branch_id, term, documents) "
        "  SELECT :tenant, :branch, t.term, count(*) FROM fresh c, unnest(c.terms) AS t (term) GROUP BY t.term ORDER BY t.term "
        "  ON CONFLICT (tenant_id, branch_id, term) DO UPDATE SET documents = terms.documents + excluded.documents), "
        "spoken AS (INSERT INTO speakers (tenant_id, branch_id, name, words, memories) "
        "  SELECT :tenant, :branch, name, regexp_split_to_array(lower(name), '[^[:alnum:]]+'), count(*) FROM fresh "
        "  WHERE name IS NOT NULL GROUP BY name ORDER BY name "
        "  ON CONFLICT (tenant_id, branch_id, name) DO UPDATE SET memories = speakers.memories + excluded.memories) "
        "SELECT count(*) AS memories, coalesce(sum(length), 0) AS terms FROM fresh",
        ids=list(version_ids),
        branch=branch.id,
    )
    return (int(row["memories"]), int(row["terms"])) if row else (0, 0)


def _leave(tx: Transaction, branch: Branch, version_ids: Sequence[int]) -> tuple[int, int]:
    """(memories, terms) removed."""
    if not version_ids:
        return 0, 0
    row = tx.row(
        "WITH gone AS (DELETE FROM heads WHERE tenant_id = :tenant AND branch_id = :branch AND version_id = ANY(:ids) "
        "  RETURNING version_id), "
        "old AS (SELECT v.id, v.name, c.terms, c.counts, c.length FROM gone JOIN memory_versions v ON v.tenant_id = :tenant "
        "  AND v.id = gone.version_id JOIN contents c ON c.tenant_id = :tenant AND c.id = v.content_id), "
        "unposted AS (DELETE FROM postings p USING (SELECT c.id, t.term, "
        f"  {IMPACT} AS impact FROM old c, unnest(c.terms, c.counts) AS t (term, n)) o "
        "  WHERE p.tenant_id = :tenant AND p.branch_id = :branch AND p.term = o.term AND p.impact = o.impact "
        "  AND p.version_id = o.id), "
        "uncounted AS (UPDATE terms s SET documents = s.documents - o.n FROM (SELECT t.term, count(*) AS n FROM old c, "
        "  unnest(c.terms) AS t (term) GROUP BY t.term) o "
        "  WHERE s.tenant_id = :tenant AND s.branch_id = :branch AND s.term = o.term), "
        "unspoken AS (UPDATE speakers s SET memories = s.memories - o.n FROM (SELECT name, count(*) AS n FROM old "
        "  WHERE name IS NOT NULL GROUP BY name) o "
        "  WHERE s.tenant_id = :tenant AND s.branch_id = :branch AND s.name = o.name) "
        "SELECT count(*) AS memories, coalesce(sum(length), 0) AS terms, (SELECT array_agg(DISTINCT t.term) FROM old c, "
        "unnest(c.terms) AS t (term)) AS words, array_agg(DISTINCT name) AS names FROM old",
        ids=list(version_ids),
        branch=branch.id,
    )
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
    return (int(row["memories"]), int(row["terms"])) if row else (0, 0)


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
