"""Job `kv.evict`: over budget, what is worth least per byte goes first.

Chunks are a tree, so only leaves go, and each once into a smaller codec before it goes for good (`rules.kv_policy`). The
order is the rule's; here are the figures it needs, and the doing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from memos.encoders.kv_codecs import decode_chunk, encode_chunk
from memos.encoders.kv_container import CubeCipher
from memos.errors import KVRejected, NotFound
from memos.rules import kv_address, kv_policy
from memos.rules.kv_policy import Resident, Step
from memos.services import kv_gates, kv_keep, kv_lookup
from memos.services.attempt import Attempt, Outcome
from memos.services.kv_keep import Sealed
from memos.services.kv_serve import label_of
from memos.services.kv_tier import ActivationTier, ref_of, sealed_bytes, spec_of
from memos.services.remember import utc_now
from memos.store import kv_chunks, kv_models, kv_plans
from memos.store.blobs import BlobStore
from memos.store.kv_chunks import VERIFIED, Standing, StoredObject
from memos.store.kv_models import Model
from memos.store.kv_plans import StoredPlan
from memos.store.transaction import Transaction

EDIT_WINDOW_DAYS: Final = 7.0
_SMALLER: Final[Mapping[str, tuple[str, ...]]] = {
    "raw": ("int4", "int8", "bf16"), "bf16": ("int4", "int8"), "int8": ("int4",), "int4": (),
}  # fmt: skip
_RATIO: Final[Mapping[str, float]] = {"raw": 1.0, "bf16": 0.7, "int8": 0.5, "int4": 0.26}
"""Sizes to guess by: against fp16, but `raw`, which is the engine's own."""


def evict(attempt: Attempt) -> Outcome:
    """Job `kv.evict`: bring every budget back into its bounds, the cubes' own first, then the tenant's."""
    tier = attempt.parts.kv
    now = utc_now()
    with attempt.reading() as tx:
        scopes: list[tuple[UUID | None, UUID, int]] = [(c, c, most) for c, most in kv_models.cube_budgets(tx).items()]
        scopes.append((None, attempt.tenant_id, tier.budget(tx)))
    freed = demoted = deleted = 0
    for cube_id, scope_id, most in scopes:
        with attempt.reading() as tx:
            over = kv_chunks.bytes_used(tx, cube_id) - most
            clock = kv_models.budget(tx, scope_id).clock
            steps = (
                kv_policy.evict(residents(tx, tier, cube_id, now), need_bytes=over, clock=clock) if over > 0 else None
            )
        if steps is None:
            continue
        for step in steps.steps:
            attempt.check()
            if step.step is Step.DEMOTE:
                demoted += _demote(attempt, step.key)
            else:
                deleted += _delete(attempt, step.key)
            freed += step.freed_bytes
        with attempt.saving() as tx:
            kv_models.set_clock(tx, scope_id, steps.clock)
    return Outcome({"demoted": demoted, "deleted": deleted, "freed_bytes": freed})


def residents(tx: Transaction, tier: ActivationTier, cube_id: UUID | None, now: datetime) -> list[Resident]:
    """The chunks of a cube, or of the tenant, with what keeping them is worth."""
    plans = kv_plans.of_cubes(tx, cube_id)
    models = {model.model_key: model for model in kv_models.all_models(tx)}
    edits: dict[UUID, float] = {}
    for found in plans:
        rate = kv_plans.edits_per_day(tx, found, now, EDIT_WINDOW_DAYS)
        edits[found.cube_id] = max(edits.get(found.cube_id, 0.0), rate)
    pinned = _pinned_keys(tx, tier, plans)
    return [
        _resident(s, models[s.model_key], edits.get(s.cube_id, 0.0), s.key in pinned, now)
        for s in kv_chunks.standings(tx, cube_id)
        if s.sizes
    ]


def _pinned_keys(tx: Transaction, tier: ActivationTier, plans: Sequence[StoredPlan]) -> set[bytes]:
    return {
        chunk.key
        for found in plans
        if found.pinned
        for chunk in kv_address.chain(tier.root(tx.tenant_id, found.cube_id, found.model_key), found.token_ids)
    }


def _resident(s: Standing, model: Model, edits: float, pinned: bool, now: datetime) -> Resident:
    prefill, load, _ = kv_lookup.costs(model)
    n_bytes = sum(s.sizes.values())
    saved = prefill.seconds(s.start + s.n_tokens, cached=s.start) - sum(
        load.seconds(size, codec) for codec, size in s.sizes.items()
    )
    return Resident(
        key=s.key,
        parent=s.parent_key,
        n_bytes=n_bytes,
        uses_per_day=kv_policy.faded(s.uses_per_day, last=s.last_used_at, now=now),
        edits_per_day=edits,
        saved_s=saved,
        clock=s.clock,
        demoted_bytes=_demoted_bytes(s.sizes, model),
        pinned=pinned,
    )


def _demoted_bytes(sizes: Mapping[str, int], model: Model) -> int | None:
    """What the chunk would take in its smallest form; None when it is in that already."""
    if len(sizes) > 1:
        return min(sizes.values())
    ((codec, size),) = sizes.items()
    target = _smaller(codec, model.gates)
    return None if target is None else int(size * share(model.spec, target) / share(model.spec, codec))


def _smaller(codec: str, gates: Mapping[str, Any]) -> str | None:
    """The smallest codec that was measured for the model and not refused."""
    return next((name for name in _SMALLER[codec] if name in gates and not gates[name]["refused"]), None)


def _demote(attempt: Attempt, key: bytes) -> int:
    """A chunk into its smallest admitted form, group by group; whether anything went."""
    tier = attempt.parts.kv
    with attempt.reading() as tx:
        objects = kv_chunks.objects(tx, [key])
        if not objects:
            return 0
        model = kv_models.find(tx, objects[0].model_key)
        cipher = tier.cipher(tx, objects[0].cube_id)
    blobs = tier.blobs(attempt.tenant_id)
    sealed: list[Sealed] = []
    gone: list[StoredObject] = []
    for group in sorted({found.group for found in objects}):
        forms = sorted((found for found in objects if found.group is group), key=lambda found: found.n_bytes)
        gone += forms[1:]
        if len(forms) == 1 and (target := _smaller(forms[0].codec, model.gates)) is not None:
            smaller = _recoded(blobs, cipher, forms[0], target, model)
            sealed += [smaller] if smaller is not None else []
            gone.append(forms[0])
    with attempt.saving() as tx:
        kv_keep.insert(tx, blobs, objects[0].cube_id, sealed)
        for found in gone:
            kv_chunks.drop(tx, found)
            _after_commit(tx, blobs, found.cube_id, found.blob)
    return int(bool(gone))


def _recoded(blobs: BlobStore, cipher: CubeCipher, found: StoredObject, codec: str, model: Model) -> Sealed | None:
    """The object in another codec, its blob stored; None when it cannot be read any more."""
    spec, label = spec_of(model.spec), label_of(found)
    try:
        arrays = decode_chunk(sealed_bytes(blobs, found), spec, label, cipher=cipher)
    except (KVRejected, NotFound):
        return None
    smaller = replace(label, codec=codec)
    gate = kv_gates.figures(model.gates, codec)
    return kv_keep.put(
        blobs, cipher, found.cube_id, smaller, encode_chunk(arrays, spec, smaller), state=VERIFIED, gate=gate
    )


def _delete(attempt: Attempt, key: bytes) -> int:
    blobs = attempt.parts.kv.blobs(attempt.tenant_id)
    with attempt.saving() as tx:
        gone = kv_chunks.delete(tx, [key])
        for cube_id, blob in gone:
            _after_commit(tx, blobs, cube_id, blob)
    return int(bool(gone))


def _after_commit(tx: Transaction, blobs: BlobStore, cube_id: UUID, blob: bytes) -> None:
    """The blob goes once its row is gone for good."""
    ref = ref_of(cube_id, blob)

    def delete() -> None:
        blobs.delete(ref)

    tx.after_commit(delete)


def share(spec: Mapping[str, Any], codec: str) -> float:
    """Bytes of a codec for one byte of the engine's own, to guess a size by before it is known."""
    return 1.0 if codec == "raw" else _RATIO[codec] * (0.5 if spec["dtype"] == "F32" else 1.0)
