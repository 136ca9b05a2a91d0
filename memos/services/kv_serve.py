"""Serving chunks: sealed bytes are read, opened with the cube's key, and handed on as they are inside.

An object that cannot be opened (its blob is gone, or was changed on disk) is no object: its row is dropped, and the caller
is told what it would be told had it never been there. It then prefills.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from memos.encoders.kv_container import ChunkLabel, CubeCipher, opened
from memos.errors import Forbidden, KVRejected, NotFound
from memos.rules.access import Principal, Scope
from memos.rules.kv_layout import Group
from memos.services.kv_tier import ActivationTier, sealed_bytes
from memos.store import cubes, kv_chunks
from memos.store.engine import Database
from memos.store.kv_chunks import StoredObject
from memos.store.transaction import Transaction

BUNDLE_MAGIC: Final = b"MKVB\x01"

log = structlog.get_logger("memos.kv")


@dataclass(frozen=True, slots=True)
class Wanted:
    key: bytes
    group: Group
    codecs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Serving:
    """An object found and allowed, with what opens it."""

    found: StoredObject
    cipher: CubeCipher


def find(tx: Transaction, tier: ActivationTier, who: Principal, wanted: Wanted) -> Serving:
    """Raises `NotFound`: absent, foreign, unverified and out of reach are the same."""
    who.require(Scope.READ)
    found = kv_chunks.one(tx, wanted.key, wanted.group, wanted.codecs)
    _refuse_unless_readable(tx, who, [found])
    return Serving(found, tier.cipher(tx, found.cube_id))


def find_all(tx: Transaction, tier: ActivationTier, who: Principal, wanted: Sequence[Wanted]) -> list[Serving]:
    """In the order asked for, or none of them."""
    who.require(Scope.READ)
    stored = {(o.key, o.group, o.codec): o for o in kv_chunks.objects(tx, {each.key for each in wanted})}
    chosen = []
    for each in wanted:
        found = next(
            (stored[each.key, each.group, c] for c in each.codecs if (each.key, each.group, c) in stored), None
        )
        if found is None:
            raise NotFound("no such chunk")
        chosen.append(found)
    _refuse_unless_readable(tx, who, chosen)
    ciphers: dict[UUID, CubeCipher] = {}
    servings = []
    for found in chosen:
        if found.cube_id not in ciphers:
            ciphers[found.cube_id] = tier.cipher(tx, found.cube_id)
        servings.append(Serving(found, ciphers[found.cube_id]))
    return servings


def _refuse_unless_readable(tx: Transaction, who: Principal, found: Sequence[StoredObject]) -> None:
    """A chunk is as secret as what it was computed from. Labels beyond the key's clearance the transaction does not meet;
    what is left to ask is the cubes' policies, which may refuse this call, or clear it for less."""
    for cube_id in {each.cube_id for each in found}:
        if not who.may_reach(cube_id):
            raise NotFound("no such chunk")
        try:
            cubes.find(tx, str(cube_id))
        except Forbidden as error:
            raise NotFound("no such chunk") from error
    if any(each.sight > tx.clearance for each in found):
        raise NotFound("no such chunk")


def body(tier: ActivationTier, database: Database, tenant_id: UUID, serving: Serving) -> tuple[bytes, bytes]:
    """The opened object in two pieces. Raises `NotFound` when it cannot be opened; its row is then gone as well."""
    found = serving.found
    try:
        return opened(sealed_bytes(tier.blobs(tenant_id), found), label_of(found), serving.cipher)
    except (KVRejected, NotFound) as error:
        log.warning("kv_object_lost", key=found.key.hex(), codec=found.codec, reason=error.code)
        with database.transaction(tenant_id) as tx:
            kv_chunks.drop(tx, found)
        raise NotFound("no such chunk") from error


def bundle_bytes(servings: Sequence[Serving]) -> int:
    """Length of the stream, known before it begins."""
    frames = sum(4 + len(_header(each.found)) + each.found.wire_bytes for each in servings)
    return len(BUNDLE_MAGIC) + frames + 4


def bundle(tier: ActivationTier, database: Database, tenant_id: UUID, servings: Sequence[Serving]) -> Iterator[bytes]:
    """The stream. It breaks off when an object cannot be opened after all; the reader sees that from the length."""
    yield BUNDLE_MAGIC
    for each in servings:
        header = _header(each.found)
        head, rest = body(tier, database, tenant_id, each)
        yield struct.pack(">I", len(header)) + header + head
        yield rest
    yield struct.pack(">I", 0)


def label_of(found: StoredObject) -> ChunkLabel:
    return ChunkLabel(found.key, found.model_key, found.group, found.codec, found.start, found.n_tokens)


def _header(found: StoredObject) -> bytes:
    return json.dumps(
        {
            "key": found.key.hex(),
            "group": found.group.value,
            "codec": found.codec,
            "start": found.start,
            "n_tokens": found.n_tokens,
            "model": found.model_key,
            "bytes": found.wire_bytes,
            "sha256": found.sha256.hex(),
        },
        separators=(",", ":"),
    ).encode()
