"""Job `kv.build`: the caches of a plan, from the first chunk that is missing.

What stands before it is loaded, not computed again, so an edit costs what came after it. Builders of one cube and model
take turns; whoever comes second finds the chunks there. The model runs outside any transaction.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from memos.encoders.kv_codecs import StoredChunk, decode_prefix
from memos.encoders.kv_state import KVState
from memos.errors import KVRejected, NotFound
from memos.rules import kv_address
from memos.rules.kv_address import Chunk
from memos.rules.kv_layout import CHUNK_TOKENS, Group, needed_chunks
from memos.services import kv_gates, kv_keep, kv_plan
from memos.services.attempt import Attempt, Outcome
from memos.services.kv_serve import label_of
from memos.services.kv_tier import ActivationTier, sealed_bytes
from memos.services.remember import utc_now
from memos.store import cubes, jobs, kv_chunks, kv_locks, kv_models, kv_plans
from memos.store.kv_chunks import VERIFIED, StoredObject
from memos.store.kv_plans import StoredPlan

EVICT = "kv.evict"
_PARENTS: Final = ("raw", "bf16", "int8")
"""Codecs a suffix may be computed after, nearest to exact first. What int4 loses would be built in for good."""


@dataclass(slots=True)
class _Built:
    """What a build came to; `state` holds the new tokens, from `start` on."""

    start: int
    state: KVState | None
    prefill_s: float = 0.0
    sealed: list[kv_keep.Sealed] = field(default_factory=list)


def build(attempt: Attempt) -> Outcome:
    """Payload `{branch, plan_id?, pin?, codecs?, budget_tokens?}`."""
    tier = attempt.parts.kv
    payload = attempt.job.payload
    kv_plan.warm(tier, None)
    with attempt.saving() as tx:
        plan, wished = _plan(tx, tier, attempt, payload)
        cipher = tier.cipher(tx, plan.cube_id, make=True)
    with kv_locks.building(
        attempt.parts.database, attempt.tenant_id, plan.cube_id, plan.model_key, waiting=attempt.check
    ):
        known = _gates(attempt, plan, wished)
        codec = kv_gates.admitted(known, wished, tier.engine.identity.spec.dtype)[0]
        chain = kv_address.chain(tier.root(attempt.tenant_id, plan.cube_id, plan.model_key), plan.token_ids)
        there = _there(attempt, chain)
        built = _prefill(attempt, plan, chain, there, codec)
        blobs = tier.blobs(attempt.tenant_id)
        if built.state is not None:
            fresh = [chunk for chunk in chain if chunk.start >= built.start]
            spec = tier.engine.identity.spec
            gate = kv_gates.figures(known, codec)
            for label, data in kv_keep.encoded(built.state, fresh, spec, plan.model_key, codec):
                attempt.check()
                built.sealed.append(kv_keep.put(blobs, cipher, plan.cube_id, label, data, state=VERIFIED, gate=gate))
        with attempt.saving() as tx:
            kv_keep.keep(tx, blobs, plan, chain, built.sealed)
            jobs.promise(tx, EVICT, dedup_key=EVICT)
            return attempt.finish(tx, _result(plan, chain, built, codec, known, wished))


def _plan(tx: Any, tier: ActivationTier, attempt: Attempt, payload: dict[str, Any]) -> tuple[StoredPlan, list[str]]:
    """The plan to build and the codecs wished for. What was promoted by a caller is marked so here."""
    if "plan_id" in payload:
        plan = kv_plans.get(tx, UUID(payload["plan_id"]))
        wished = payload.get("codecs") or plan.codecs
        policy_codecs: Sequence[str] = ()
    else:
        view = cubes.view(tx, str(attempt.job.cube_id), payload["branch"])
        made = kv_plan.make(tx, tier, view, model=None, budget_tokens=payload.get("budget_tokens"), now=utc_now())
        if made.stored is None:
            raise NotFound("no such model: this service keeps no caches (MEMOS_KV_MODEL is not set)")
        plan, policy_codecs = made.stored, made.policy.codecs
        wished = payload.get("codecs") or plan.codecs
    codecs = list(wished or policy_codecs or ("int8", "bf16", "raw"))
    if payload.get("promote"):
        kv_plans.promote(tx, plan.id, codecs, pinned=bool(payload.get("pin")))
    return plan, codecs


def _gates(attempt: Attempt, plan: StoredPlan, wished: Sequence[str]) -> dict[str, Any]:
    """What is known of the codecs, measured now where nothing is."""
    tier = attempt.parts.kv
    with attempt.reading() as tx:
        known = dict(kv_models.find(tx, plan.model_key).gates)
    fresh = kv_gates.measured(tier.engine, plan.token_ids, [codec for codec in wished if codec not in known])
    if fresh:
        with attempt.saving() as tx:
            for codec, gate in fresh.items():
                kv_models.set_gate(tx, plan.model_key, codec, gate.as_json())
    return {**known, **{codec: gate.as_json() for codec, gate in fresh.items()}}


def _there(attempt: Attempt, chain: Sequence[Chunk]) -> dict[tuple[bytes, Group], dict[str, StoredObject]]:
    with attempt.reading() as tx:
        objects = kv_chunks.objects(tx, [chunk.key for chunk in chain])
    there: dict[tuple[bytes, Group], dict[str, StoredObject]] = {}
    for found in objects:
        there.setdefault((found.key, found.group), {})[found.codec] = found
    return there


def _prefill(
    attempt: Attempt,
    plan: StoredPlan,
    chain: Sequence[Chunk],
    there: dict[tuple[bytes, Group], dict[str, StoredObject]],
    codec: str,
) -> _Built:
    """Compute what is not there in this codec, after what is there in any that is near enough to exact."""
    tier = attempt.parts.kv
    engine = tier.engine
    groups = [group for group, _ in engine.identity.spec.groups()]
    missing = next(
        (chunk for chunk in chain if any(codec not in there.get((chunk.key, group), {}) for group in groups)), None
    )
    if missing is None:
        return _Built(len(plan.token_ids), None)
    past = _past(attempt, missing.start, chain, there) if missing.start else None
    start = past.end if past is not None else 0
    attempt.check()
    began = time.perf_counter()
    state = engine.build(plan.token_ids[start:], past)
    return _Built(start, state, time.perf_counter() - began)


def _past(
    attempt: Attempt, end: int, chain: Sequence[Chunk], there: dict[tuple[bytes, Group], dict[str, StoredObject]]
) -> KVState | None:
    """The stored cache of the first `end` tokens; None when some of it cannot be had, and all must be computed."""
    tier = attempt.parts.kv
    spec = tier.engine.identity.spec
    blobs = tier.blobs(attempt.tenant_id)
    with attempt.reading() as tx:
        cipher = tier.cipher(tx, attempt.job.cube_id) if attempt.job.cube_id else None
    stored = []
    for group, indices in needed_chunks(spec, end).items():
        for index in indices:
            versions = there.get((chain[index].key, group), {})
            found = next((versions[codec] for codec in _PARENTS if codec in versions), None)
            if found is None:
                return None
            try:
                stored.append(StoredChunk(label_of(found), sealed_bytes(blobs, found)))
            except (KVRejected, NotFound):
                return None
    try:
        return decode_prefix(stored, spec, end, cipher=cipher)
    except KVRejected:
        return None


def _result(
    plan: StoredPlan, chain: Sequence[Chunk], built: _Built, codec: str, known: dict[str, Any], wished: Sequence[str]
) -> dict[str, Any]:
    n_tokens = len(plan.token_ids)
    return {
        "plan_id": str(plan.id),
        "n_tokens": n_tokens,
        "built_tokens": n_tokens - built.start,
        "reused_tokens": built.start,
        "chunks": len(chain),
        "bytes": sum(each.new.n_bytes for each in built.sealed),
        "codec": codec,
        "codecs": {name: known[name] for name in wished if name in known},
        "prefill_s": round(built.prefill_s, 4),
        "tail_tokens": n_tokens % CHUNK_TOKENS,
    }
