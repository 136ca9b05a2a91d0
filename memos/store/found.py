"""What is shown of the memories that a search chose: the wide rows, of a few."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.store.transaction import Transaction


@dataclass(slots=True)
class Found:
    """A memory with everything an answer says of it, in the order of `_SPELLED`. `told` are the attributes of which it told a
    value that is over; only known where it was asked for."""

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
    told: Sequence[str] = ()


_SPELLED = """
SELECT v.id, v.memory_id, v.version, v.kind, v.state, c.text, c.tokens, v.external_id, v.session_id, v.ordinal, v.role,
       v.name, v.title, v.created_at, v.valid_from, v.valid_to, v.priority, v.sensitivity, v.trust, v.tags,
       CAST(v.metadata AS text), CASE WHEN v.origin = 'direct' THEN '{{}}' ELSE ARRAY(
           SELECT DISTINCT s.source_memory_id FROM memory_sources s WHERE s.tenant_id = v.tenant_id
           AND s.cube_id = v.cube_id AND s.memory_id = v.memory_id AND s.version = v.version) END {further}
FROM memory_versions v JOIN contents c ON c.tenant_id = v.tenant_id AND c.id = v.content_id
WHERE v.tenant_id = :tenant AND v.id = ANY(:versions)
"""
# No table of the present takes part: this is asked by nearly every search, and nearly always finds nothing.
_TOLD = """, CASE WHEN v.id = ANY(:tellers) AND v.kind IN ('turn', 'passage') THEN ARRAY(
           SELECT DISTINCT a.attribute_key FROM memory_sources s
           JOIN memory_versions f ON f.tenant_id = :tenant AND f.cube_id = s.cube_id AND f.memory_id = s.memory_id
               AND f.version = s.version AND f.kind = 'fact' AND f.valid_to <= :as_of
           JOIN claims a ON a.tenant_id = :tenant AND a.content_id = f.content_id
           WHERE s.tenant_id = :tenant AND s.cube_id = v.cube_id AND s.source_memory_id = v.memory_id) ELSE '{}' END"""
_PLAIN, _WITH_TOLD = _SPELLED.format(further=""), _SPELLED.format(further=_TOLD)


def spell_out(
    tx: Transaction, version_ids: Iterable[int], *, tellers: Collection[int] = (), as_of: datetime | None = None
) -> dict[int, Found]:
    """Versions by id. With `as_of`, of the `tellers` among them also what they `told` that was over by then."""
    if as_of is None:
        rows = tx.tuples(_PLAIN, versions=list(version_ids))
    else:
        rows = tx.tuples(_WITH_TOLD, versions=list(version_ids), tellers=list(tellers), as_of=as_of)
    return {row[0]: Found(*row) for row in rows}
