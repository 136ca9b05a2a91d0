"""Slot files: caches of engines (llama.cpp) that give them out as one opaque file and take them back the same way.

Nobody here can look into such a file, so it is bound to what can be known: the plan whose text it holds, the profile of
the server that wrote it, and the digest of its tokens. It is sealed like a chunk, as secret as its memories, and goes with
any of them. That it was used, and not just loaded, only the server's own count of cached tokens shows (`memos.kv.slots`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

import structlog
import uuid_utils.compat as uuid_utils

from memos.encoders.kv_container import ChunkLabel, CubeCipher, closed, opened
from memos.errors import Conflict, Forbidden, Invalid, KVRejected, NotFound
from memos.rules import kv_address
from memos.rules.access import Principal, Scope
from memos.rules.kv_layout import Group
from memos.services import kv_keep, kv_plan
from memos.services.kv_tier import ActivationTier, ref_of, sealed_bytes
from memos.store import audit, cubes, kv_slots
from memos.store.blobs import BlobRef, BlobStore
from memos.store.engine import Database
from memos.store.kv_slots import SlotFile
from memos.store.transaction import Transaction

_OPEN: Final = b"MKV1\x00"
"""What marks an open container that is neither compressed nor encrypted; a slot file has no other form."""
CODEC: Final = "slot"

log = structlog.get_logger("memos.kv")


@dataclass(frozen=True, slots=True)
class Offered:
    """A file and what its owner says of it. `model` and `budget_tokens` are those the plan was asked with."""

    cube: str
    branch: str
    model: str | None
    budget_tokens: int | None
    source_digest: str
    profile: str
    tokens_sha256: str
    n_tokens: int
    data: bytes


def keep(tier: ActivationTier, database: Database, who: Principal, offered: Offered, *, now: datetime) -> SlotFile:
    """Store a file for the plan as it is now; the one there is when the plan has one already.

    Raises:
        Conflict: the plan has moved on since the slot was saved.
        StorageFull: the tenant's budget, or the disk, has no room.
    """
    who.require(Scope.KV)
    if not offered.data:
        raise Invalid("send the file as the body", where=["body"])
    with database.transaction(who.tenant_id) as tx:
        home = cubes.find(tx, offered.cube)
        who.reach(home.id)
        for there in kv_slots.of_cube(tx, home.id, offered.profile, offered.source_digest):
            if there.sight <= tx.clearance:
                return there
        tier.refuse_beyond_budget(tx, len(offered.data))
        cipher = tier.cipher(tx, home.id, make=True)
    label = _label(tier, who.tenant_id, home.id, offered.profile, offered.source_digest, offered.n_tokens)
    sealed = closed(_OPEN + offered.data, label, cipher)
    blobs = tier.blobs(who.tenant_id)
    ref = blobs.put(str(home.id), [sealed])
    new = partial(
        SlotFile, id=uuid_utils.uuid7(), cube_id=home.id, profile=offered.profile, source_digest=offered.source_digest,
        tokens_sha256=offered.tokens_sha256, n_tokens=offered.n_tokens, blob=bytes.fromhex(ref.sha256),
        n_bytes=len(sealed), sha256=hashlib.sha256(offered.data).digest(), wire_bytes=len(offered.data),
        uploaded_by=who.key_id, created_at=now,
    )  # fmt: skip
    kept = False
    try:
        with database.transaction(who.tenant_id) as tx:
            kv_keep.exclude_erasure(tx, home.id)
            memories = _memories(tx, tier, who, offered, now)
            file = new(sight=kv_slots.label_of(tx, home.id, [memory_id for memory_id, _ in memories]))
            kept = kv_slots.insert(tx, file, memories)
            if kept:
                _store_again_if_collected(blobs, ref, sealed)
            audit.record(tx, who.key_id, "kv.slot.keep", now, cube_id=home.id, target=str(file.id))
            return file if kept else kv_slots.of_cube(tx, home.id, offered.profile, offered.source_digest)[0]
    finally:
        if not kept:
            blobs.delete(ref)


def listed(
    tx: Transaction, who: Principal, cube: str, profile: str | None, source_digest: str | None
) -> list[SlotFile]:
    """What the caller may read of a cube's files."""
    who.require(Scope.READ)
    home = cubes.find(tx, cube)
    who.reach(home.id)
    return kv_slots.of_cube(tx, home.id, profile, source_digest)


def find(tx: Transaction, who: Principal, slot_file_id: UUID) -> SlotFile:
    """Raises `NotFound`: absent, foreign, too secret and out of reach are the same."""
    file = kv_slots.get(tx, slot_file_id)
    with _as_absent():
        who.reach(file.cube_id)
        cubes.find(tx, str(file.cube_id))
    if file.sight > tx.clearance:
        raise NotFound("no such slot file")
    return file


def content(tier: ActivationTier, database: Database, tenant_id: UUID, file: SlotFile, cipher: CubeCipher) -> bytes:
    """The file itself. Raises `NotFound` when what is stored cannot be opened; its row is then gone as well, so that
    the next one who has the file can hand it in again."""
    label = _label(tier, tenant_id, file.cube_id, file.profile, file.source_digest, file.n_tokens)
    try:
        return opened(sealed_bytes(tier.blobs(tenant_id), file), label, cipher)[1]
    except (KVRejected, NotFound) as error:
        log.warning("kv_slot_file_lost", id=str(file.id), reason=error.code)
        with database.transaction(tenant_id) as tx:
            kv_slots.delete(tx, file.id)
        raise NotFound("no such slot file") from error


def remove(tx: Transaction, tier: ActivationTier, who: Principal, slot_file_id: UUID, *, now: datetime) -> SlotFile:
    who.require(Scope.WRITE)
    file = find(tx, who, slot_file_id)
    kv_slots.delete(tx, file.id)
    audit.record(tx, who.key_id, "kv.slot.delete", now, cube_id=file.cube_id, target=str(file.id))
    blobs, ref = tier.blobs(tx.tenant_id), ref_of(file.cube_id, file.blob)
    tx.after_commit(partial(blobs.delete, ref))
    return file


def view(file: SlotFile) -> dict[str, Any]:
    """A file as its doors show it."""
    shown = ("id", "cube_id", "profile", "source_digest", "tokens_sha256", "n_tokens", "sha256", "created_at")
    return {**{name: getattr(file, name) for name in shown}, "bytes": file.wire_bytes}


# ---------------------------------------------------------------- steps


def _memories(
    tx: Transaction, tier: ActivationTier, who: Principal, offered: Offered, now: datetime
) -> list[tuple[UUID, int]]:
    """The memory versions the file holds, by the plan it says it was made of."""
    view = kv_plan.reach(tx, who, offered.cube, offered.branch)
    made = kv_plan.make(tx, tier, view, model=offered.model, budget_tokens=offered.budget_tokens, now=now)
    if made.plan.source_digest != offered.source_digest:
        raise Conflict("the plan has changed since this slot was saved; ask for it again and save anew")
    return [(UUID(segment.memory_id), segment.version) for segment in made.plan.segments]


def _label(
    tier: ActivationTier, tenant_id: UUID, cube_id: UUID, profile: str, source_digest: str, n_tokens: int
) -> ChunkLabel:
    """What the sealed bytes are bound to: a file cannot be passed off as another plan's or server's."""
    key = kv_address.chunk_key(tier.root(tenant_id, cube_id, profile), bytes.fromhex(source_digest), [n_tokens])
    return ChunkLabel(key, profile, Group.FULL, CODEC, 0, n_tokens)


def _store_again_if_collected(blobs: BlobStore, ref: BlobRef, sealed: bytes) -> None:
    """An erasure in the cube deletes what no row names; one that came before this row took the blob along."""
    try:
        with blobs.open(ref):
            return
    except NotFound:
        blobs.put(ref.owner, [sealed])


@contextmanager
def _as_absent() -> Iterator[None]:
    try:
        yield
    except (Forbidden, NotFound) as error:
        raise NotFound("no such slot file") from error
