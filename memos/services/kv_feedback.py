"""What callers tell the activation tier and ask of it: promotions, the end of a plan, how caches served, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from memos.errors import Invalid, NotFound
from memos.rules import kv_address, kv_policy
from memos.rules.access import Principal, Scope
from memos.services import kv_lookup, kv_plan
from memos.services.kv_tier import ActivationTier, ref_of
from memos.store import audit, cubes, jobs, kv_chunks, kv_models, kv_plans, kv_taint
from memos.store.jobs import Job
from memos.store.kv_models import Outcome
from memos.store.transaction import Transaction

TENANT: Final = "tenant"
"""The word by which a budget's scope means all cubes together."""


@dataclass(frozen=True, slots=True)
class Removed:
    plan_id: UUID
    chunks_removed: int
    bytes_freed: int


@dataclass(frozen=True, slots=True)
class BudgetView:
    scope: str
    bytes_max: int
    bytes_used: int


def promote(
    tx: Transaction,
    tier: ActivationTier,
    who: Principal,
    *,
    cube: str,
    branch: str,
    model: str | None,
    plan_id: UUID | None,
    pin: bool,
    codecs: Sequence[str] | None,
    budget_tokens: int | None,
    now: datetime,
) -> Job:
    """Promise a build, whatever the policy would say. Raises `NotFound` when the service keeps no caches of the model."""
    who.require(Scope.WRITE)
    view = kv_plan.reach(tx, who, cube, branch)
    if not tier.serves(model):
        raise NotFound("no such model: this service keeps no caches of it")
    if plan_id is not None and kv_plan.find(tx, who, plan_id).cube_id != view.cube.id:
        raise Invalid("the plan is of another cube", where=["body", "plan_id"])
    job_id = kv_plan.promise_build(
        tx, view.cube.id, view.branch.name, promote=True, pin=pin, codecs=list(codecs) if codecs else None,
        plan_id=str(plan_id) if plan_id else None, budget_tokens=budget_tokens,
    )  # fmt: skip
    audit.record(tx, who.key_id, "kv.promote", now, cube_id=view.cube.id, target=str(job_id), detail={"pin": pin})
    return jobs.get(tx, job_id)


def remove_plan(tx: Transaction, tier: ActivationTier, who: Principal, plan_id: UUID, *, now: datetime) -> Removed:
    """Forget a plan and every chunk that no other plan of the cube still has in its chain."""
    who.require(Scope.WRITE)
    plan = kv_plan.find(tx, who, plan_id)
    others = [p for p in kv_plans.of_cubes(tx, plan.cube_id) if p.id != plan.id and p.model_key == plan.model_key]
    root = tier.root(tx.tenant_id, plan.cube_id, plan.model_key)
    kept = {chunk.key for other in others for chunk in kv_address.chain(root, other.token_ids)}
    own = {chunk.key for chunk in kv_address.chain(root, plan.token_ids)} - kept
    keys = kv_taint.below(tx, own)
    freed = sum(o.n_bytes for o in kv_chunks.objects(tx, keys, states=(kv_chunks.VERIFIED, kv_chunks.QUARANTINE)))
    blobs = tier.blobs(tx.tenant_id)
    for cube_id, blob in kv_chunks.delete(tx, keys):
        tx.after_commit(partial(blobs.delete, ref_of(cube_id, blob)))
    kv_plans.delete(tx, [plan.id])
    audit.record(
        tx, who.key_id, "kv.plan.delete", now, cube_id=plan.cube_id, target=str(plan.id), detail={"chunks": len(keys)}
    )
    return Removed(plan.id, len(keys), freed)


def record_outcome(
    tx: Transaction,
    who: Principal,
    *,
    cube: str,
    model: str,
    keys: Sequence[bytes],
    loaded: bool,
    used_tokens: int,
    ttft_ms: float,
    category: str,
    now: datetime,
) -> float:
    """What a use came to: milliseconds saved against prefilling the same tokens (below 0 when loading was slower)."""
    who.require(Scope.KV)
    home = cubes.find(tx, cube)
    who.reach(home.id)
    known = kv_models.find(tx, model)
    prefill, _, _ = kv_lookup.costs(known)
    # The time to the first token holds the question as well, which nothing saves: this errs on the low side.
    saved_ms = round(prefill.seconds(used_tokens) * 1e3 - ttft_ms, 3) if loaded else 0.0
    kv_models.record_outcome(
        tx,
        Outcome(cube_id=home.id, model_key=known.model_key, at=now, category=category, loaded=loaded,
                used_tokens=used_tokens, ttft_ms=ttft_ms, saved_ms=saved_ms),
    )  # fmt: skip
    if loaded and keys:
        used = [s for s in kv_chunks.standings_of(tx, home.id, keys) if s.model_key == known.model_key]
        ends = sorted(used, key=lambda s: s.start)[-1:]
        rates = {s.key: kv_policy.used(s.uses_per_day, last=s.last_used_at, now=now) for s in ends}
        clock = kv_models.budget(tx, tx.tenant_id).clock
        kv_chunks.touch(tx, [s.key for s in used], now, rates=rates, clock=clock)
    return saved_ms


def stats(tx: Transaction, tier: ActivationTier, who: Principal, cube: str | None) -> dict[str, Any]:
    """Figures of a cube, or of every cube the key reaches."""
    who.require(Scope.READ)
    scope, only = TENANT, None if who.cube_ids is None else list(who.cube_ids)
    budget_of, default = tx.tenant_id, tier.settings.kv_budget_bytes
    if cube is not None:
        home = cubes.find(tx, cube)
        who.reach(home.id)
        scope, only, budget_of = home.name, [home.id], home.id
    objects = kv_chunks.counts(tx, only)
    used = sum(row["bytes"] for row in objects)
    most = kv_models.budget(tx, budget_of).bytes_max
    plans = [p for p in kv_plans.of_cubes(tx) if only is None or p.cube_id in only]
    return {
        "models": kv_models.all_models(tx),
        "plans": len(plans),
        "chunks": kv_chunks.count(tx, only),
        "objects": objects,
        "bytes": used,
        "budget": BudgetView(scope, default if most is None else most, used),
        "outcomes": kv_models.outcome_sums(tx, only),
        "blobs": tier.settings.kv_blobs,
    }


def set_budget(tx: Transaction, who: Principal, scope: str, bytes_max: int, *, now: datetime) -> BudgetView:
    """Of a cube, or of the whole tenant for the word `tenant`. What is above it goes with the next eviction."""
    who.require(Scope.WRITE)
    if scope == TENANT:
        who.require_unbound()
        scope_id, cube_id, name = tx.tenant_id, None, TENANT
    else:
        home = cubes.find(tx, scope)
        who.reach(home.id)
        scope_id, cube_id, name = home.id, home.id, home.name
    kv_models.set_budget(tx, scope_id, bytes_max)
    jobs.promise(tx, "kv.evict", dedup_key="kv.evict")
    audit.record(tx, who.key_id, "kv.budget", now, cube_id=cube_id, target=name, detail={"bytes_max": bytes_max})
    return BudgetView(name, bytes_max, kv_chunks.bytes_used(tx, cube_id))
