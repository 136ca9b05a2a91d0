"""Versions: what is hashed, and how two lines of history become one.

    fingerprint  = sha256(text digest and header)         equal states have equal fingerprints
    commitment   = sha256(salt | fingerprint | when, where)   stays after erasure, when salt and fingerprint are gone
    changes      = sha256(sorted +memory version commitment, -memory version)
    hash         = sha256(parent hash | number | branch | author | reason | time | changes)

A revision's hash therefore covers every state it wrote, and still verifies when some of those states have been erased:
the commitment proves that *something fixed* stood there, and without its salt it does not let anyone guess what.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from memos.rules.header import Draft, canonical, instant

SALT_BYTES = 16
GENESIS = bytes(32)
Strategy = Literal["fail", "ours", "theirs"]

# Being recalled for the first time is not a change of the memory: reading must not look like writing.
_SAME_STATE = {"activated": "generated"}


def fingerprint(draft: Draft, text_sha256: bytes) -> bytes:
    """32 bytes that are equal exactly when two states say the same.

    When it was said and its place in the session are left out: the same thing said on two branches is the same thing.
    """
    return hashlib.sha256(
        canonical(
            [
                text_sha256.hex(),
                draft.kind,
                _SAME_STATE.get(draft.state, draft.state),
                [
                    draft.external_id,
                    draft.session_id,
                    draft.role,
                    draft.name,
                    draft.title,
                    draft.source,
                ],
                [
                    instant(draft.valid_from),
                    instant(draft.valid_to),
                    instant(draft.expires_at),
                ],
                # Stored as four-byte reals: hash what will be read back.
                [_real(draft.priority), _real(draft.trust), draft.sensitivity, draft.origin],
                sorted(draft.tags),
                dict(draft.metadata),
                None if draft.merged_into is None else str(draft.merged_into),
                # Only where it is set: the hashes of versions older than quarantine stay what they were.
                *(["quarantined"] if draft.quarantined else []),
            ]
        )
    ).digest()


def _real(value: float) -> str:
    return struct.pack(">f", value).hex()


def commitment(salt: bytes, fingerprint_: bytes, created_at: datetime, ordinal: int | None) -> bytes:
    """32 bytes that bind a version to everything about it, and reveal nothing without the salt."""
    return hashlib.sha256(salt + fingerprint_ + canonical([instant(created_at), ordinal])).digest()


@dataclass(frozen=True, slots=True)
class Opened:
    """A version that begins with a revision."""

    memory_id: UUID
    version: int
    commitment: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """A version that ends with a revision."""

    memory_id: UUID
    version: int


def changes_digest(opened: Iterable[Opened], closed: Iterable[Closed]) -> bytes:
    """32 bytes over a revision's changes, independent of their order."""
    lines = [b"+" + o.memory_id.bytes + o.version.to_bytes(4) + o.commitment for o in opened]
    lines += [b"-" + c.memory_id.bytes + c.version.to_bytes(4) for c in closed]
    digest = hashlib.sha256()
    for line in sorted(lines):
        digest.update(len(line).to_bytes(2) + line)
    return digest.digest()


def revision_hash(
    *,
    parent_hash: bytes,
    number: int,
    branch: str,
    kind: str,
    merged_from: int | None,
    author: UUID | None,
    reason: str,
    created_at: datetime,
    changes: bytes,
) -> bytes:
    """The link of the chain: 32 bytes over the parent's hash and everything this revision says of itself."""
    body = [
        number,
        branch,
        kind,
        merged_from,
        author and str(author),
        reason,
        instant(created_at),
        changes.hex(),
    ]
    return hashlib.sha256(parent_hash + canonical(body)).digest()


@dataclass(frozen=True, slots=True)
class MergePlan:
    """What to write on the target: take their state, or remove the memory. Conflicts are listed whatever the strategy."""

    take: tuple[UUID, ...]
    remove: tuple[UUID, ...]
    conflicts: tuple[UUID, ...]


def merge(
    base: Mapping[UUID, bytes], ours: Mapping[UUID, bytes], theirs: Mapping[UUID, bytes], strategy: Strategy
) -> MergePlan:
    """Three-way merge per memory over fingerprints; absent memories are missing keys.

    A change made by one side only is applied; the same change made by both is no conflict; different changes are
    conflicts, settled by `strategy` (`fail` settles none: the caller must not write when there are any).
    """
    take: list[UUID] = []
    remove: list[UUID] = []
    conflicts: list[UUID] = []
    for memory_id in sorted({*base, *ours, *theirs}):
        b, o, t = base.get(memory_id), ours.get(memory_id), theirs.get(memory_id)
        if t in (o, b):
            continue
        if o != b:
            conflicts.append(memory_id)
            if strategy != "theirs":
                continue
        (remove if t is None else take).append(memory_id)
    return MergePlan(tuple(take), tuple(remove), tuple(conflicts))
