"""What was said in a stretch of time, and what was told of it at another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from pgvector import HalfVector

from memos.store.cubes import View
from memos.store.transaction import Transaction

MOST: int = 60
"""The nearest so many of a window are enough: ten are shown."""
SEARCHED_WHOLE: int = 20_000
"""In larger cubes only candidates that were found anyway are asked for their time: no index knows the times of all."""


def said_between(
    tx: Transaction, view: View, begin: datetime, until: datetime, embedding: np.ndarray, known: Sequence[int]
) -> list[int]:
    """Versions of the present that were said then, or from which a fact was read that begins then; nearest first.

    `known` are the candidates found so far.
    """
    if not view.present:
        return []
    rows = tx.tuples(
        _SAID,
        branch=view.branch.id,
        cube=view.cube.id,
        begin=begin,
        until=until,
        query=HalfVector(embedding),
        most=MOST,
        whole=view.branch.live_count <= SEARCHED_WHOLE,
        known=list(known),
    )
    return [version_id for version_id, _ in rows]


_SAID = """
WITH timely AS MATERIALIZED (
    SELECT h.version_id FROM heads h JOIN memory_versions v ON v.tenant_id = :tenant AND v.id = h.version_id
    WHERE h.tenant_id = :tenant AND h.branch_id = :branch AND h.kind IN ('turn', 'passage')
        AND (:whole OR h.version_id = ANY(:known)) AND v.created_at >= :begin AND v.created_at < :until
    UNION
    SELECT unnest(ARRAY[h.version_id, o.version_id]) FROM heads h
    JOIN memory_versions v ON v.tenant_id = :tenant AND v.id = h.version_id
    LEFT JOIN memory_sources s ON s.tenant_id = :tenant AND s.cube_id = :cube AND s.memory_id = v.memory_id
        AND s.version = v.version
    LEFT JOIN heads o ON o.tenant_id = :tenant AND o.branch_id = :branch AND o.memory_id = s.source_memory_id
    WHERE h.tenant_id = :tenant AND h.branch_id = :branch AND h.kind = 'fact'
        AND h.valid_from >= :begin AND h.valid_from < :until)
SELECT h.version_id, h.embedding <=> :query AS distance FROM timely t
JOIN heads h ON h.tenant_id = :tenant AND h.branch_id = :branch AND h.version_id = t.version_id
ORDER BY distance, h.version_id LIMIT :most
"""
