"""Edges that follow from columns: the turn after a turn, and what a statement is about. Computed, never stored."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from memos.store.graph import Lens
from memos.store.transaction import Transaction


def following(tx: Transaction, lens: Lens, memory_ids: Collection[UUID]) -> list[tuple[UUID, UUID]]:
    """(earlier, later) for each of these memories and what comes right before and after it in its session, as shown."""
    shown, parameters = lens.shown()
    rows = tx.tuples(
        f"WITH {shown}, middle AS MATERIALIZED (SELECT memory_id, session_id, kind, ordinal FROM shown v "
        "WHERE v.memory_id = ANY(CAST(:ids AS uuid[])) AND v.session_id IS NOT NULL AND v.ordinal IS NOT NULL) "
        "SELECT m.memory_id, n.memory_id FROM middle m CROSS JOIN LATERAL (SELECT v.memory_id FROM shown v "
        "WHERE v.session_id = m.session_id AND v.kind = m.kind AND v.ordinal > m.ordinal ORDER BY v.ordinal LIMIT 1) n "
        "UNION SELECT n.memory_id, m.memory_id FROM middle m CROSS JOIN LATERAL (SELECT v.memory_id FROM shown v "
        "WHERE v.session_id = m.session_id AND v.kind = m.kind AND v.ordinal < m.ordinal ORDER BY v.ordinal DESC LIMIT 1) n "
        "ORDER BY 1, 2",
        ids=list(memory_ids),
        **parameters,
    )
    return [(row[0], row[1]) for row in rows]


def subjects(tx: Transaction, lens: Lens, memory_ids: Collection[UUID]) -> set[tuple[UUID, UUID]]:
    """(memory, entity) where a memory states something of an entity, as its subject."""
    shown, parameters = lens.shown()
    rows = tx.tuples(
        f"WITH {shown} SELECT DISTINCT v.memory_id, c.subject_id FROM shown v JOIN claims c ON c.tenant_id = :tenant "
        "AND c.content_id = v.content_id WHERE v.memory_id = ANY(CAST(:ids AS uuid[])) AND c.subject_id IS NOT NULL",
        ids=list(memory_ids),
        **parameters,
    )
    return {(row[0], lens.meanings.root(row[1], row[0])) for row in rows}
