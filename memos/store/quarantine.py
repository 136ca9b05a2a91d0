"""What was set aside and why, and what a review made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.store import events
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class SetAside:
    """A version on its way into quarantine."""

    memory_id: UUID
    version: int
    trust_class: str
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A memory that is in quarantine now, with its text: only reviews may ask."""

    cube_id: UUID
    cube: str
    branch: str
    memory_id: UUID
    version: int
    kind: str
    state: str
    content: str | None
    title: str | None
    role: str | None
    name: str | None
    source: str | None
    session_id: str | None
    sensitivity: str
    key_id: UUID | None
    trust_class: str
    score: float
    reasons: list[str]
    at: datetime


def record(
    tx: Transaction, cube_id: UUID, branch: str, key_id: UUID | None, now: datetime, found: Sequence[SetAside]
) -> None:
    if not found:
        return
    records = [
        {"memory_id": str(one.memory_id), "version": one.version, "trust_class": one.trust_class, "score": one.score,
         "reasons": list(one.reasons)}
        for one in found
    ]  # fmt: skip
    tx.run(
        "INSERT INTO quarantine (tenant_id, cube_id, branch, key_id, at, memory_id, version, trust_class, score, reasons) "
        "SELECT :tenant, :cube, :branch, CAST(:key AS uuid), :now, r.memory_id, r.version, r.trust_class, r.score, r.reasons "
        "FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r (memory_id uuid, version integer, trust_class text, "
        "score real, reasons text[]) ON CONFLICT DO NOTHING",
        cube=cube_id,
        branch=branch,
        key=key_id,
        now=now,
        records=json.dumps(records),
    )
    events.emit(tx, "memory.quarantined", cube_id=cube_id, memory_ids=[str(one.memory_id) for one in found])


# The newest record of a memory says why it is there: a later version (a new label, a rollback) has none of its own.
_HELD = """
SELECT v.cube_id, k.name AS cube, b.name AS branch, v.memory_id, v.version, v.kind, v.state, c.text AS content, v.title,
    v.role, v.name, v.source, v.session_id, v.sensitivity, q.key_id, coalesce(q.trust_class, 'user') AS trust_class,
    coalesce(q.score, 0) AS score, coalesce(q.reasons, '{}') AS reasons, coalesce(q.at, v.recorded_at) AS at
FROM memory_versions v
JOIN branches b ON b.tenant_id = v.tenant_id AND b.id = v.branch_id AND b.deleted_at IS NULL
JOIN cubes k ON k.tenant_id = v.tenant_id AND k.id = v.cube_id
LEFT JOIN contents c ON c.tenant_id = v.tenant_id AND c.id = v.content_id
LEFT JOIN LATERAL (SELECT * FROM quarantine o WHERE o.tenant_id = v.tenant_id AND o.cube_id = v.cube_id
    AND o.memory_id = v.memory_id AND o.version <= v.version ORDER BY o.version DESC LIMIT 1) q ON true
WHERE v.tenant_id = :tenant AND v.quarantined AND v.to_revision IS NULL AND NOT v.tombstone AND v.erased_at IS NULL
"""


def page(
    tx: Transaction, *, cube_id: UUID | None, only: list[UUID] | None, limit: int, after: UUID | None
) -> list[Held]:
    """What waits for a review, in order of writing; what was rejected is put away and no longer waits."""
    rows = tx.rows(
        _HELD
        + "AND v.state IN ('generated', 'activated', 'frozen') AND (CAST(:cube AS uuid) IS NULL OR v.cube_id = :cube) "
        "AND (CAST(:only AS uuid[]) IS NULL OR v.cube_id = ANY(:only)) "
        "AND (CAST(:after AS uuid) IS NULL OR v.memory_id > :after) ORDER BY v.memory_id LIMIT :limit",
        cube=cube_id,
        only=only,
        after=after,
        limit=limit,
    )
    return [Held(**row) for row in rows]


def find(tx: Transaction, memory_id: UUID) -> list[Held]:
    """A memory on each branch where it is in quarantine."""
    return [Held(**row) for row in tx.rows(_HELD + "AND v.memory_id = :memory ORDER BY b.id", memory=memory_id)]


def reviewed(tx: Transaction, cube_id: UUID, memory_id: UUID, outcome: str, by: UUID, now: datetime, note: str) -> None:
    tx.run(
        "UPDATE quarantine SET outcome = :outcome, reviewed_by = :by, reviewed_at = :now, note = :note "
        "WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = :memory AND outcome IS NULL",
        cube=cube_id,
        memory=memory_id,
        outcome=outcome,
        by=by,
        now=now,
        note=note,
    )


def waiting(tx: Transaction) -> int:
    """Memories in quarantine that nobody has looked at."""
    return int(
        tx.scalar(
            "SELECT count(DISTINCT memory_id) FROM memory_versions WHERE tenant_id = :tenant AND quarantined "
            "AND to_revision IS NULL AND state IN ('generated', 'activated', 'frozen')"
        )
    )
