"""Embedding spaces as rows: where the vectors of a cube live, what is staged beside them, and how they change places.

A cube without an active row is in the space of the configured model. Vectors that are read stand in `contents` and `heads`;
those of a space being filled, or kept for a rollback, stand in `staged_vectors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.store.engine import Transaction


@dataclass(frozen=True, slots=True)
class Space:
    """One embedding space of one cube. `filling` and `ready` are on their way in; `kept` was active before."""

    id: UUID
    cube_id: UUID
    model: str
    fingerprint: str
    dimensions: int
    state: str
    created_at: datetime
    changed_at: datetime


_COLUMNS = ", ".join(Space.__dataclass_fields__)


def active(tx: Transaction, cube_id: UUID) -> Space | None:
    """The space a cube's vectors live in; None while that is the configured model's and always was."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM embedding_spaces WHERE tenant_id = :tenant AND cube_id = :cube AND state = 'active'",
        cube=cube_id,
    )
    return None if row is None else Space(**row)
