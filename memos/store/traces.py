"""Traces of answered questions: written in batches, read one at a time, gone after a while."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """How one question was answered. `items` are [memory id, version, score, channels], best first.

    `request` holds what was asked, its `now` made explicit; `revisions` the revision read of each cube, by its id.
    """

    id: UUID
    door: str
    asked_at: datetime
    key_id: UUID
    cube_ids: list[UUID]
    memory_ids: list[UUID]
    request: dict[str, Any]
    revisions: dict[str, int]
    route: dict[str, Any]
    items: list[list[Any]]
    dropped: list[list[str]]
    answer_hash: bytes
    weights: str
    took_ms: float
    context_hash: str | None = None
    """Of a context: what was answered, as one number. Equal for equal answers, so several traces may share it."""


_COLUMNS = tuple(Trace.__dataclass_fields__)
_INSERT = (
    f"INSERT INTO traces (tenant_id, {', '.join(_COLUMNS)}) SELECT :tenant, {', '.join(_COLUMNS)} "
    "FROM jsonb_populate_recordset(CAST(NULL AS traces), CAST(:records AS jsonb)) ON CONFLICT (tenant_id, id) DO NOTHING"
)

_DROP_ERASED = (
    "DELETE FROM traces t WHERE t.tenant_id = :tenant AND t.id = ANY(:ids) AND EXISTS (SELECT 1 FROM memories m "
    "WHERE m.tenant_id = :tenant AND m.cube_id = ANY(t.cube_ids) AND m.id = ANY(t.memory_ids) AND m.erased_at IS NOT NULL)"
)


def add(tx: Transaction, traces: Sequence[Trace]) -> None:
    """Write traces, but for those that name a memory which has been erased since the question was answered."""
    records = [{name: getattr(trace, name) for name in _COLUMNS} for trace in traces]
    tx.run(_INSERT, records=json.dumps(records, default=_literal))
    tx.run(_DROP_ERASED, ids=[trace.id for trace in traces])


def _literal(value: UUID | datetime | bytes) -> str:
    """As PostgreSQL reads the type from a string."""
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)


def find(tx: Transaction, trace_id: UUID) -> Trace | None:
    row = tx.row(f"SELECT {', '.join(_COLUMNS)} FROM traces WHERE tenant_id = :tenant AND id = :id", id=trace_id)
    if row is None:
        return None
    return Trace(**{**row, "answer_hash": bytes(row["answer_hash"])})


def list_page(
    tx: Transaction,
    *,
    door: str | None,
    cube_id: UUID | None,
    memory_id: UUID | None,
    find: str | None,
    only: Sequence[UUID] | None,
    limit: int,
    before: UUID | None,
) -> list[Trace]:
    """Newest first. `only`: traces that touch no other cubes than these. `find`: a trace's id, the hash of a context, or words
    of the question."""
    rows = tx.rows(
        f"SELECT {', '.join(_COLUMNS)} FROM traces WHERE tenant_id = :tenant "
        "AND (CAST(:door AS text) IS NULL OR door = :door) "
        "AND (CAST(:cube AS uuid) IS NULL OR :cube = ANY(cube_ids)) "
        "AND (CAST(:memory AS uuid) IS NULL OR :memory = ANY(memory_ids)) "
        "AND (CAST(:find AS text) IS NULL OR CAST(id AS text) = lower(:find) OR context_hash = lower(:find) "
        "OR position(lower(:find) IN lower(request ->> 'query')) > 0) "
        "AND (CAST(:only AS uuid[]) IS NULL OR cube_ids <@ CAST(:only AS uuid[])) "
        "AND (CAST(:before AS uuid) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit",
        door=door,
        cube=cube_id,
        memory=memory_id,
        find=find,
        only=only,
        before=before,
        limit=limit,
    )
    return [Trace(**{**row, "answer_hash": bytes(row["answer_hash"])}) for row in rows]


def forget(tx: Transaction, memory_ids: Sequence[UUID]) -> int:
    """Remove every trace that names one of these memories: for an erasure, as the question may repeat their text."""
    return tx.run(
        "DELETE FROM traces WHERE tenant_id = :tenant AND memory_ids && CAST(:ids AS uuid[])", ids=list(memory_ids)
    )


def purge(tx: Transaction, before: datetime) -> int:
    return tx.run("DELETE FROM traces WHERE tenant_id = :tenant AND asked_at < :before", before=before)
