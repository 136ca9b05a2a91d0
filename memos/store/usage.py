"""What recall teaches about a memory: counts, times and stability outside history, because reading must not write it.

The forgetting curve and its growth are `memos.rules.strength`; here they are one statement, so that counts flushed by
several processes add up. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from memos.rules import strength
from memos.rules.promotion import RECALL_HALF_LIFE_DAYS
from memos.store import cubes
from memos.store.transaction import Transaction

RECENT = 8
"""Recalls remembered one by one; policies ask for no more."""

_KINDS = " ".join(f"WHEN '{kind}' THEN {days}" for kind, days in strength.INITIAL_STABILITY_DAYS.items())
INITIAL_STABILITY = (
    f"least({strength.STABILITY_MAX_DAYS}, greatest({strength.STABILITY_MIN_DAYS}, "
    f"(CASE v.kind {_KINDS} ELSE {strength.INITIAL_STABILITY_DAYS['turn']} END) "
    "* power(4.0, 2.0 * CAST(v.priority AS double precision) - 1.0)))"
)
"""SQL: the stability in days of a version `v` that was never recalled, as `strength.initial_retention` has it."""


def days_since(since: str) -> str:
    """SQL: days from a time to `:now`, never negative."""
    return f"(greatest(0, extract(epoch FROM CAST(:now AS timestamptz) - {since})) / 86400.0)"


def _reinforced(stability: str, since: str) -> str:
    """The stability after a recall at `:now`: several at once are one, the later ones find everything retained."""
    retained = f"power(1.0 + {strength.FACTOR} * {days_since(since)} / {stability}, -{strength.DECAY})"
    growth = f"(1.0 + {strength.GROWTH_GAIN} * (exp({strength.GROWTH_RATE} * (1.0 - {retained})) - 1.0))"
    return f"CAST(least({strength.STABILITY_MAX_DAYS}, {stability} * {growth}) AS real)"


_OF_MEMORY = """JOIN memories m ON m.tenant_id = :tenant AND m.cube_id = CAST(:cube AS uuid) AND m.id = s.id
    AND m.erased_at IS NULL
CROSS JOIN LATERAL (SELECT o.kind, o.priority FROM memory_versions o WHERE o.tenant_id = :tenant
    AND o.cube_id = CAST(:cube AS uuid) AND o.memory_id = s.id ORDER BY o.version DESC LIMIT 1) v"""

_UPSERT = f"""
INSERT INTO usage (tenant_id, cube_id, memory_id, {{count}}, last_recalled_at, stability_days, recent, weighted_recalls)
SELECT :tenant, CAST(:cube AS uuid), s.id, s.n, CAST(:now AS timestamptz),
    {_reinforced(INITIAL_STABILITY, "m.created_at")},
    array_fill(CAST(:now AS timestamptz), ARRAY[least(s.n, {RECENT})]), s.n
FROM unnest(CAST(:ids AS uuid[]), CAST(:counts AS integer[])) AS s (id, n)
{_OF_MEMORY}
ORDER BY s.id
ON CONFLICT (tenant_id, cube_id, memory_id) DO UPDATE SET {{count}} = usage.{{count}} + excluded.{{count}},
    last_recalled_at = greatest(usage.last_recalled_at, excluded.last_recalled_at),
    stability_days = {_reinforced("CAST(usage.stability_days AS double precision)", "usage.last_recalled_at")},
    recent = (excluded.recent || usage.recent)[1:{RECENT}],
    weighted_recalls = usage.weighted_recalls * power(0.5, {days_since("usage.last_recalled_at")} / {RECALL_HALF_LIFE_DAYS})
        + excluded.weighted_recalls
"""

# In place, for a first recall is no change of the memory. A row somebody is replacing at this moment is left to them: the
# version they write follows from what they read, and the next recall finds that one.
_ACTIVATE = """
UPDATE memory_versions SET state = 'activated' WHERE tenant_id = :tenant AND id IN (
    SELECT o.id FROM memory_versions o WHERE o.tenant_id = :tenant AND o.cube_id = CAST(:cube AS uuid)
        AND o.memory_id = ANY(:ids) AND o.to_revision IS NULL AND o.state = 'generated' AND NOT o.tombstone
        AND o.erased_at IS NULL ORDER BY o.id FOR UPDATE SKIP LOCKED)
"""

_SAID = f"""
INSERT INTO usage (tenant_id, cube_id, memory_id, stability_days, said_at)
SELECT :tenant, CAST(:cube AS uuid), s.id, {INITIAL_STABILITY}, s.at
FROM unnest(CAST(:ids AS uuid[]), CAST(:moments AS timestamptz[])) AS s (id, at)
{_OF_MEMORY}
ORDER BY s.id
ON CONFLICT (tenant_id, cube_id, memory_id) DO UPDATE SET said_at = greatest(usage.said_at, excluded.said_at)
"""

_TIER = f"""
INSERT INTO usage (tenant_id, cube_id, memory_id, stability_days, tier)
SELECT :tenant, CAST(:cube AS uuid), s.id, {INITIAL_STABILITY}, :tier FROM unnest(CAST(:ids AS uuid[])) AS s (id)
{_OF_MEMORY}
ON CONFLICT (tenant_id, cube_id, memory_id) DO UPDATE SET tier = excluded.tier
"""


def repeated(tx: Transaction, cube_id: UUID, memory_ids: Sequence[UUID], now: datetime) -> None:
    """Said again: as good as recalled."""
    if memory_ids:
        tx.run(
            _UPSERT.format(count="repeats"), cube=cube_id, ids=list(memory_ids), counts=[1] * len(memory_ids), now=now
        )


def said_again(tx: Transaction, cube_id: UUID, moments: Mapping[UUID, datetime]) -> None:
    """When memories were last said again, for whoever has to tell which of two values was the last word."""
    if moments:
        tx.run(_SAID, cube=cube_id, ids=list(moments), moments=list(moments.values()))


def last_said(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID]) -> dict[UUID, datetime]:
    """Those of these memories that were said again, and when last."""
    if not memory_ids:
        return {}
    rows = tx.rows(
        "SELECT memory_id, said_at FROM usage WHERE tenant_id = :tenant AND cube_id = :cube "
        "AND memory_id = ANY(:ids) AND said_at IS NOT NULL",
        cube=cube_id,
        ids=list(memory_ids),
    )
    return {row["memory_id"]: row["said_at"] for row in rows}


def recalled(tx: Transaction, cube_id: UUID, counts: Mapping[UUID, int], now: datetime) -> None:
    """Add what a buffer of answered searches has counted: strength grows, and what was only generated is activated."""
    # Held until commit: a cube must not be deleted between finding its memories and counting them.
    if counts and cubes.there(tx, cube_id):
        tx.run(_UPSERT.format(count="recalls"), cube=cube_id, ids=list(counts), counts=list(counts.values()), now=now)
        tx.run(_ACTIVATE, cube=cube_id, ids=list(counts))


def set_tier(tx: Transaction, cube_id: UUID, memory_ids: Sequence[UUID], tier: str) -> None:
    """Which tier a memory should be held in; building what that takes is somebody else's job."""
    if memory_ids:
        tx.run(_TIER, cube=cube_id, ids=sorted(memory_ids), tier=tier)
