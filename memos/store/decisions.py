"""The log of what the workers decided: inputs, score, policy, outcome. It tells why, and is no part of history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision about one memory. `inputs` are numbers, words and times, never anything of the memory's content."""

    memory_id: UUID | None
    outcome: str
    score: float | None
    inputs: Mapping[str, Any]
    reason: str
    policy_version: str
    applied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged(Decision):
    """A decision as it was kept."""

    id: UUID
    cube_id: UUID
    branch: str
    job_id: UUID | None
    kind: str
    revision: int | None
    decided_at: datetime


_COLUMNS = ", ".join(Logged.__dataclass_fields__)


def record(
    tx: Transaction,
    cube_id: UUID,
    decisions: Sequence[Decision],
    *,
    kind: str,
    branch: str,
    job_id: UUID | None,
    revision: int | None,
    now: datetime,
) -> None:
    """Keep decisions with the effects they had, in the same transaction."""
    if not decisions:
        return
    records = [
        {"id": str(uuid_utils.uuid7()), "memory_id": d.memory_id and str(d.memory_id), "outcome": d.outcome, "score": d.score,
         "inputs": dict(d.inputs), "reason": d.reason, "policy_version": d.policy_version, "applied": d.applied}
        for d in decisions
    ]  # fmt: skip
    tx.run(
        "INSERT INTO decisions (tenant_id, cube_id, branch, job_id, kind, revision, decided_at, id, memory_id, outcome, "
        "score, inputs, reason, policy_version, applied) SELECT :tenant, CAST(:cube AS uuid), :branch, "
        "CAST(:job AS uuid), :kind, CAST(:revision AS integer), CAST(:now AS timestamptz), r.* "
        "FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r (id uuid, memory_id uuid, outcome text, "
        "score double precision, inputs jsonb, reason text, policy_version text, applied boolean)",
        cube=cube_id,
        branch=branch,
        job=job_id,
        kind=kind,
        revision=revision,
        now=now,
        records=json.dumps(records),
    )


def list_page(
    tx: Transaction,
    cube_id: UUID,
    *,
    kind: str | None,
    outcome: str | None,
    memory_id: UUID | None,
    limit: int,
    before: UUID | None,
) -> list[Logged]:
    """Newest first."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM decisions WHERE tenant_id = :tenant AND cube_id = :cube "
        "AND (CAST(:kind AS text) IS NULL OR kind = :kind) AND (CAST(:outcome AS text) IS NULL OR outcome = :outcome) "
        "AND (CAST(:memory AS uuid) IS NULL OR memory_id = :memory) "
        "AND (CAST(:before AS uuid) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit",
        cube=cube_id,
        kind=kind,
        outcome=outcome,
        memory=memory_id,
        limit=limit,
        before=before,
    )
    return [Logged(**row) for row in rows]


def list_all(
    tx: Transaction,
    *,
    cube_id: UUID | None,
    job_id: UUID | None,
    kind: str | None,
    outcome: str | None,
    memory_id: UUID | None,
    only: Sequence[UUID] | None,
    limit: int,
    before: UUID | None,
) -> list[Logged]:
    """Of every cube, or of `only` those, newest first."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM decisions WHERE tenant_id = :tenant "
        "AND (CAST(:cube AS uuid) IS NULL OR cube_id = :cube) AND (CAST(:job AS uuid) IS NULL OR job_id = :job) "
        "AND (CAST(:kind AS text) IS NULL OR kind = :kind) AND (CAST(:outcome AS text) IS NULL OR outcome = :outcome) "
        "AND (CAST(:memory AS uuid) IS NULL OR memory_id = :memory) "
        "AND (CAST(:only AS uuid[]) IS NULL OR cube_id = ANY(:only)) "
        "AND (CAST(:before AS uuid) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit",
        cube=cube_id,
        job=job_id,
        kind=kind,
        outcome=outcome,
        memory=memory_id,
        only=only,
        limit=limit,
        before=before,
    )
    return [Logged(**row) for row in rows]


def purge(tx: Transaction, before: datetime) -> int:
    """Forget decisions older than that; what they led to is in the revisions."""
    return tx.run("DELETE FROM decisions WHERE tenant_id = :tenant AND decided_at < :before", before=before)
