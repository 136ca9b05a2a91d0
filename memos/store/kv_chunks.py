"""Chunks of KV caches as rows, and the objects (group x codec) each is stored as.

Lookup is one statement: the service computes every key a prefix could have and asks which are there. Chunks form a tree by
`parent_key`; erasure walks down it, since everything below a chunk was computed from it (`kv_taint` has those statements).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from memos.errors import NotFound
from memos.rules.kv_address import Chunk
from memos.rules.kv_layout import CHUNK_TOKENS, Group
from memos.store.transaction import Row, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One group of one chunk in one codec. `blob` names the sealed bytes, `sha256` and `wire_bytes` the opened ones;
    `sight` is the label of the most secret memory among the chunk's and its ancestors'."""

    key: bytes
    cube_id: UUID
    model_key: str
    parent_key: bytes
    start: int
    n_tokens: int
    group: Group
    codec: str
    blob: bytes
    n_bytes: int
    sha256: bytes
    wire_bytes: int
    state: str
    gate: dict[str, Any] | None
    sight: int


_COLUMNS = (
    "k.key, k.cube_id, k.model_key, k.parent_key, k.start, k.n_tokens, o.grp, o.codec, o.blob, o.n_bytes, o.sha256, "
    "o.wire_bytes, o.state, CAST(o.gate AS text), k.sight"
)
_JOINED = "kv_chunks k JOIN kv_objects o ON o.tenant_id = k.tenant_id AND o.key = k.key"

VERIFIED = "verified"
QUARANTINE = "quarantine"


def _object(row: Sequence[Any]) -> StoredObject:
    key, cube_id, model_key, parent, start, n_tokens, group, codec, blob, n_bytes, sha256, wire, state, gate, sight = (
        row
    )
    return StoredObject(
        key=bytes(key), cube_id=cube_id, model_key=model_key, parent_key=bytes(parent), start=start, n_tokens=n_tokens,
        group=Group(group), codec=codec, blob=bytes(blob), n_bytes=n_bytes, sha256=bytes(sha256), wire_bytes=wire,
        state=state, gate=_gate(gate), sight=sight,
    )  # fmt: skip


@lru_cache(maxsize=256)
def _gate(text: str | None) -> dict[str, Any] | None:
    """All objects of a codec hold the same few figures: they are parsed once, and nobody changes them."""
    return None if text is None else json.loads(text)


def matching(
    tx: Transaction, cube_id: UUID, keys: Sequence[bytes], parents: Sequence[bytes], codecs: Sequence[str]
) -> list[StoredObject]:
    """Verified objects of any of the keys, and of chunks shorter than a whole one that follow any of the parents; of each
    group of a chunk the one in the best liked codec."""
    rows = tx.tuples(
        f"SELECT DISTINCT ON (k.key, o.grp) {_COLUMNS} FROM {_JOINED} WHERE k.tenant_id = :tenant AND k.cube_id = :cube "
        "AND k.key = ANY(CAST(:keys AS bytea[]) || ARRAY(SELECT t.key FROM kv_chunks t WHERE t.tenant_id = :tenant "
        f"AND t.cube_id = :cube AND t.parent_key = ANY(:parents) AND t.n_tokens < {CHUNK_TOKENS})) "
        "AND o.state = 'verified' AND o.codec = ANY(:codecs) "
        "ORDER BY k.key, o.grp, array_position(CAST(:codecs AS text[]), o.codec)",
        cube=cube_id, keys=list(keys), parents=list(parents), codecs=list(codecs),
    )  # fmt: skip
    return [_object(row) for row in rows]


def objects(tx: Transaction, keys: Collection[bytes], *, states: Collection[str] = (VERIFIED,)) -> list[StoredObject]:
    rows = tx.tuples(
        f"SELECT {_COLUMNS} FROM {_JOINED} WHERE k.tenant_id = :tenant AND k.key = ANY(:keys) AND o.state = ANY(:states)",
        keys=list(keys), states=list(states),
    )  # fmt: skip
    return [_object(row) for row in rows]


def one(
    tx: Transaction, key: bytes, group: Group, codecs: Sequence[str], *, states: Collection[str] = (VERIFIED,)
) -> StoredObject:
    """The object in the first of the codecs that there is. Raises `NotFound`."""
    found = {o.codec: o for o in objects(tx, [key], states=states) if o.group is group}
    for codec in codecs:
        if codec in found:
            return found[codec]
    raise NotFound("no such chunk")


def insert(
    tx: Transaction, cube_id: UUID, model_key: str, chunk: Chunk, memories: Iterable[tuple[UUID, int]], sight: int
) -> None:
    """A chunk and the memory versions whose tokens it holds. Repeating it is harmless."""
    tx.run(
        "INSERT INTO kv_chunks AS k (tenant_id, key, cube_id, model_key, parent_key, start, n_tokens, sight) "
        "VALUES (:tenant, :key, :cube, :model, :parent, :start, :n_tokens, :sight) ON CONFLICT (tenant_id, key) "
        "DO UPDATE SET sight = excluded.sight WHERE k.sight < excluded.sight",
        key=chunk.key, cube=cube_id, model=model_key, parent=chunk.parent, start=chunk.start, n_tokens=chunk.n_tokens,
        sight=sight,
    )  # fmt: skip
    pairs = list(memories)
    # The same tokens may come from other memories that say the same; the chunk then belongs to all of them.
    tx.run(
        "INSERT INTO kv_chunk_memories (tenant_id, key, memory_id, version) SELECT :tenant, :key, m.id, m.version "
        "FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS integer[])) AS m (id, version) ON CONFLICT DO NOTHING",
        key=chunk.key, ids=[memory_id for memory_id, _ in pairs], versions=[version for _, version in pairs],
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class NewObject:
    key: bytes
    group: Group
    codec: str
    cube_id: UUID
    blob: bytes
    n_bytes: int
    sha256: bytes
    wire_bytes: int
    state: str
    gate: Mapping[str, Any] | None = None
    uploaded_by: UUID | None = None


def insert_object(tx: Transaction, new: NewObject) -> bool:
    """Whether it was not there before, in whatever state."""
    return bool(
        tx.run(
            "INSERT INTO kv_objects (tenant_id, key, grp, codec, cube_id, blob, n_bytes, sha256, wire_bytes, state, gate, "
            "uploaded_by, verified_at) VALUES (:tenant, :key, :grp, :codec, :cube, :blob, :n_bytes, :sha256, :wire, :state, "
            "CAST(:gate AS jsonb), :by, CASE WHEN :state = 'verified' THEN now() END) "
            "ON CONFLICT (tenant_id, key, grp, codec) DO NOTHING",
            key=new.key, grp=new.group.value, codec=new.codec, cube=new.cube_id, blob=new.blob, n_bytes=new.n_bytes,
            sha256=new.sha256, wire=new.wire_bytes, state=new.state, by=new.uploaded_by,
            gate=None if new.gate is None else json.dumps(new.gate),
        )
    )  # fmt: skip


def verify(tx: Transaction, found: StoredObject, gate: Mapping[str, Any] | None = None) -> bool:
    """Out of quarantine, or looked at once more; whether the object is still the one that was looked at."""
    return bool(
        tx.run(
            "UPDATE kv_objects SET state = 'verified', verified_at = now(), gate = coalesce(CAST(:gate AS jsonb), gate) "
            "WHERE tenant_id = :tenant AND key = :key AND grp = :grp AND codec = :codec AND blob = :blob",
            key=found.key, grp=found.group.value, codec=found.codec, blob=found.blob,
            gate=None if gate is None else json.dumps(gate),
        )
    )  # fmt: skip


def drop(tx: Transaction, found: StoredObject) -> None:
    """One object; its chunk goes when it was the last. The blob is left to the caller, after the commit."""
    tx.run(
        "DELETE FROM kv_objects WHERE tenant_id = :tenant AND key = :key AND grp = :grp AND codec = :codec AND blob = :blob",
        key=found.key, grp=found.group.value, codec=found.codec, blob=found.blob,
    )  # fmt: skip
    tx.run(
        "DELETE FROM kv_chunks k WHERE k.tenant_id = :tenant AND k.key = :key AND NOT EXISTS (SELECT 1 FROM kv_objects o "
        "WHERE o.tenant_id = k.tenant_id AND o.key = k.key)",
        key=found.key,
    )


def delete(tx: Transaction, keys: Collection[bytes]) -> list[tuple[UUID, bytes]]:
    """Chunks with all their objects; (cube, blob) of each, which are the caller's to delete after the commit."""
    rows = tx.tuples(
        "DELETE FROM kv_objects WHERE tenant_id = :tenant AND key = ANY(:keys) RETURNING cube_id, blob", keys=list(keys)
    )
    tx.run("DELETE FROM kv_chunks WHERE tenant_id = :tenant AND key = ANY(:keys)", keys=list(keys))
    return [(row[0], bytes(row[1])) for row in rows]


def touch(
    tx: Transaction, keys: Collection[bytes], now: datetime, *, rates: Mapping[bytes, float], clock: float
) -> None:
    """Note a use: `rates` are the uses per day after it (`rules.kv_policy.used`) of the chunks where the prefix ended."""
    tx.run(
        "UPDATE kv_chunks SET last_used_at = :now, clock = greatest(clock, :clock) "
        "WHERE tenant_id = :tenant AND key = ANY(:keys)",
        keys=list(keys), now=now, clock=clock,
    )  # fmt: skip
    for key, rate in rates.items():
        tx.run("UPDATE kv_chunks SET uses_per_day = :rate WHERE tenant_id = :tenant AND key = :key", key=key, rate=rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A chunk as eviction finds it. `sizes` are its stored bytes by codec, all groups together."""

    key: bytes
    cube_id: UUID
    model_key: str
    parent_key: bytes
    start: int
    n_tokens: int
    uses_per_day: float
    last_used_at: datetime | None
    clock: float
    sizes: dict[str, int]


_STANDINGS = (
    "SELECT k.key, k.cube_id, k.model_key, k.parent_key, k.start, k.n_tokens, k.uses_per_day, k.last_used_at, k.clock, "
    "s.sizes FROM kv_chunks k JOIN LATERAL (SELECT jsonb_object_agg(codec, bytes) AS sizes FROM (SELECT codec, "
    "CAST(sum(n_bytes) AS bigint) AS bytes FROM kv_objects o WHERE o.tenant_id = k.tenant_id AND o.key = k.key "
    "GROUP BY codec) g) s ON true WHERE k.tenant_id = :tenant "
)


def standings(tx: Transaction, cube_id: UUID | None) -> list[Standing]:
    """Every chunk of a cube, or of the tenant, with what it occupies."""
    return _standings(
        tx.rows(_STANDINGS + "AND k.cube_id = coalesce(CAST(:cube AS uuid), k.cube_id) ORDER BY k.key", cube=cube_id)
    )


def standings_of(tx: Transaction, cube_id: UUID, keys: Collection[bytes]) -> list[Standing]:
    return _standings(
        tx.rows(
            _STANDINGS + "AND k.cube_id = :cube AND k.key = ANY(:keys) ORDER BY k.key", cube=cube_id, keys=list(keys)
        )
    )


def _standings(rows: Sequence[Row]) -> list[Standing]:
    return [
        Standing(
            **{**row, "key": bytes(row["key"]), "parent_key": bytes(row["parent_key"]), "sizes": row["sizes"] or {}}
        )
        for row in rows
    ]


def bytes_used(tx: Transaction, cube_id: UUID | None) -> int:
    """Of chunks and slot files together."""
    return int(
        tx.scalar(
            "SELECT coalesce(sum(n_bytes), 0) FROM (SELECT cube_id, n_bytes FROM kv_objects WHERE tenant_id = :tenant "
            "UNION ALL SELECT cube_id, n_bytes FROM kv_slot_files WHERE tenant_id = :tenant) o "
            "WHERE cube_id = coalesce(CAST(:cube AS uuid), cube_id)",
            cube=cube_id,
        )
    )


def blobs_named(tx: Transaction, cube_id: UUID) -> set[bytes]:
    """Every blob that some row of the cube names."""
    rows = tx.tuples(
        "SELECT blob FROM kv_objects WHERE tenant_id = :tenant AND cube_id = :cube UNION ALL "
        "SELECT blob FROM kv_slot_files WHERE tenant_id = :tenant AND cube_id = :cube",
        cube=cube_id,
    )
    return {bytes(row[0]) for row in rows}


def objects_of(tx: Transaction, cube_id: UUID) -> list[StoredObject]:
    """Everything stored of a cube, in whatever state."""
    rows = tx.tuples(
        f"SELECT {_COLUMNS} FROM {_JOINED} WHERE k.tenant_id = :tenant AND k.cube_id = :cube", cube=cube_id
    )
    return [_object(row) for row in rows]


def known(tx: Transaction, keys: Collection[bytes]) -> set[bytes]:
    """Those of the keys that have a chunk's row."""
    rows = tx.tuples("SELECT key FROM kv_chunks WHERE tenant_id = :tenant AND key = ANY(:keys)", keys=list(keys))
    return {bytes(row[0]) for row in rows}


def sample(tx: Transaction, most: int) -> list[StoredObject]:
    """Objects that wait for their first check, and those whose last one is longest ago."""
    rows = tx.tuples(
        f"SELECT {_COLUMNS} FROM {_JOINED} WHERE k.tenant_id = :tenant "
        "ORDER BY o.state = 'verified', o.verified_at, o.key LIMIT :most",
        most=most,
    )
    return [_object(row) for row in rows]


def counts(tx: Transaction, cube_ids: Collection[UUID] | None) -> list[dict[str, Any]]:
    rows = tx.rows(
        'SELECT codec, grp AS "group", state, count(*) AS objects, sum(n_bytes) AS bytes FROM kv_objects '
        "WHERE tenant_id = :tenant AND (CAST(:cubes AS uuid[]) IS NULL OR cube_id = ANY(:cubes)) "
        'GROUP BY codec, grp, state ORDER BY codec, "group", state',
        cubes=None if cube_ids is None else list(cube_ids),
    )
    return [{**row, "bytes": int(row["bytes"])} for row in rows]


def count(tx: Transaction, cube_ids: Collection[UUID] | None) -> int:
    return int(
        tx.scalar(
            "SELECT count(*) FROM kv_chunks WHERE tenant_id = :tenant "
            "AND (CAST(:cubes AS uuid[]) IS NULL OR cube_id = ANY(:cubes))",
            cubes=None if cube_ids is None else list(cube_ids),
        )
    )
