"""Marks of erased texts: keyed hashes by which a cube knows what may not come back, where its policy says so."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from memos.errors import Conflict, ErasedContent, Misconfigured
from memos.rules.receipts import key_id, mark
from memos.store.cubes import Cube
from memos.store.transaction import Transaction


def wanted(cube: Cube) -> bool:
    """Whether the cube's policy refuses what was erased."""
    return cube.policy.get("refuse_erased") is True


def keep(tx: Transaction, cube: Cube, texts: Iterable[str], now: datetime) -> int:
    """Mark these texts as erased; how many. The texts themselves are not kept."""
    key = _key(tx)
    marks = sorted({mark(key, cube.id, text) for text in texts})
    tx.run(
        "INSERT INTO erasure_marks (tenant_id, cube_id, mark, key_id, made_at) SELECT :tenant, CAST(:cube AS uuid), m, :key_id, "
        ":now FROM unnest(CAST(:marks AS bytea[])) AS m ON CONFLICT DO NOTHING",
        cube=cube.id,
        marks=marks,
        key_id=_name(key),
        now=now,
    )
    return len(marks)


def refused(tx: Transaction, cube: Cube, texts: Iterable[str]) -> set[str]:
    """Those of the texts that were erased from the cube and may not come back. Costs nothing where no policy says so."""
    if not wanted(cube):
        return set()
    key = _key(tx)
    marked = {text: mark(key, cube.id, text) for text in texts}
    rows = tx.rows(
        "SELECT mark, key_id FROM erasure_marks WHERE tenant_id = :tenant AND cube_id = :cube "
        "AND (mark = ANY(:marks) OR key_id <> :key_id)",
        cube=cube.id,
        marks=sorted(set(marked.values())),
        key_id=_name(key),
    )
    if any(bytes(row["key_id"]) != _name(key) for row in rows):
        raise Misconfigured(
            "texts were erased from this cube under another secret, so their return cannot be recognised; start every process "
            "with the same MEMOS_SECRET, the one in use at the erasure"
        )
    known = {bytes(row["mark"]) for row in rows}
    return {text for text, made in marked.items() if made in known}


def refuse(tx: Transaction, cube: Cube, texts: Iterable[str]) -> None:
    """Raise `ErasedContent` when one of the texts may not come back."""
    if found := refused(tx, cube, texts):
        raise ErasedContent(
            f"{len(found)} of these texts were erased from this cube, whose policy refuses their return ('refuse_erased')"
        )


def refuse_sources(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID]) -> None:
    """Raise `Conflict` when one of the sources has been erased: what was made of it must not bring it back."""
    if memory_ids and tx.scalar(
        "SELECT 1 FROM memories WHERE tenant_id = :tenant AND cube_id = :cube AND id = ANY(:ids) "
        "AND erased_at IS NOT NULL LIMIT 1",
        cube=cube_id,
        ids=list(memory_ids),
    ):
        raise Conflict("a source of this memory has been erased in the meantime")


def _key(tx: Transaction) -> bytes:
    if tx.marks_key is None:
        raise Misconfigured("this process has no secret, which the cube's policy 'refuse_erased' needs")
    return tx.marks_key()


def _name(key: bytes) -> bytes:
    """Eight bytes that tell one key from another and nothing about it."""
    return bytes.fromhex(key_id(key))
