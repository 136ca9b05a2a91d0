"""Erasure in the activation tier: every cache at or after an erased memory, and its bytes, before a receipt is signed.

Rows go first and blobs after them, so that a crash in between leaves blobs that nothing names; the erasure itself deletes
all of those its cube has, whoever left them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from uuid import UUID

from memos.services.kv_tier import ActivationTier, ref_of
from memos.store import kv_chunks, kv_models, kv_taint
from memos.store.blobs import BlobRef, BlobStore
from memos.store.transaction import Transaction


def forget(tx: Transaction, tier: ActivationTier, cube_id: UUID, memory_ids: Collection[UUID]) -> dict[str, int]:
    """Delete the rows, and their blobs once that is committed; rows by table."""
    taken = kv_taint.wipe(tx, cube_id, memory_ids)
    if taken.blobs:
        blobs = tier.blobs(tx.tenant_id)
        for blob in taken.blobs:
            tx.after_commit(partial(_delete, blobs, ref_of(cube_id, blob)))
    return taken.rows


def delete_unnamed(tx: Transaction, tier: ActivationTier, cube_id: UUID) -> int:
    """Delete the cube's blobs that no row names; how many. Who is just storing one stores it again."""
    if not _keeps_files(tx, tier, cube_id):
        return 0
    blobs = tier.blobs(tx.tenant_id)
    return sum(blobs.delete(ref) for ref in _unnamed(tx, blobs, cube_id))


def left(tx: Transaction, tier: ActivationTier, cube_id: UUID, memory_ids: Collection[UUID]) -> int:
    """What a look still finds: chunks and plans of these memories, and blobs of the cube that no row answers for."""
    found = kv_taint.found(tx, cube_id, memory_ids)
    if _keeps_files(tx, tier, cube_id):
        found += sum(1 for _ in _unnamed(tx, tier.blobs(tx.tenant_id), cube_id))
    return found


def _keeps_files(tx: Transaction, tier: ActivationTier, cube_id: UUID) -> bool:
    """Blobs in PostgreSQL go with the transaction itself (`kv_taint.WIPES`), which another one would wait for."""
    return tier.settings.kv_blobs == "filesystem" and kv_models.wrapped_dek(tx, cube_id) is not None


def _unnamed(tx: Transaction, blobs: BlobStore, cube_id: UUID) -> Iterator[BlobRef]:
    named = {blob.hex() for blob in kv_chunks.blobs_named(tx, cube_id)}
    for item in list(blobs.listing(str(cube_id))):
        if item.ref.sha256 not in named:
            yield item.ref


def _delete(blobs: BlobStore, ref: BlobRef) -> None:
    blobs.delete(ref)
