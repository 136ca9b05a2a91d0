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
WIDEST: int = 20_000
"""Of a window with more in it only candidates that were found anyway are taken: it tells little."""


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
        begin=begin,
        until=until,
        query=HalfVector(embedding),
        most=MOST,
        widest=WIDEST,
        known=list(known),
    )
    return [version_id for version_id, _ in rows]


_SAID = """
WITH said AS MATERIALIZED (
    SELECT h.version_id FROM heads h WHERE h.tenant_id = :tenant AND h.branch_id = :branch
        AND h.created_at >= :begin AND h.created_at < :until AND h.kind IN ('turn', 'passage') LIMIT :widest + 1),
told AS MATERIALIZED (
    SELECT h.version_id FROM heads h WHERE h.tenant_id = :tenant AND h.branch_id = :branch
        AND h.valid_from >= :begin AND h.valid_from < :until AND h.kind = 'fact' LIMIT :widest + 1),
found AS MATERIALIZED (
    SELECT h.version_id, h.kind = 'fact' AS tells FROM heads h
    WHERE h.tenant_id = :tenant AND h.branch_id = :branch AND h.version_id = ANY(:known)
        AND CASE h.kind WHEN 'fact' THEN h.valid_from >= :begin AND h.valid_from < :until
            ELSE h.kind IN ('turn', 'passage') AND h.created_at >= :begin AND h.created_at < :until END),
tellers AS MATERIALIZED (
    SELECT version_id FROM told WHERE (SELECT count(*) FROM told) <= :widest
    UNION SELECT version_id FROM found WHERE tells),
timely AS MATERIALIZED (
    SELECT version_id FROM said WHERE (SELECT count(*) FROM said) <= :widest
    UNION SELECT version_id FROM found
    UNION SELECT version_id FROM tellers
    UNION SELECT o.version_id FROM tellers t JOIN memory_versions v ON v.tenant_id = :tenant AND v.id = t.version_id
    JOIN memory_sources s ON s.tenant_id = :tenant AND s.cube_id = v.cube_id AND s.memory_id = v.memory_id
        AND s.version = v.version
    JOIN heads o ON o.tenant_id = :tenant AND o.branch_id = :branch AND o.memory_id = s.source_memory_id)
SELECT h.version_id, h.embedding <=> :query AS distance FROM timely t
CROSS JOIN LATERAL (SELECT * FROM heads m
    WHERE m.tenant_id = :tenant AND m.branch_id = :branch AND m.version_id = t.version_id LIMIT 1) h
ORDER BY distance, h.version_id LIMIT :most
"""
