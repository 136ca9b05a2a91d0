"""Caches that engines hand in, and the check by recomputation that they, and a sample of all others, must pass.

A forged cache is an instruction nobody can read. So what is handed in is looked at for form before anything is allocated,
put aside, and served only after this service has computed the same tokens and come to the same keys and values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any
from uuid import UUID

import structlog

from memos.encoders.kv_codecs import decode_chunk
from memos.encoders.kv_container import ChunkLabel, CubeCipher
from memos.encoders.kv_gate import agrees_with_recomputation
from memos.encoders.kv_state import KVState
from memos.errors import KVRejected, NotFound
from memos.rules import kv_address
from memos.rules.access import Principal, Scope
from memos.rules.kv_address import Chunk
from memos.rules.kv_layout import Group
from memos.services import kv_gates, kv_keep, kv_plan
from memos.services.attempt import Attempt, Outcome
from memos.services.kv_serve import label_of
from memos.services.kv_tier import ActivationTier, ref_of, sealed_bytes, spec_of
from memos.store import jobs, kv_chunks, kv_locks, kv_models, kv_plans
from memos.store.engine import Database
from memos.store.kv_chunks import QUARANTINE, VERIFIED, StoredObject
from memos.store.kv_plans import StoredPlan
from memos.store.transaction import Transaction

VERIFY = "kv.verify"
SAMPLE = 16
"""Objects looked at again in one run without a plan."""

log = structlog.get_logger("memos.kv")


@dataclass(frozen=True, slots=True)
class Uploaded:
    """`job_id` is the check that has to come first; None when the chunk was verified already."""

    key: bytes
    group: Group
    codec: str
    sha256: bytes
    bytes: int
    state: str
    job_id: UUID | None


@dataclass(frozen=True, slots=True)
class Slot:
    """The place a cache is handed in for: a chunk of a plan the caller may reach."""

    plan: StoredPlan
    chunk: Chunk
    cipher: CubeCipher
    spec: Any
    present: StoredObject | None


def slot(
    tx: Transaction, tier: ActivationTier, who: Principal, plan_id: UUID, key: bytes, group: Group, codec: str
) -> Slot:
    """Raises `NotFound` when the key is not one of the plan's, which looks the same as a plan out of reach."""
    who.require(Scope.KV)
    plan = kv_plan.within_reach(tx, who, plan_id)
    chain = kv_address.chain(tier.root(tx.tenant_id, plan.cube_id, plan.model_key), plan.token_ids)
    chunk = next((chunk for chunk in chain if chunk.key == key), None)
    if chunk is None:
        raise NotFound("no such chunk")
    spec = spec_of(kv_models.find(tx, plan.model_key).spec)
    spec.group(group)
    there = [
        o for o in kv_chunks.objects(tx, [key], states=(VERIFIED, QUARANTINE)) if (o.group, o.codec) == (group, codec)
    ]
    return Slot(plan, chunk, tier.cipher(tx, plan.cube_id, make=True), spec, there[0] if there else None)


def upload(
    tier: ActivationTier, database: Database, who: Principal, to: Slot, group: Group, codec: str, data: bytes
) -> Uploaded:
    """Check the form, store, and promise the check of the content. Raises `KVRejected` and `StorageFull`."""
    digest = hashlib.sha256(data).digest()
    label = ChunkLabel(to.chunk.key, to.plan.model_key, group, codec, to.chunk.start, to.chunk.n_tokens)
    decode_chunk(data, to.spec, label, sha256=digest)
    if to.present is not None and to.present.state == VERIFIED:
        return Uploaded(label.key, group, codec, to.present.sha256, to.present.wire_bytes, VERIFIED, None)
    with database.transaction(who.tenant_id, read_only=True) as tx:
        tier.refuse_beyond_budget(tx, len(data))
    blobs = tier.blobs(who.tenant_id)
    sealed = kv_keep.put(blobs, to.cipher, to.plan.cube_id, label, data, state=QUARANTINE, uploaded_by=who.key_id)
    with database.transaction(who.tenant_id) as tx:
        kv_locks.one_at_a_time(tx, label.key)
        if to.present is not None:
            kv_chunks.drop(tx, to.present)
            tx.after_commit(partial(_forget, tier, who.tenant_id, to.present))
        kv_keep.keep(tx, blobs, to.plan, [to.chunk], [sealed])
        job_id = jobs.promise(
            tx, VERIFY, cube_id=to.plan.cube_id, payload={"plan_id": str(to.plan.id)}, dedup_key=str(to.plan.id)
        )
    return Uploaded(label.key, group, codec, digest, len(data), QUARANTINE, job_id)


def verify(attempt: Attempt) -> Outcome:
    """Job `kv.verify`, payload `{plan_id?}`: what of a plan is in quarantine, or a sample of everything."""
    tier = attempt.parts.kv
    with attempt.reading() as tx:
        if plan_id := attempt.job.payload.get("plan_id"):
            try:
                plans = [kv_plans.get(tx, UUID(plan_id))]
            except NotFound:
                return Outcome({"skipped": "the plan is gone"})
            wanted = None
        else:
            plans = kv_plans.of_cubes(tx)
            wanted = kv_chunks.sample(tx, SAMPLE)
        work = _work(tx, tier, plans, wanted)
    agreed = refused = 0
    for plan, found in work:
        checked = _check_plan(attempt, plan, found)
        agreed += checked
        refused += len(found) - checked
    return Outcome({"verified": agreed, "refused": refused})


# ---------------------------------------------------------------- steps


def _work(
    tx: Transaction, tier: ActivationTier, plans: Sequence[StoredPlan], wanted: Sequence[StoredObject] | None
) -> list[tuple[StoredPlan, list[StoredObject]]]:
    """Per plan, the objects to look at. Of a plan named by its id those in quarantine."""
    taken: set[tuple[bytes, Group, str]] = set()
    work = []
    for plan in plans:
        if not tier.serves(plan.model_key):
            continue
        chain = kv_address.chain(tier.root(tx.tenant_id, plan.cube_id, plan.model_key), plan.token_ids)
        keys = {chunk.key for chunk in chain}
        found = (
            kv_chunks.objects(tx, keys, states=(QUARANTINE,))
            if wanted is None
            else [o for o in wanted if o.key in keys]
        )
        found = [o for o in found if (o.key, o.group, o.codec) not in taken]
        taken.update((o.key, o.group, o.codec) for o in found)
        if found:
            work.append((plan, sorted(found, key=lambda o: (o.start, o.group, o.codec))))
    return work


def _check_plan(attempt: Attempt, plan: StoredPlan, found: Sequence[StoredObject]) -> int:
    """Recompute as far as is needed and compare; how many agreed. The others are dropped."""
    tier = attempt.parts.kv
    engine = tier.engine
    end = max(o.start + o.n_tokens for o in found)
    attempt.check()
    truth = engine.build(plan.token_ids[:end])
    with attempt.reading() as tx:
        known = dict(kv_models.find(tx, plan.model_key).gates)
        cipher = tier.cipher(tx, plan.cube_id)
    unknown = [codec for codec, _ in groupby(sorted(o.codec for o in found)) if codec not in known]
    fresh = {c: g.as_json() for c, g in kv_gates.measured(engine, plan.token_ids, unknown).items()}
    known |= fresh
    results = [(o, _agrees(attempt, o, truth, cipher, known)) for o in found]
    with attempt.saving() as tx:
        for codec, gate in fresh.items():
            kv_models.set_gate(tx, plan.model_key, codec, gate)
        for each, fine in results:
            if fine:
                kv_chunks.verify(tx, each, kv_gates.figures(known, each.codec))
            else:
                log.warning("kv_object_refused", key=each.key.hex(), codec=each.codec, state=each.state)
                kv_chunks.drop(tx, each)
                tx.after_commit(partial(_forget, tier, attempt.tenant_id, each))
    return sum(fine for _, fine in results)


def _agrees(attempt: Attempt, found: StoredObject, truth: KVState, cipher: CubeCipher, known: dict[str, Any]) -> bool:
    """Whether an object is what an honest engine would have stored, in a codec that is admitted for the model."""
    tier = attempt.parts.kv
    spec = tier.engine.identity.spec
    if found.codec not in kv_gates.admitted(known, [found.codec], spec.dtype):
        return False
    label = label_of(found)
    try:
        sealed = sealed_bytes(tier.blobs(attempt.tenant_id), found)
        stored = decode_chunk(sealed, spec, label, cipher=cipher)
    except (KVRejected, NotFound):
        return False
    exact = truth.groups[found.group].tokens(found.start, found.start + found.n_tokens)
    return agrees_with_recomputation(stored, exact, spec, label)


def _forget(tier: ActivationTier, tenant_id: UUID, found: StoredObject) -> None:
    tier.blobs(tenant_id).delete(ref_of(found.cube_id, found.blob))


def plan_chunks(tx: Transaction, tier: ActivationTier, who: Principal, plan_id: UUID) -> dict[str, Any]:
    """A remembered plan with the address of each of its chunks and what is stored of it."""
    plan = kv_plan.find(tx, who, plan_id)
    chain = kv_address.chain(tier.root(tx.tenant_id, plan.cube_id, plan.model_key), plan.token_ids)
    stored: dict[bytes, list[dict[str, Any]]] = {}
    for found in kv_chunks.objects(tx, [chunk.key for chunk in chain], states=(VERIFIED, QUARANTINE)):
        stored.setdefault(found.key, []).append({"group": found.group, "codec": found.codec, "state": found.state})
    return {
        "plan_id": plan.id,
        "cube_id": plan.cube_id,
        "model_key": plan.model_key,
        "n_tokens": len(plan.token_ids),
        "state": plan.state,
        "promoted": plan.promoted,
        "pinned": plan.pinned,
        "chunks": [
            {"key": c.key.hex(), "parent": c.parent.hex(), "index": c.index, "start": c.start, "end": c.end,
             "stored": stored.get(c.key, [])}
            for c in chain
        ],
    }  # fmt: skip
