"""What a decay or promotion run has to know of each memory, in one statement, and when a cube had its last run.

A run need not look at what cannot change: without a budget to keep, only memories near one of the policy's edges are
read. The edges are drawn a little wide here; the exact question is `memos.rules.forgetting`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from memos.rules import strength
from memos.rules.forgetting import Policy
from memos.store.cubes import View
from memos.store.memories import SHOWN, visible
from memos.store.transaction import Transaction
from memos.store.usage import INITIAL_STABILITY, days_since

MADE_BY_WORKERS = ("decay",)
"""Kinds of revisions whose archiving was nobody's wish, so that strength alone may undo it."""
# How much wider the edges are drawn than the policy says: far more than four-byte reals can blur.
_SLACK = 0.005


@dataclass(frozen=True, slots=True)
class Standing:
    """A memory as a run finds it. `recent` are its last recalls, newest first; `citations` the live memories made of it."""

    version_id: int
    memory_id: UUID
    version: int
    kind: str
    state: str
    priority: float
    trust: float
    tags: list[str]
    expires_at: datetime | None
    created_at: datetime
    recalls: int
    recent: list[datetime]
    last_recalled_at: datetime | None
    stability_days: float
    weighted_recalls: float
    tier: str
    size_bytes: int
    tokens: int
    withdrawn: bool
    citations: int


_STABILITY = f"coalesce(u.stability_days, {INITIAL_STABILITY})"
_RETAINED = (
    f"power(1.0 + {strength.FACTOR} * {days_since('coalesce(u.last_recalled_at, m.created_at)')} / {_STABILITY}, "
    f"-{strength.DECAY})"
)
_SCORE = (
    f"power({_RETAINED}, power(2.0, :priority_weight * (1.0 - 2.0 * CAST(v.priority AS double precision)))) "
    "* power(CAST(v.trust AS double precision), CAST(:trust_weight AS double precision))"
)
_NEAR_AN_EDGE = f"""AND (v.expires_at <= :now OR CASE WHEN v.state = 'archived'
    THEN v.tags && CAST(:pin_tags AS text[]) OR u.last_recalled_at >= :window OR {_SCORE} >= :restore_above - {_SLACK}
    ELSE {_SCORE} <= :archive_below + {_SLACK} END)"""
_STANDINGS = f"""
WITH seen AS MATERIALIZED (SELECT v.* FROM {{visible}} v WHERE {SHOWN}
    AND v.state IN ('generated', 'activated', 'archived', 'frozen')),
cited AS (SELECT s.source_memory_id AS memory_id, count(DISTINCT s.memory_id) AS n FROM seen d
    JOIN memory_sources s ON s.tenant_id = :tenant AND s.cube_id = d.cube_id AND s.memory_id = d.memory_id
        AND s.version = d.version
    WHERE d.state <> 'archived' AND d.origin <> 'direct' GROUP BY s.source_memory_id)
SELECT v.id AS version_id, v.memory_id, v.version, v.kind, v.state, v.priority, v.trust, v.tags, v.expires_at,
    m.created_at, coalesce(u.recalls, 0) + coalesce(u.repeats, 0) AS recalls,
    coalesce(u.recent, '{{{{}}}}') AS recent, u.last_recalled_at, {_STABILITY} AS stability_days,
    coalesce(u.weighted_recalls, 0) AS weighted_recalls, coalesce(u.tier, 'plaintext') AS tier,
    octet_length(c.text) + pg_column_size(c.embedding) AS size_bytes, c.tokens,
    v.state = 'archived' AND r.kind <> ALL(:by_workers) AS withdrawn, coalesce(d.n, 0) AS citations
FROM seen v
JOIN memories m ON m.tenant_id = :tenant AND m.cube_id = v.cube_id AND m.id = v.memory_id
JOIN contents c ON c.tenant_id = :tenant AND c.id = v.content_id
JOIN revisions r ON r.tenant_id = :tenant AND r.cube_id = v.cube_id AND r.number = v.from_revision
LEFT JOIN usage u ON u.tenant_id = :tenant AND u.cube_id = v.cube_id AND u.memory_id = v.memory_id
LEFT JOIN cited d ON d.memory_id = v.memory_id
WHERE true {{edges}} ORDER BY v.memory_id
"""


def standings(tx: Transaction, view: View) -> list[Standing]:
    """Every memory of a view that is live, archived or frozen, in order of writing."""
    return _read(tx, view, "", {})


def due(tx: Transaction, view: View, policy: Policy, pin_tags: Sequence[str], now: datetime) -> list[Standing]:
    """Those about which the policy could decide anything but to leave them; all of them when it sets a budget."""
    if policy.max_memories is not None or policy.max_bytes is not None:
        return standings(tx, view)
    parameters = {
        "now": now,
        "priority_weight": policy.priority_weight,
        "trust_weight": policy.trust_weight,
        "archive_below": policy.archive_below,
        "restore_above": policy.restore_above,
        "pin_tags": list(pin_tags),
        "window": now - timedelta(days=policy.protect_window_days),
    }
    return _read(tx, view, _NEAR_AN_EDGE, parameters)


def _read(tx: Transaction, view: View, edges: str, parameters: dict[str, object]) -> list[Standing]:
    source, bound = visible(view)
    statement = _STANDINGS.format(visible=source, edges=edges)
    rows = tx.tuples(statement, **parameters, **bound, by_workers=list(MADE_BY_WORKERS))
    return [Standing(*row) for row in rows]


# ---------------------------------------------------------------- runs


def mark_run(tx: Transaction, cube_id: UUID, task: str, now: datetime) -> None:
    """Remember when a cube was last gone through. `task` is `decayed` or `promoted`."""
    column = {"decayed": "decayed_at", "promoted": "promoted_at"}[task]
    tx.run(f"UPDATE cubes SET {column} = :now WHERE tenant_id = :tenant AND id = :cube", cube=cube_id, now=now)


def cubes_to_decay(tx: Transaction, now: datetime, every: timedelta) -> list[UUID]:
    """Cubes whose `main` has something to forget: not gone through for that long, a time to live that has passed, or
    more memories than the policy allows."""
    rows = tx.rows(
        "SELECT c.id FROM cubes c JOIN branches b ON b.tenant_id = c.tenant_id AND b.cube_id = c.id AND b.name = 'main' "
        "WHERE c.tenant_id = :tenant AND b.deleted_at IS NULL AND b.head_revision > 0 "
        "AND c.policy -> 'forget' ->> 'enabled' IS DISTINCT FROM 'false' "
        "AND (c.decayed_at IS NULL OR c.decayed_at <= :before "
        "OR CAST(c.policy -> 'forget' ->> 'max_memories' AS bigint) < b.live_count "
        "OR EXISTS (SELECT 1 FROM memory_versions v WHERE v.tenant_id = :tenant AND v.branch_id = b.id "
        "AND v.to_revision IS NULL AND v.expires_at <= :now AND v.state IN ('generated', 'activated', 'archived'))) "
        "ORDER BY c.id",
        before=now - every,
        now=now,
    )
    return [row["id"] for row in rows]


def cubes_to_promote(tx: Transaction, now: datetime, every: timedelta) -> list[UUID]:
    """Cubes that were not gone through for that long and have been recalled from since."""
    rows = tx.rows(
        "SELECT c.id FROM cubes c WHERE c.tenant_id = :tenant "
        "AND c.policy -> 'promote' ->> 'enabled' IS DISTINCT FROM 'false' "
        "AND (c.promoted_at IS NULL OR c.promoted_at <= :before) "
        "AND EXISTS (SELECT 1 FROM usage u WHERE u.tenant_id = :tenant AND u.cube_id = c.id AND u.recalls > 0) ORDER BY c.id",
        before=now - every,
    )
    return [row["id"] for row in rows]
