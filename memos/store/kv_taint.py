"""Which caches a memory got into: its own chunks, and everything that was computed after them.

A chunk's keys and values depend on every token before it, so whatever stands below a chunk in the tree holds something of
it. Each statement takes `:cube` and `:ids`, and is one line of `erasure.WIPES`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from memos.store.transaction import Transaction

TAINTED: Final = (
    "WITH RECURSIVE tainted (key) AS ("
    "  SELECT key FROM kv_chunk_memories WHERE tenant_id = :tenant AND memory_id = ANY(:ids) UNION "
    "  SELECT k.key FROM kv_chunks k JOIN tainted t ON k.tenant_id = :tenant AND k.parent_key = t.key) "
)
_SLOTS = "(SELECT slot_file_id FROM kv_slot_file_memories WHERE tenant_id = :tenant AND memory_id = ANY(:ids))"
_NAMED = (
    "(SELECT 1 FROM kv_objects o WHERE o.tenant_id = b.tenant_id AND o.cube_id = :cube AND o.blob = b.sha256 UNION ALL "
    "SELECT 1 FROM kv_slot_files f WHERE f.tenant_id = b.tenant_id AND f.cube_id = :cube AND f.blob = b.sha256)"
)
_STALE = "(SELECT plan_id FROM kv_plan_items WHERE tenant_id = :tenant AND memory_id = ANY(:ids))"

WIPES: Final[Mapping[str, str]] = {
    # Objects first: the tree is still there to be walked.
    "kv_objects": TAINTED + "DELETE FROM kv_objects WHERE tenant_id = :tenant AND key IN (SELECT key FROM tainted)",
    "kv_chunks": TAINTED + "DELETE FROM kv_chunks WHERE tenant_id = :tenant AND key IN (SELECT key FROM tainted)",
    "kv_chunk_memories": "DELETE FROM kv_chunk_memories WHERE tenant_id = :tenant AND memory_id = ANY(:ids)",
    # A plan's token ids are its memories in other numbers.
    "kv_plans": f"DELETE FROM kv_plans WHERE tenant_id = :tenant AND id IN {_STALE}",
    "kv_slot_files": f"DELETE FROM kv_slot_files WHERE tenant_id = :tenant AND id IN {_SLOTS}",
    "kv_slot_file_memories": "DELETE FROM kv_slot_file_memories WHERE tenant_id = :tenant AND memory_id = ANY(:ids)",
    "kv_plan_items": "DELETE FROM kv_plan_items WHERE tenant_id = :tenant AND memory_id = ANY(:ids)",
    # What no row names any more; a worker that is just storing one looks again before it names it.
    "kv_blobs": "DELETE FROM kv_blobs b WHERE b.tenant_id = :tenant AND b.owner = CAST(:cube AS text) "
    f"AND NOT EXISTS {_NAMED}",
    "kv_blob_parts": "DELETE FROM kv_blob_parts p WHERE p.tenant_id = :tenant AND NOT EXISTS ("
    "SELECT 1 FROM kv_blobs b WHERE b.tenant_id = p.tenant_id AND b.id = p.blob_id)",
}


@dataclass(frozen=True, slots=True)
class Wiped:
    """Rows taken by table, and the blobs they named."""

    rows: dict[str, int]
    blobs: list[bytes]


def wipe(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID]) -> Wiped:
    """Take the rows of every cache these memories got into."""
    ids = list(memory_ids)
    blobs = [bytes(row[0]) for row in tx.tuples(WIPES["kv_objects"] + " RETURNING blob", cube=cube_id, ids=ids)]
    rows = {"kv_objects": len(blobs)}
    slots = tx.tuples(WIPES["kv_slot_files"] + " RETURNING blob", cube=cube_id, ids=ids)
    rows["kv_slot_files"] = len(slots)
    blobs += [bytes(row[0]) for row in slots]
    for table in ("kv_chunks", "kv_chunk_memories", "kv_plans", "kv_plan_items", "kv_slot_file_memories"):
        rows[table] = tx.run(WIPES[table], cube=cube_id, ids=ids)
    return Wiped(rows, blobs)


def found(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID]) -> int:
    """Chunks, plans and places of these memories that are still there; 0 after a wipe."""
    return int(
        tx.scalar(
            TAINTED
            + "SELECT (SELECT count(*) FROM tainted) + (SELECT count(*) FROM kv_plans WHERE tenant_id = :tenant "
            f"AND id IN {_STALE}) + (SELECT count(*) FROM kv_slot_files WHERE tenant_id = :tenant AND id IN {_SLOTS}) + "
            "(SELECT count(*) FROM kv_objects o WHERE o.tenant_id = :tenant AND o.cube_id = :cube "
            "AND NOT EXISTS (SELECT 1 FROM kv_chunks k WHERE k.tenant_id = o.tenant_id AND k.key = o.key)) + "
            "(SELECT count(*) FROM kv_blobs b WHERE b.tenant_id = :tenant AND b.owner = CAST(:cube AS text) AND NOT EXISTS "
            f"{_NAMED})",
            cube=cube_id,
            ids=list(memory_ids),
        )
    )


def below(tx: Transaction, keys: Collection[bytes]) -> set[bytes]:
    """Those of the keys that are stored, and every stored chunk that builds on one of them."""
    rows = tx.tuples(
        "WITH RECURSIVE tree (key) AS (SELECT key FROM kv_chunks WHERE tenant_id = :tenant AND key = ANY(:keys) UNION "
        "SELECT k.key FROM kv_chunks k JOIN tree t ON k.tenant_id = :tenant AND k.parent_key = t.key) SELECT key FROM tree",
        keys=list(keys),
    )
    return {bytes(row[0]) for row in rows}


def delete_cube(tx: Transaction, cube_id: UUID) -> bool:
    """Everything of a cube's caches; its key first, without which no copy of a blob can be opened. Whether it had any."""
    had = tx.run("DELETE FROM kv_deks WHERE tenant_id = :tenant AND cube_id = :cube", cube=cube_id)
    for table in ("kv_objects", "kv_chunks", "kv_plans", "kv_outcomes", "kv_slot_files"):
        tx.run(f"DELETE FROM {table} WHERE tenant_id = :tenant AND cube_id = :cube", cube=cube_id)
    tx.run("DELETE FROM kv_budgets WHERE tenant_id = :tenant AND scope_id = :cube", cube=cube_id)
    tx.run("DELETE FROM kv_blobs WHERE tenant_id = :tenant AND owner = CAST(:cube AS text)", cube=cube_id)
    return bool(had)
