"""Slot files of engines that keep their caches to themselves: what each holds and fits, and where its sealed bytes lie."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.errors import NotFound
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFile:
    """`profile` names everything that must agree for the file to mean the same, `source_digest` the plan whose text it holds;
    `sha256` and `wire_bytes` are the file's, `blob` and `n_bytes` the sealed object's."""

    id: UUID
    cube_id: UUID
    profile: str
    source_digest: str
    tokens_sha256: str
    n_tokens: int
    blob: bytes
    n_bytes: int
    sha256: bytes
    wire_bytes: int
    sight: int
    uploaded_by: UUID
    created_at: datetime


_COLUMNS = ", ".join(SlotFile.__dataclass_fields__)


def get(tx: Transaction, slot_file_id: UUID) -> SlotFile:
    """Raises `NotFound`."""
    row = tx.row(f"SELECT {_COLUMNS} FROM kv_slot_files WHERE tenant_id = :tenant AND id = :id", id=slot_file_id)
    if row is None:
        raise NotFound("no such slot file")
    return SlotFile(**row)


def of_cube(tx: Transaction, cube_id: UUID, profile: str | None = None, digest: str | None = None) -> list[SlotFile]:
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM kv_slot_files WHERE tenant_id = :tenant AND cube_id = :cube "
        "AND profile = coalesce(CAST(:profile AS text), profile) "
        "AND source_digest = coalesce(CAST(:digest AS text), source_digest) ORDER BY id",
        cube=cube_id, profile=profile, digest=digest,
    )  # fmt: skip
    return [SlotFile(**row) for row in rows]


def insert(tx: Transaction, new: SlotFile, memories: Sequence[tuple[UUID, int]]) -> bool:
    """Whether there was none yet of that plan and profile."""
    added = tx.run(
        "INSERT INTO kv_slot_files (tenant_id, id, cube_id, profile, source_digest, tokens_sha256, n_tokens, blob, n_bytes, "
        "sha256, wire_bytes, sight, uploaded_by, created_at) VALUES (:tenant, :id, :cube, :profile, :digest, :tokens, "
        ":n_tokens, :blob, :n_bytes, :sha256, :wire, :sight, :by, :at) "
        "ON CONFLICT (tenant_id, cube_id, profile, source_digest) DO NOTHING",
        id=new.id, cube=new.cube_id, profile=new.profile, digest=new.source_digest, tokens=new.tokens_sha256,
        n_tokens=new.n_tokens, blob=new.blob, n_bytes=new.n_bytes, sha256=new.sha256, wire=new.wire_bytes,
        sight=new.sight, by=new.uploaded_by, at=new.created_at,
    )  # fmt: skip
    if added:
        tx.run(
            "INSERT INTO kv_slot_file_memories (tenant_id, slot_file_id, memory_id, version) SELECT :tenant, :id, m.id, "
            "m.version FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS integer[])) AS m (id, version)",
            id=new.id, ids=[memory_id for memory_id, _ in memories], versions=[version for _, version in memories],
        )  # fmt: skip
    return bool(added)


def delete(tx: Transaction, slot_file_id: UUID) -> None:
    tx.run("DELETE FROM kv_slot_files WHERE tenant_id = :tenant AND id = :id", id=slot_file_id)


def label_of(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID]) -> int:
    """The label of the most secret of these memories."""
    return int(
        tx.scalar(
            "SELECT coalesce(max(label), 0) FROM contents WHERE tenant_id = :tenant AND cube_id = :cube "
            "AND memory_id = ANY(:ids)",
            cube=cube_id, ids=list(memory_ids),
        )
    )  # fmt: skip
