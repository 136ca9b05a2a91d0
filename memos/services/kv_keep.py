"""Keeping chunks: sealed, their blobs on disk, and only then their rows.

The rows are inserted under a lock that an erasure of the cube excludes, after a look whether the plan still stands and the
blobs still lie there: an erasure that came in between took the plan away, or unnamed blobs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from memos.encoders.kv_codecs import encode_chunk
from memos.encoders.kv_container import ChunkLabel, CubeCipher, closed
from memos.encoders.kv_state import KVState
from memos.errors import NotFound
from memos.rules.activation_plan import TokenSpan
from memos.rules.kv_address import Chunk
from memos.rules.kv_layout import KVSpec
from memos.services.kv_tier import ref_of
from memos.store import kv_chunks, kv_plans
from memos.store.blobs import BlobStore
from memos.store.kv_chunks import NewObject
from memos.store.kv_plans import StoredPlan
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Sealed:
    """An object whose blob lies in the store, and the bytes of it, in case it has to be put there again."""

    new: NewObject
    data: bytes


def encoded(
    state: KVState, chunks: Sequence[Chunk], spec: KVSpec, model_key: str, codec: str
) -> Iterable[tuple[ChunkLabel, bytes]]:
    """The open form of every group of those chunks whose tokens the state holds."""
    for chunk in chunks:
        for group, kv in state.groups.items():
            if kv.start <= chunk.start and chunk.end <= kv.end:
                label = ChunkLabel(chunk.key, model_key, group, codec, chunk.start, chunk.n_tokens)
                yield label, encode_chunk(kv.tokens(chunk.start, chunk.end), spec, label)


def put(
    blobs: BlobStore,
    cipher: CubeCipher,
    cube_id: UUID,
    label: ChunkLabel,
    data: bytes,
    *,
    state: str,
    gate: Mapping[str, Any] | None = None,
    uploaded_by: UUID | None = None,
) -> Sealed:
    """Seal the open form and store it. Raises `StorageFull` when there is no room."""
    sealed = closed(data, label, cipher)
    ref = blobs.put(str(cube_id), [sealed])
    new = NewObject(
        key=label.key, group=label.group, codec=label.codec, cube_id=cube_id, blob=bytes.fromhex(ref.sha256),
        n_bytes=len(sealed), sha256=hashlib.sha256(data).digest(), wire_bytes=len(data), state=state, gate=gate,
        uploaded_by=uploaded_by,
    )  # fmt: skip
    return Sealed(new, sealed)


def keep(tx: Transaction, blobs: BlobStore, plan: StoredPlan, chain: Sequence[Chunk], sealed: Sequence[Sealed]) -> int:
    """Insert the rows of chunks and objects; how many objects were new. `chain` are the plan's chunks that are stored now.

    Raises:
        NotFound: the plan is gone, or a memory in it is too secret by now, and with it the right to keep anything of it.
    """
    exclude_erasure(tx, plan.cube_id)
    if kv_plans.get(tx, plan.id).sight > kv_plans.SHARED:
        raise NotFound("no such plan any more: a memory in it has been withdrawn")
    spans, labels = kv_plans.members(tx, plan.id), kv_plans.labels(tx, plan)
    for chunk in chain:
        # What was computed after a memory holds something of it, however much later.
        sight = max((labels.get(s.memory_id, kv_plans.SHARED) for s in spans if s.start < chunk.end), default=0)
        kv_chunks.insert(tx, plan.cube_id, plan.model_key, chunk, within(spans, chunk), sight)
    return insert(tx, blobs, plan.cube_id, sealed)


def insert(tx: Transaction, blobs: BlobStore, cube_id: UUID, sealed: Sequence[Sealed]) -> int:
    """Insert the rows of objects whose chunks have theirs; how many were new."""
    exclude_erasure(tx, cube_id)
    there = kv_chunks.known(tx, {each.new.key for each in sealed})
    kept = 0
    for each in sealed:
        ref = ref_of(cube_id, each.new.blob)
        if each.new.key in there and kv_chunks.insert_object(tx, each.new):
            kept += 1
            try:
                with blobs.open(ref):
                    continue
            except NotFound:
                blobs.put(ref.owner, [each.data])
        else:
            # Somebody stored the chunk meanwhile (sealed under another nonce), or it went; nothing will name this copy.
            tx.after_commit(partial(blobs.delete, ref))
    return kept


def exclude_erasure(tx: Transaction, cube_id: UUID) -> None:
    """Until this transaction ends the cube is neither erased from nor deleted. Raises `NotFound` when it is gone."""
    if tx.row("SELECT id FROM cubes WHERE tenant_id = :tenant AND id = :cube FOR KEY SHARE", cube=cube_id) is None:
        raise NotFound("no such cube")


def within(spans: Iterable[TokenSpan], chunk: Chunk) -> list[tuple[UUID, int]]:
    """The memory versions some of whose tokens a chunk holds."""
    return [(UUID(span.memory_id), span.version) for span in spans if span.start < chunk.end and chunk.start < span.end]
