"""Revisions, tags, branches, diffs and merges on the wire."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from api.schemas.base import Input, Output, example
from api.schemas.fields import Count, Flag, Moment, Name, Reason, Reference, TagName, Time
from api.schemas.memories import MEMORY, MemoryOut

REVISION = {
    "revision": 12,
    "branch": "main",
    "parent": 11,
    "merged_from": None,
    "kind": "messages",
    "author": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c12",
    "reason": "chat of 1 August",
    "created_at": "2026-08-01T09:30:00Z",
    "hash": "8b3f0c6a9d0e4e5b7a1c2d3e4f5061728394a5b6c7d8e9f00112233445566778",
    "added": 2,
    "changed": 0,
    "removed": 0,
}


class RevisionOut(Output):
    """One atomic change to a cube, chained to its parent by hash."""

    model_config = example(**REVISION)

    revision: int
    branch: str
    parent: int | None
    merged_from: int | None
    kind: str
    author: UUID | None
    """The key that wrote it."""
    reason: str
    created_at: Time
    hash: str
    added: int
    changed: int
    removed: int


class RollbackIn(Input):
    """Make a branch look as it did; history stays, the rollback is a revision of its own."""

    model_config = example(to=9, reason="the import of Monday was the wrong file")

    to: Moment
    branch: Reference = "main"
    reason: Reason = ""


class TagIn(Input):
    """A name for a revision."""

    model_config = example(name="before-import", revision=11)

    name: TagName
    revision: Count


class TagOut(Output):
    """A name for a revision; it never moves."""

    model_config = example(name="before-import", revision=11, created_at="2026-08-01T09:30:00Z")

    name: str
    revision: int
    created_at: Time


class BranchIn(Input):
    """A new line of history; nothing is copied."""

    model_config = example(name="experiment", **{"from": 9})

    name: Name
    from_: Annotated[Moment | None, Field(alias="from")] = None
    """Where it begins: a revision, tag or time of `branch`, or another branch's name; the present when absent."""
    branch: Reference = "main"


class ChangedOut(Output):
    """The same memory at both ends of a diff."""

    model_config = example(memory_id=MEMORY["id"], before=MEMORY, after={**MEMORY, "version": 2})

    memory_id: UUID
    before: MemoryOut
    after: MemoryOut


class DiffOut(Output):
    """What one revision shows that the other does not, at most a thousand of each sort."""

    model_config = example(added=[MEMORY], changed=[], removed=[])

    added: list[MemoryOut]
    changed: list[ChangedOut]
    removed: list[MemoryOut]


class MergeIn(Input):
    """Bring what happened on `source` since the fork to `target`."""

    model_config = example(source="experiment", target="main", strategy="fail", dry_run=True)

    source: Reference
    target: Reference
    strategy: Literal["fail", "ours", "theirs"]
    """Who wins where both sides changed the same memory: nobody (409), the target, or the source."""
    dry_run: Flag = False
    reason: Reason = ""


class ConflictOut(Output):
    """A memory both sides changed, differently."""

    model_config = example(memory_id=MEMORY["id"], base=MEMORY, ours={**MEMORY, "version": 2}, theirs=None)

    memory_id: UUID
    base: MemoryOut | None
    ours: MemoryOut | None
    theirs: MemoryOut | None


class MergeOut(Output):
    """What a merge did, or would do."""

    model_config = example(revision=13, applied=4, conflicts=[])

    revision: int | None
    """Null for a dry run, and when there was nothing to apply."""
    applied: int
    conflicts: list[ConflictOut]
