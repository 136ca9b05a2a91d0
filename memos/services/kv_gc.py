"""Job `kv.gc`: blobs without rows, rows without blobs, drafts of writers that died, and plans nobody asks for any more."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from memos.errors import NotFound
from memos.services.attempt import Attempt, Outcome
from memos.services.kv_tier import Named, ref_of
from memos.services.remember import utc_now
from memos.store import kv_chunks, kv_models, kv_plans, kv_slots

GC: Final = "kv.gc"
GRACE: Final = timedelta(hours=1)
"""A blob without a row may be a writer's who has not come to the row yet; no build takes this long."""
KEEP_STALE_PLANS: Final = timedelta(days=7)
KEEP_OUTCOMES: Final = timedelta(days=90)


def gc(attempt: Attempt) -> Outcome:
    """Job `kv.gc`, payload `{owner?}`: the whole tenant, or what a deleted cube left (its key is gone already)."""
    blobs = attempt.parts.kv.blobs(attempt.tenant_id)
    now = utc_now()
    if owner := attempt.job.payload.get("owner"):
        gone = sum(blobs.delete(item.ref) for item in list(blobs.listing(owner)))
        return Outcome({"blobs": gone})
    with attempt.reading() as tx:
        owners = kv_models.sealed_cubes(tx)
    collected = dangling = 0
    for cube_id in owners:
        attempt.check()
        collected_now, dangling_now = collect(attempt, cube_id, before=now - GRACE)
        collected += collected_now
        dangling += dangling_now
    drafts = blobs.sweep(older_than=now - GRACE)
    with attempt.saving() as tx:
        plans = kv_plans.purge(tx, now - KEEP_STALE_PLANS)
        outcomes = kv_models.purge_outcomes(tx, now - KEEP_OUTCOMES)
        result = {"blobs": collected, "dangling_rows": dangling, "drafts": drafts, "plans": plans, "outcomes": outcomes}
        return attempt.finish(tx, result)


def collect(attempt: Attempt, cube_id: UUID, *, before: datetime) -> tuple[int, int]:
    """Delete the cube's blobs that no row names and that are older than `before`, and its rows that name no blob."""
    blobs = attempt.parts.kv.blobs(attempt.tenant_id)
    listed = {bytes.fromhex(item.ref.sha256): item for item in blobs.listing(str(cube_id))}
    with attempt.reading() as tx:
        named, known = kv_chunks.objects_of(tx, cube_id), kv_chunks.blobs_named(tx, cube_id)
        slots = kv_slots.of_cube(tx, cube_id)
    gone = sum(
        blobs.delete(item.ref) for blob, item in listed.items() if blob not in known and item.modified_at < before
    )
    dangling = [found for found in named if found.blob not in listed and not _exists(attempt, found)]
    lost = [file for file in slots if file.blob not in listed and not _exists(attempt, file)]
    if dangling or lost:
        with attempt.saving() as tx:
            for found in dangling:
                kv_chunks.drop(tx, found)
            for file in lost:
                kv_slots.delete(tx, file.id)
    return gone, len(dangling) + len(lost)


def _exists(attempt: Attempt, found: Named) -> bool:
    """Looked at once more: it may have been stored after the listing."""
    try:
        with attempt.parts.kv.blobs(attempt.tenant_id).open(ref_of(found.cube_id, found.blob)):
            return True
    except NotFound:
        return False
