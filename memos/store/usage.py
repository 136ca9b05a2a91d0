"""What recall teaches about a memory: counts and times outside history, because reading must not write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from memos.store.engine import Transaction

_UPSERT = """
INSERT INTO usage (tenant_id, cube_id, memory_id, {count}, last_recalled_at)
SELECT :tenant, CAST(:cube AS uuid), s.id, s.n, :now
FROM unnest(CAST(:ids AS uuid[]), CAST(:counts AS integer[])) AS s (id, n)
JOIN memories m ON m.tenant_id = :tenant AND m.cube_id = CAST(:cube AS uuid) AND m.id = s.id ORDER BY s.id
ON CONFLICT (tenant_id, cube_id, memory_id) DO UPDATE SET {count} = usage.{count} + excluded.{count},
    last_recalled_at = greatest(usage.last_recalled_at, excluded.last_recalled_at)
"""


def repeated(tx: Transaction, cube_id: UUID, memory_ids: Sequence[UUID], now: datetime) -> None:
    """Said again: as good as recalled."""
    if memory_ids:
        tx.run(
            _UPSERT.format(count="repeats"), cube=cube_id, ids=list(memory_ids), counts=[1] * len(memory_ids), now=now
        )


def recalled(tx: Transaction, cube_id: UUID, counts: Mapping[UUID, int], now: datetime) -> None:
    """Add what a buffer of answered searches has counted."""
    if counts:
        tx.run(_UPSERT.format(count="recalls"), cube=cube_id, ids=list(counts), counts=list(counts.values()), now=now)
