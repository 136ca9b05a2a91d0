"""What is shown of the memories that a search chose: the wide rows, of a few."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.store.transaction import Transaction


@dataclass(slots=True)
class Found:
    """A memory with everything an answer says of it, in the order of `_SPELLED`."""

    version_id: int
    memory_id: UUID
    version: int
    kind: str
    state: str
    text: str
    tokens: int
    external_id: str | None
    session_id: str | None
    ordinal: int | None
    role: str | None
    name: str | None
    title: str | None
    created_at: datetime
    valid_from: datetime | None
    valid_to: datetime | None
    priority: float
    sensitivity: str
    trust: float
    tags: list[str]
    metadata_json: str
    sources: list[UUID]


_SPELLED = """
SELECT v.id, v.memory_id, v.version, v.kind, v.state, c.text, c.tokens, v.external_id, v.session_id, v.ordinal, v.role,
       v.name, v.title, v.created_at, v.valid_from, v.valid_to, v.priority, v.sensitivity, v.trust, v.tags,
       CAST(v.metadata AS text), CASE WHEN v.origin = 'direct' THEN '{}' ELSE ARRAY(
           SELECT DISTINCT s.source_memory_id FROM memory_sources s WHERE s.tenant_id = v.tenant_id
           AND s.cube_id = v.cube_id AND s.memory_id = v.memory_id AND s.version = v.version) END
FROM memory_versions v JOIN contents c ON c.tenant_id = v.tenant_id AND c.id = v.content_id
WHERE v.tenant_id = :tenant AND v.id = ANY(:versions)
"""


def spell_out(tx: Transaction, version_ids: Iterable[int]) -> dict[int, Found]:
    """Versions by id."""
    return {row[0]: Found(*row) for row in tx.tuples(_SPELLED, versions=list(version_ids))}
