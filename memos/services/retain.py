"""Retain: what a cube's retention policy says is over, ends: expired by a revision, or erased with a receipt.

The job `retain` only expires by itself; an erasure it promises as an `erase` job, so that there is one way in which
content goes, with its probes and its receipt. What is held or frozen stays, and is looked at again the next day.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.errors import Frozen, Held
from memos.rules import retention as rules
from memos.rules.header import instant
from memos.services import erase, holds
from memos.services.attempt import Attempt, Outcome
from memos.services.remember import utc_now
from memos.store import ages, audit, cubes, erasure, jobs, memories, receipts
from memos.store import holds as held_rows
from memos.store.ages import Aged
from memos.store.cubes import Cube
from memos.store.engine import Database
from memos.store.revision_writer import RevisionWriter
from memos.store.transaction import Transaction

KIND = "retain"
EVERY = timedelta(days=1)
MOST_AT_ONCE = 2_000
"""Memories in one run, during which writers of the cube wait; what is left has a run of its own."""
POLICY = UUID(int=1)
"""In receipts and the trail: nobody's key, but the cube's policy."""


def plan(database: Database, tenant_id: UUID, now: datetime) -> int:
    """Promise a run for every cube with a retention policy, once a day; how many."""
    with database.transaction(tenant_id) as tx:
        found = ages.cubes_to_retain(tx, now, EVERY)
        for cube_id in found:
            jobs.promise(tx, KIND, cube_id=cube_id, payload={"now": instant(now)}, dedup_key=str(cube_id))
    return len(found)


def retain(attempt: Attempt) -> Outcome:
    """Job `retain`, payload `{now?}`."""
    given = attempt.job.payload.get("now")
    now = datetime.fromisoformat(given) if given else utc_now()
    with attempt.saving() as tx:
        cube = cubes.find(tx, str(attempt.job.cube_id), lock=True)
        classes = rules.parse(cube.policy.get("retention", []))
        ages.mark_run(tx, cube.id, now)
        if not classes:
            return attempt.finish(tx, {"skipped": "the policy has no retention"})
        rows = ages.older_than(tx, cube.id, min(c.max_age for c in classes), now, MOST_AT_ONCE)
        over: dict[UUID, rules.Class] = {}
        shown: dict[UUID, list[Aged]] = defaultdict(list)
        for row in rows:
            shown[row.memory_id].append(row)
            found = rules.due(
                classes, kind=row.kind, tags=row.tags, sensitivity=row.sensitivity, written_at=row.written_at, now=now
            )
            if found is not None and (row.memory_id not in over or found.then == rules.ERASE):
                over[row.memory_id] = found
        kept = held_rows.held(tx, cube.id, over)
        going = {memory_id: one for memory_id, one in over.items() if memory_id not in kept}
        expiring = [row for m, one in going.items() if one.then == rules.EXPIRE for row in shown[m]]
        expired = _expire(tx, cube, expiring)
        erased = _erase(tx, cube, [m for m, one in going.items() if one.then == rules.ERASE], now)
        result = {"expired": len(expired), "erasing": erased, "held": len(kept)}
        if expired or erased:
            audit.record(tx, None, "cube.retain", now, cube_id=cube.id, detail=result)
        return attempt.finish(tx, result, expired[-1] if expired else None)


def _expire(tx: Transaction, cube: Cube, rows: list[Aged]) -> list[int]:
    """The revisions written, one a branch, once for every memory that expires."""
    revisions: list[int] = []
    branches = sorted({row.branch for row in rows})
    for branch in branches:
        writer = RevisionWriter(tx, str(cube.id), branch, now=utc_now())
        wanted = [r.memory_id for r in rows if r.branch == branch and r.state in ("generated", "activated", "archived")]
        for row in memories.get_many(tx, writer.view, wanted).values():
            writer.change(row, replace(row.draft(), state="expired", action="expire"))
        if len(writer):
            revised = writer.finish(kind=KIND, author=None, reason="the retention policy")
            revisions += [revised.number] * len(wanted)
    return revisions


def _erase(tx: Transaction, cube: Cube, memory_ids: list[UUID], now: datetime) -> int:
    """Promise the erasure of what nothing stands against; how many memories."""
    free = []
    for memory_id in memory_ids:
        reached = erasure.closure(tx, cube.id, [memory_id])
        try:
            erase.refuse_frozen(tx, cube, reached)
            holds.refuse(tx, cube.id, reached)
        except (Frozen, Held):
            continue
        free.append(memory_id)
    if not free:
        return 0
    receipt_id = uuid_utils.uuid7()
    payload = {
        "memory_ids": [str(memory_id) for memory_id in free],
        "receipt_id": str(receipt_id),
        "requested_by": str(POLICY),
        "requested_at": instant(now),
        "reason": "the retention policy",
    }
    job_id = jobs.promise(tx, erase.KIND, cube_id=cube.id, payload=payload)
    receipts.promise(tx, receipt_id, cube.id, job_id, POLICY, now)
    return len(free)
