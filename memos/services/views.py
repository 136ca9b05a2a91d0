"""What services answer with: plain values, ready for any door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from memos.store.cubes import Branch, Cube
from memos.store.memories import Usage, Version
from memos.store.revisions import RevisionView, TagView

__all__ = ["RevisionView", "TagView"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`next_cursor` of None means there is no more."""

    items: list[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class BranchView:
    name: str
    base: str | None
    fork_revision: int | None
    revision: int
    created_at: datetime

    @classmethod
    def of(cls, branch: Branch, names: Mapping[int, str]) -> BranchView:
        base = None if branch.base_branch_id is None else names.get(branch.base_branch_id)
        fork = None if branch.base_branch_id is None else branch.fork_revision
        return cls(branch.name, base, fork, branch.head_revision, branch.created_at)


@dataclass(frozen=True, slots=True)
class CubeView:
    id: UUID
    name: str
    description: str
    policy: dict[str, Any]
    revision: int
    branches: list[BranchView]
    counts: dict[str, Any]
    created_at: datetime

    @classmethod
    def of(cls, cube: Cube, branch: Branch, branches: list[Branch], counts: dict[str, Any]) -> CubeView:
        names = {b.id: b.name for b in branches}
        views = [BranchView.of(b, names) for b in branches]
        return cls(
            cube.id, cube.name, cube.description, cube.policy, branch.head_revision, views, counts, cube.created_at
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryView:
    """A version as a reader sees it, with what recall has taught about the memory."""

    id: UUID
    memory_id: UUID
    version: int
    kind: str
    content: str | None
    state: str
    valid_from: datetime | None
    valid_to: datetime | None
    expires_at: datetime | None
    priority: float
    sensitivity: str
    trust: float
    origin: str
    tags: list[str]
    metadata: dict[str, Any]
    external_id: str | None
    session_id: str | None
    ordinal: int | None
    role: str | None
    name: str | None
    title: str | None
    source: str | None
    merged_into: UUID | None
    quarantined: bool
    created_at: datetime
    recorded_at: datetime
    from_revision: int
    to_revision: int | None
    removed: bool
    erased: bool
    redacted: bool = False
    action: str
    recalls: int = 0
    last_recalled_at: datetime | None = None

    @classmethod
    def of(cls, row: Version, usage: Usage | None = None, *, withheld: bool = False) -> MemoryView:
        """A text the database left out (or `withheld`) takes along every part of the header that could repeat it."""
        same = {name: getattr(row, name) for name in _SHARED}
        withheld = withheld or (row.text is None and row.content_id is not None and row.erased_at is None)
        if withheld:
            same |= _WITHHELD
        return cls(
            id=row.memory_id,
            content=None if withheld else row.text,
            removed=row.tombstone,
            erased=row.erased_at is not None,
            redacted=withheld,
            recalls=usage.recalls if usage else 0,
            last_recalled_at=usage.last_recalled_at if usage else None,
            **same,
        )


_SHARED = (
    "memory_id", "version", "kind", "state", "valid_from", "valid_to", "expires_at", "priority", "sensitivity", "trust",
    "origin", "tags", "metadata", "external_id", "session_id", "ordinal", "role", "name", "title", "source",
    "merged_into", "quarantined", "created_at", "recorded_at", "from_revision", "to_revision", "action",
)  # fmt: skip
_WITHHELD: dict[str, Any] = {
    "tags": [], "metadata": {}, "external_id": None, "session_id": None, "ordinal": None, "role": None, "name": None,
    "title": None, "source": None, "merged_into": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WrittenMemory:
    id: UUID
    external_id: str | None
    version: int
    outcome: Literal["added", "changed", "repeated"]
    quarantined: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    revision: int
    memories: list[WrittenMemory]
    jobs: list[UUID]


@dataclass(frozen=True, slots=True)
class Changed:
    memory_id: UUID
    before: MemoryView
    after: MemoryView


@dataclass(frozen=True, slots=True)
class DiffView:
    added: list[MemoryView]
    changed: list[Changed]
    removed: list[MemoryView]


@dataclass(frozen=True, slots=True)
class ConflictView:
    memory_id: UUID
    base: MemoryView | None
    ours: MemoryView | None
    theirs: MemoryView | None


@dataclass(frozen=True, slots=True)
class MergeView:
    """`revision` is None for a dry run, and for a merge that had nothing to apply."""

    revision: int | None
    applied: int
    conflicts: list[ConflictView]


@dataclass(frozen=True, slots=True)
class Link:
    memory_id: UUID
    version: int
    relation: str
    kind: str | None
    content: str | None


@dataclass(frozen=True, slots=True)
class ProvenanceView:
    memory_id: UUID
    version: int
    sources: list[Link]
    derived: list[Link]


@dataclass(frozen=True, slots=True)
class HitSource:
    session_id: str | None
    external_id: str | None
    created_at: datetime
    role: str | None
    name: str | None
    title: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    memory_id: UUID
    version: int
    kind: str
    content: str
    score: float
    state: str
    valid_from: datetime | None
    valid_to: datetime | None
    source: HitSource
    sources: list[UUID]
    cube: UUID
    tags: list[str]
    metadata: dict[str, Any]
    why: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class RouteView:
    """`candidates` counts memories read and scored; `runner_up` is the next deeper budget and about how many it reads;
    `archived` counts those of them that had been put away."""

    granularities: list[str]
    channels: list[str]
    budget: str
    reason: str
    confidence: float
    runner_up: str | None = None
    runner_up_candidates: int | None = None
    candidates: int = 0
    escalated: bool = False
    archived: int = 0


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    items: list[Hit]
    route: RouteView
    trace_id: UUID
    took_ms: float
    revisions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextItem:
    """The `number`-th citation of a context; `excerpt` is the part of the memory that stands in the text."""

    number: int
    memory_id: UUID
    version: int
    kind: str
    cube: UUID
    tokens: int
    excerpt: str


@dataclass(frozen=True, slots=True)
class DroppedItem:
    memory_id: UUID
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextAnswer:
    """`tokens` counts `text` by the tokenizer named."""

    text: str
    tokens: int
    tokenizer: str
    items: list[ContextItem]
    dropped: list[DroppedItem]
    route: RouteView
    context_hash: str
    trace_id: UUID
    took_ms: float
    revisions: dict[str, int]


def page(items: list[T], limit: int, cursor_of: Any) -> Page[T]:
    """A page from up to `limit + 1` items: the extra one only tells that there are more."""
    more = len(items) > limit
    items = items[:limit]
    return Page(items, str(cursor_of(items[-1])) if more else None)
