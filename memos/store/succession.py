"""Which messages said what is no longer so, and what says what is so instead: along the links of superseded facts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from memos.rules.succession import Succession
from memos.store.cubes import View
from memos.store.transaction import Transaction


def successions(
    tx: Transaction, view: View, version_ids: Sequence[int], attributes: Collection[str], as_of: datetime
) -> list[Succession]:
    """What the present has for the values of these attributes that the versions told and that are over (compare what `found`
    says of each)."""
    rows = tx.tuples(
        _SUCCESSIONS,
        branch=view.branch.id,
        cube=view.cube.id,
        versions=list(version_ids),
        attributes=sorted(attributes),
        as_of=as_of,
    )
    heirs: dict[int, list[int]] = {}
    for hit, fact, said_in in rows:
        heirs.setdefault(hit, []).extend(one for one in (said_in, fact) if one is not None)
    return [Succession(hit, tuple(dict.fromkeys(known))) for hit, known in sorted(heirs.items())]


# A fact may have been replaced several times, and each replacement knows only the one before it.
_SUCCESSIONS = """
WITH RECURSIVE line (hit, memory_id, version, steps) AS (
    SELECT i.id, v.memory_id, v.version, 0 FROM memory_versions i
    JOIN memory_sources s ON s.tenant_id = :tenant AND s.cube_id = :cube AND s.source_memory_id = i.memory_id
    JOIN memory_versions v ON v.tenant_id = :tenant AND v.cube_id = :cube AND v.memory_id = s.memory_id
        AND v.version = s.version AND v.kind = 'fact' AND v.valid_to <= :as_of
    JOIN claims c ON c.tenant_id = :tenant AND c.content_id = v.content_id
    WHERE i.tenant_id = :tenant AND i.id = ANY(:versions) AND i.kind IN ('turn', 'passage')
        AND c.attribute_key = ANY(:attributes) AND EXISTS (SELECT 1 FROM heads h
            WHERE h.tenant_id = :tenant AND h.branch_id = :branch AND h.memory_id = v.memory_id AND h.version_id = v.id)
    UNION
    SELECT o.hit, v.memory_id, v.version, o.steps + 1 FROM line o
    JOIN links l ON l.tenant_id = :tenant AND l.cube_id = :cube AND l.memory_id = o.memory_id AND l.version = o.version
        AND l.relation IN ('superseded-by', 'contradicts')
    JOIN heads h ON h.tenant_id = :tenant AND h.branch_id = :branch AND h.memory_id = l.other_id
    JOIN memory_versions v ON v.tenant_id = :tenant AND v.id = h.version_id
    WHERE o.steps < 8)
SELECT DISTINCT o.hit, v.id, t.version_id FROM line o
JOIN memory_versions v ON v.tenant_id = :tenant AND v.cube_id = :cube AND v.memory_id = o.memory_id AND v.version = o.version
LEFT JOIN memory_sources s ON s.tenant_id = :tenant AND s.cube_id = :cube AND s.memory_id = v.memory_id AND s.version = v.version
LEFT JOIN heads t ON t.tenant_id = :tenant AND t.branch_id = :branch AND t.memory_id = s.source_memory_id
WHERE o.steps > 0 AND (v.valid_from IS NULL OR v.valid_from <= :as_of) AND (v.valid_to IS NULL OR v.valid_to > :as_of)
ORDER BY o.hit, v.id, t.version_id
"""
