"""By the clock: which plans get caches, and which have to be built again.

Every minute, plans that are held as KV while their branch has moved on are built again (`tick`, one statement a tenant);
every hour, job `kv.promote` judges all current plans of cubes that want caches: two uses in a day, text that stays, loading
that beats prefilling, and room. What a caller promoted counts as pinned.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from memos.rules import activation_policy, kv_policy
from memos.rules.kv_policy import Candidate, Verdict
from memos.services import kv_evict, kv_lookup, kv_plan
from memos.services.attempt import Attempt, Outcome
from memos.services.kv_tier import ActivationTier
from memos.services.remember import utc_now
from memos.store import cubes, jobs, kv_chunks, kv_models, kv_plans
from memos.store.engine import Database
from memos.store.kv_plans import StoredPlan
from memos.store.transaction import Transaction

PROMOTE: Final = "kv.promote"
HOURLY: Final = (PROMOTE, "kv.gc", "kv.verify")


def plan(database: Database, tenant_id: UUID, now: datetime) -> int:  # noqa: ARG001 - the port gives the time
    """Promise what has to happen in a tenant that keeps caches; how many jobs. Costs one statement in the others."""
    with database.transaction(tenant_id) as tx:
        if not kv_plans.any_current(tx):
            return 0
        for kind in HOURLY:
            jobs.promise(tx, kind, dedup_key=kind)
        return len(HOURLY)


def tick(database: Database, tenant_id: UUID) -> int:
    """Promise a build for each plan that is held as KV while its branch has moved on; how many."""
    with database.transaction(tenant_id) as tx:
        behind = kv_plans.behind(tx)
        for cube_id, branch in behind:
            kv_plan.promise_build(tx, cube_id, branch)
    return len(behind)


def promote(attempt: Attempt) -> Outcome:
    """Job `kv.promote`: which of the current plans are worth their cache. Only plans of cubes that want caches are."""
    tier = attempt.parts.kv
    now = utc_now()
    verdicts: dict[str, int] = {}
    with attempt.saving() as tx:
        for found in kv_plans.of_cubes(tx):
            cube = cubes.find(tx, str(found.cube_id))
            if not (found.promoted or activation_policy.parse(cube.policy).kv) or not tier.serves(found.model_key):
                continue
            verdict = judge(tx, tier, found, now)
            if verdict is Verdict.ADMITTED:
                branch = next((b.name for b in cubes.list_branches(tx, cube.id) if b.id == found.branch_id), None)
                if branch is not None:
                    kv_plan.promise_build(tx, cube.id, branch)
            verdicts[verdict.value] = verdicts.get(verdict.value, 0) + 1
        return attempt.finish(tx, {"verdicts": verdicts})


def judge(tx: Transaction, tier: ActivationTier, found: StoredPlan, now: datetime) -> Verdict:
    """What the policy says of building a plan. One that was promoted by hand counts as pinned."""
    model = kv_models.find(tx, found.model_key)
    prefill, load, _ = kv_lookup.costs(model)
    n_tokens = len(found.token_ids)
    codec = (found.codecs or ["int8"])[0]
    n_bytes = int(model.bytes_per_token * n_tokens * kv_evict.share(model.spec, codec))
    residents = kv_evict.residents(tx, tier, None, now)
    room = kv_policy.evict(residents, need_bytes=n_bytes, clock=0.0)
    victims = [step.priority for step in room.steps] if room.freed_bytes >= n_bytes else []
    candidate = Candidate(
        uses=tuple(found.uses),
        n_tokens=n_tokens,
        n_bytes=n_bytes,
        uses_per_day=float(sum(1 for use in found.uses if now - kv_policy.USE_WINDOW <= use <= now)),
        edits_per_day=kv_plans.edits_per_day(tx, found, now, kv_evict.EDIT_WINDOW_DAYS),
        load_s=load.seconds(n_bytes, codec),
        prefill_s=prefill.seconds(n_tokens),
        pinned=found.pinned or found.promoted,
    )
    free = tier.budget(tx) - kv_chunks.bytes_used(tx, None)
    return kv_policy.admit(
        candidate, now=now, clock=0.0, free_bytes=free, victim_priority=max(victims) if victims else None
    )
