"""What a memory is before the database knows it: its kind, its header and its text.

A header has the three groups of the MemOS paper (arXiv 2507.03724, section 4): descriptive (origin, kind, times, source),
governance (sensitivity, lifespan, priority, trust) and behavioural. The last one (recalls, strength) changes when a
memory is read and so lives in the unversioned `usage` table, not here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

DEFAULT_PRIORITY = 0.5


class Kind(StrEnum):
    """What a memory is, which is also its granularity."""

    TURN = "turn"
    PASSAGE = "passage"
    FACT = "fact"
    EPISODE = "episode"
    PROFILE = "profile"
    PROCEDURE = "procedure"


class Sensitivity(StrEnum):
    PUBLIC = "public"
    NORMAL = "normal"
    PERSONAL = "personal"
    SECRET = "secret"  # noqa: S105 - a label, not a password


@dataclass(frozen=True, slots=True)
class Source:
    """A version another memory was made from."""

    memory_id: UUID
    version: int
    relation: str = "derived-from"


@dataclass(frozen=True, slots=True)
class Draft:
    """One state of a memory, ready to be written as a version. Times are aware and in UTC."""

    kind: Kind
    text: str
    created_at: datetime
    state: str = "generated"
    dedup_key: bytes | None = None
    external_id: str | None = None
    session_id: str | None = None
    ordinal: int | None = None
    role: str | None = None
    name: str | None = None
    title: str | None = None
    source: str | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    expires_at: datetime | None = None
    priority: float = DEFAULT_PRIORITY
    sensitivity: str = Sensitivity.NORMAL
    trust: float = 1.0
    origin: str = "direct"
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    merged_into: UUID | None = None
    quarantined: bool = False
    """Set aside: kept, but recalled by nobody before a review released it."""
    action: str = "write"
    state_before: str | None = None
    sources: tuple[Source, ...] = ()

    @property
    def speaker(self) -> str | None:
        """Who said it: the name if one was given, else the role."""
        return self.name or self.role


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def normalised(text: str) -> str:
    """The form in which two facts count as the same text: spaces and case do not distinguish them."""
    return " ".join(text.split()).casefold()


def dedup_key(draft: Draft) -> bytes:
    """What makes a repeat a repeat, as 32 bytes.

    A turn is itself by session and external id, or by session, speaker, time and text: two people saying "ok" stay
    two turns. Anything else is itself by external id, or by its text.
    """
    if draft.external_id is not None:
        # Passages of one document share its external id and differ by text.
        parts = [
            draft.kind,
            draft.session_id,
            draft.external_id,
            draft.text if draft.kind is Kind.PASSAGE else None,
        ]
    elif draft.kind is Kind.TURN:
        parts = [draft.kind, draft.session_id, draft.speaker, instant(draft.created_at), draft.text]
    else:
        parts = [draft.kind, draft.source if draft.kind is Kind.PASSAGE else None, normalised(draft.text)]
    return hashlib.sha256(canonical(["dedup", *parts])).digest()


def instant(moment: datetime | None) -> str | None:
    """A time in one spelling only, for hashing."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")


def canonical(value: object) -> bytes:
    """JSON in one spelling only: sorted keys, no spaces, UTF-8, and numbers as PostgreSQL gives them back."""
    return _ENCODER.encode(_plain(value)).encode()


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


_AS_THEY_ARE: Final = frozenset({str, int, bool})


def _plain(value: object) -> object:
    if value is None or type(value) in _AS_THEY_ARE:
        return value  # nearly all: every version is hashed three times, and asking for a Mapping is slow
    match value:
        case float() if value.is_integer():
            return int(Decimal(repr(value)))  # jsonb keeps the shortest decimal, and returns 1e22 as an integer
        case Mapping():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
    return value
