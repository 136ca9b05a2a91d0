"""Plans as rows: which memory versions stand in which order in front of a prompt, and their token ids.

A plan is remembered, not written: it follows from the memories, so any of these rows may vanish. Token ids are text in
other numbers, so a plan is as private as the memories in it and is erased with any of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.errors import NotFound
from memos.rules.access import LABELS
from memos.rules.activation_plan import TokenSpan
from memos.rules.header import Sensitivity
from memos.store.cubes import View
from memos.store.memories import SHOWN, visible
from memos.store.transaction import Transaction

SHARED: Final = LABELS.index(Sensitivity.NORMAL)
"""The most secret label a plan may hold: it is for everybody who may read the cube."""
USES_KEPT = 8
"""Uses remembered one by one: the policy asks for two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A memory as a plan sees it. `version`, `revision` and `edits` count changes of its text, not of its header; `sight`
    is the place of its label among `rules.access.LABELS`."""

    memory_id: UUID
    version: int
    revision: int
    edits: int
    content: str
    created_at: datetime
    tokens: int
    kind: str
    tags: list[str]
    priority: float
    trust: float
    weighted_recalls: float
    last_recalled_at: datetime | None
    tier: str
    sight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlan:
    """`sight` is that of its most secret memory; above `SHARED` the plan is withdrawn."""

    id: UUID
    cube_id: UUID
    branch_id: int
    model_key: str
    source_digest: str
    token_ids: list[int]
    seen_revision: int
    state: str
    promoted: bool
    pinned: bool
    budget_tokens: int
    codecs: list[str]
    uses: list[datetime]
    created_at: datetime
    sight: int


_COLUMNS = ", ".join(f"p.{name}" for name in StoredPlan.__dataclass_fields__)

_SOURCES = """
SELECT v.memory_id, t.version, t.revision, CAST(t.texts - 1 AS integer) AS edits, c.text AS content, v.created_at, c.tokens,
    v.kind, v.tags, v.priority, v.trust, coalesce(u.weighted_recalls, 0) AS weighted_recalls, u.last_recalled_at,
    coalesce(u.tier, 'plaintext') AS tier, greatest(memos_label(v.sensitivity, v.quarantined), c.label) AS sight
FROM {visible} v
JOIN contents c ON c.tenant_id = :tenant AND c.id = v.content_id AND c.text IS NOT NULL
LEFT JOIN usage u ON u.tenant_id = :tenant AND u.cube_id = v.cube_id AND u.memory_id = v.memory_id
CROSS JOIN LATERAL (SELECT min(o.version) FILTER (WHERE o.content_id = v.content_id) AS version,
        min(o.from_revision) FILTER (WHERE o.content_id = v.content_id) AS revision, count(DISTINCT o.content_id) AS texts
    FROM memory_versions o WHERE o.tenant_id = :tenant AND o.cube_id = v.cube_id AND o.memory_id = v.memory_id
        AND o.version <= v.version) t
WHERE {shown} AND v.state IN ('generated', 'activated', 'frozen') AND (v.expires_at IS NULL OR v.expires_at > :now)
    AND greatest(memos_label(v.sensitivity, v.quarantined), c.label) <= :shared
ORDER BY v.memory_id
"""


def sources(tx: Transaction, view: View, now: datetime) -> list[Source]:
    """Every live memory of a view that is for everybody who may read the cube: a plan and its caches are shared, and what
    was computed from a secret cannot be told apart from the rest."""
    source, bound = visible(view)
    rows = tx.rows(_SOURCES.format(visible=source, shown=SHOWN), now=now, shared=SHARED, **bound)
    return [Source(**row) for row in rows]


def find(tx: Transaction, cube_id: UUID, branch_id: int, model_key: str, source_digest: str) -> StoredPlan | None:
    """The plan of that digest: what it is made of and the model decide its tokens."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM kv_plans p WHERE p.tenant_id = :tenant AND p.cube_id = :cube AND p.branch_id = :branch "
        "AND p.model_key = :model AND p.source_digest = :digest",
        cube=cube_id, branch=branch_id, model=model_key, digest=source_digest,
    )  # fmt: skip
    return None if row is None else StoredPlan(**row)


def get(tx: Transaction, plan_id: UUID) -> StoredPlan:
    row = tx.row(f"SELECT {_COLUMNS} FROM kv_plans p WHERE p.tenant_id = :tenant AND p.id = :id", id=plan_id)
    if row is None:
        raise NotFound("no such plan")
    return StoredPlan(**row)


def latest(tx: Transaction, cube_id: UUID, branch_id: int, model_key: str) -> StoredPlan | None:
    """The plan made last: the one whose members have an advantage in the next."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM kv_plans p WHERE p.tenant_id = :tenant AND p.cube_id = :cube AND p.branch_id = :branch "
        "AND p.model_key = :model ORDER BY p.state = 'current' DESC, p.created_at DESC, p.id DESC LIMIT 1",
        cube=cube_id, branch=branch_id, model=model_key,
    )  # fmt: skip
    return None if row is None else StoredPlan(**row)


def members(tx: Transaction, plan_id: UUID) -> list[TokenSpan]:
    """Where each memory stands, in order of the prefix."""
    rows = tx.tuples(
        "SELECT memory_id, version, token_start, token_end FROM kv_plan_items WHERE tenant_id = :tenant AND plan_id = :plan "
        "ORDER BY position",
        plan=plan_id,
    )
    return [TokenSpan(str(memory_id), version, start, end) for memory_id, version, start, end in rows]


def labels(tx: Transaction, plan: StoredPlan) -> dict[str, int]:
    """How secret each memory of a plan is now, by its id."""
    rows = tx.tuples(
        "SELECT i.memory_id, max(c.label) FROM kv_plan_items i JOIN memory_versions v ON v.tenant_id = i.tenant_id "
        "AND v.cube_id = :cube AND v.memory_id = i.memory_id AND v.version = i.version "
        "JOIN contents c ON c.tenant_id = v.tenant_id AND c.id = v.content_id "
        "WHERE i.tenant_id = :tenant AND i.plan_id = :plan GROUP BY i.memory_id",
        cube=plan.cube_id, plan=plan.id,
    )  # fmt: skip
    return {str(memory_id): label for memory_id, label in rows}


def insert(
    tx: Transaction,
    view: View,
    model_key: str,
    source_digest: str,
    token_ids: Sequence[int],
    tokens_digest: bytes,
    spans: Sequence[TokenSpan],
    budget_tokens: int,
    sight: int,
) -> StoredPlan:
    """Remember a plan as the current one of its branch and model. What was promoted or pinned before it stays so."""
    before = latest(tx, view.cube.id, view.branch.id, model_key)
    plan_id = uuid_utils.uuid7()
    row = tx.row(
        "INSERT INTO kv_plans AS p (tenant_id, id, cube_id, branch_id, model_key, source_digest, token_ids, tokens_digest, "
        "seen_revision, promoted, pinned, budget_tokens, codecs, uses, sight) VALUES (:tenant, :id, :cube, :branch, :model, "
        ":digest, :ids, :tokens, :seen, :promoted, :pinned, :budget, :codecs, :uses, :sight) "
        "ON CONFLICT (tenant_id, cube_id, branch_id, model_key, source_digest) DO UPDATE SET state = 'current' "
        f"RETURNING {_COLUMNS}",
        id=plan_id, cube=view.cube.id, branch=view.branch.id, model=model_key, digest=source_digest, ids=list(token_ids),
        tokens=tokens_digest, seen=view.at, budget=budget_tokens, promoted=bool(before and before.promoted),
        pinned=bool(before and before.pinned), codecs=before.codecs if before else [], uses=before.uses if before else [],
        sight=sight,
    )  # fmt: skip
    assert row is not None  # noqa: S101 - the statement returns a row either way
    plan = StoredPlan(**row)
    if plan.id == plan_id and spans:
        tx.run_many(
            "INSERT INTO kv_plan_items (tenant_id, plan_id, position, memory_id, version, token_start, token_end) "
            "VALUES (:tenant, :plan, :position, :memory, :version, :start, :end)",
            [
                {"tenant": tx.tenant_id, "plan": plan_id, "position": position, "memory": UUID(span.memory_id),
                 "version": span.version, "start": span.start, "end": span.end}
                for position, span in enumerate(spans)
            ],
        )  # fmt: skip
    set_current(tx, plan, view.at, sight)
    return plan


def set_current(tx: Transaction, plan: StoredPlan, seen_revision: int, sight: int) -> None:
    """It is the plan as of that revision, as secret as its memories are now; all others of its branch and model are stale
    from here on."""
    tx.run(
        "UPDATE kv_plans SET seen_revision = greatest(seen_revision, :seen), sight = :sight "
        "WHERE tenant_id = :tenant AND id = :id AND (seen_revision < :seen OR sight <> :sight)",
        id=plan.id, seen=seen_revision, sight=sight,
    )  # fmt: skip
    tx.run(
        "UPDATE kv_plans SET state = CASE WHEN id = :id THEN 'current' ELSE 'stale' END WHERE tenant_id = :tenant "
        "AND cube_id = :cube AND branch_id = :branch AND model_key = :model "
        "AND state <> CASE WHEN id = :id THEN 'current' ELSE 'stale' END",
        id=plan.id, cube=plan.cube_id, branch=plan.branch_id, model=plan.model_key,
    )  # fmt: skip


def promote(tx: Transaction, plan_id: UUID, codecs: Sequence[str], *, pinned: bool) -> None:
    """From now on the plan is held as KV, and so is whatever plan replaces it."""
    tx.run(
        "UPDATE kv_plans SET promoted = true, pinned = pinned OR :pinned, codecs = :codecs "
        "WHERE tenant_id = :tenant AND id = :id",
        id=plan_id, codecs=list(codecs), pinned=pinned,
    )  # fmt: skip


def touch(tx: Transaction, plan_id: UUID, now: datetime) -> None:
    """One more use."""
    tx.run(
        "UPDATE kv_plans SET uses = (CAST(:now AS timestamptz) || uses)[1:CAST(:kept AS integer)] "
        "WHERE tenant_id = :tenant AND id = :id",
        id=plan_id, now=now, kept=USES_KEPT,
    )  # fmt: skip


def delete(tx: Transaction, plan_ids: Collection[UUID]) -> int:
    return tx.run("DELETE FROM kv_plans WHERE tenant_id = :tenant AND id = ANY(:ids)", ids=list(plan_ids))


def purge(tx: Transaction, before: datetime) -> int:
    """Forget stale plans made before that time."""
    return tx.run(
        "DELETE FROM kv_plans WHERE tenant_id = :tenant AND state = 'stale' AND created_at < :before", before=before
    )


def of_cubes(tx: Transaction, cube_id: UUID | None = None) -> list[StoredPlan]:
    """The current plans, of one cube or of all."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM kv_plans p WHERE p.tenant_id = :tenant AND p.state = 'current' "
        "AND p.cube_id = coalesce(CAST(:cube AS uuid), p.cube_id) ORDER BY p.id",
        cube=cube_id,
    )
    return [StoredPlan(**row) for row in rows]


def any_current(tx: Transaction) -> bool:
    return tx.row("SELECT 1 AS found FROM kv_plans WHERE tenant_id = :tenant AND state = 'current' LIMIT 1") is not None


def behind(tx: Transaction) -> list[tuple[UUID, str]]:
    """(cube, branch) of plans that are held as KV while their branch has moved on."""
    rows = tx.tuples(
        "SELECT DISTINCT p.cube_id, b.name FROM kv_plans p "
        "JOIN branches b ON b.tenant_id = p.tenant_id AND b.id = p.branch_id AND b.deleted_at IS NULL "
        "JOIN cubes c ON c.tenant_id = p.tenant_id AND c.id = p.cube_id "
        "WHERE p.tenant_id = :tenant AND p.state = 'current' AND b.head_revision > p.seen_revision "
        "AND (p.promoted OR c.policy -> 'activation' ->> 'kv' = 'true') ORDER BY 1, 2"
    )
    return [(row[0], row[1]) for row in rows]


def edits_per_day(tx: Transaction, plan: StoredPlan, now: datetime, window_days: float) -> float:
    """How often a text of one of the plan's memories has changed in the last days."""
    changed = tx.scalar(
        "SELECT count(*) FROM memory_versions v JOIN kv_plan_items i ON i.tenant_id = v.tenant_id AND i.memory_id = v.memory_id "
        "WHERE v.tenant_id = :tenant AND v.cube_id = :cube AND i.plan_id = :plan AND v.version > 1 "
        "AND v.recorded_at > CAST(:now AS timestamptz) - make_interval(secs => :window) "
        "AND NOT EXISTS (SELECT 1 FROM memory_versions b WHERE b.tenant_id = v.tenant_id AND b.cube_id = v.cube_id "
        "AND b.memory_id = v.memory_id AND b.version < v.version AND b.content_id = v.content_id)",
        cube=plan.cube_id, plan=plan.id, now=now, window=window_days * 86_400,
    )  # fmt: skip
    return float(changed) / window_days
