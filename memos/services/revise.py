"""Revise: edit, put away, bring back and freeze single memories. Each is one revision; nothing is overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from memos.encoders.embedder import Embedder
from memos.errors import Conflict, Invalid, NotFound
from memos.rules.access import Principal, Scope
from memos.rules.derivation_policy import ExtractionPolicy
from memos.rules.header import Draft, Kind, dedup_key
from memos.rules.lifecycle import Action, State, Touch, check_touch, check_transition
from memos.services import holds, suspicion
from memos.services.encode import encode
from memos.services.etags import require_match
from memos.services.views import MemoryView
from memos.store import audit, cubes, jobs, memories
from memos.store.engine import Database
from memos.store.memories import Version
from memos.store.revision_writer import Encoded, RevisionWriter
from memos.store.transaction import Transaction

CHANGEABLE = frozenset(
    {
        "content",
        "valid_from",
        "valid_to",
        "ttl_s",
        "priority",
        "sensitivity",
        "tags",
        "metadata",
        "title",
        "external_id",
    }
)


@dataclass(frozen=True, slots=True)
class PreparedChange:
    """A change with its new text encoded against the version it was read from."""

    cube: str
    branch: str
    memory_id: UUID
    changes: Mapping[str, Any]
    encoded: Encoded | None


def prepare_change(
    database: Database,
    embedder: Embedder,
    who: Principal,
    cube: str,
    memory_id: UUID,
    changes: Mapping[str, Any],
    branch: str,
) -> PreparedChange:
    """Encode a new text outside any transaction. `changes` holds only the fields the caller sent."""
    who.require(Scope.WRITE)
    if not changes:
        raise Invalid("nothing to change: send at least one field", where=["body"])
    encoded = None
    if "content" in changes or "title" in changes:
        with database.transaction(who.tenant_id, read_only=True) as tx:
            view = cubes.view(tx, cube, branch)
            who.reach(view.cube.id)
            row = _shown(tx, view, memory_id)
        after = _apply(row.draft(), changes, row.created_at)
        encoded = encode(embedder, [after])[0]
    return PreparedChange(cube, branch, memory_id, changes, encoded)


def change(
    tx: Transaction,
    who: Principal,
    prepared: PreparedChange,
    *,
    now: datetime,
    reason: str = "",
    if_match: str | None = None,
) -> MemoryView:
    """A new version with the changed fields. Frozen, merged away and expired memories refuse (409)."""
    writer, row = _begin(tx, who, prepared.cube, prepared.branch, prepared.memory_id, now, if_match)
    check_touch(State(row.state), Touch.UPDATE)
    after = replace(_apply(row.draft(), prepared.changes, now), action="write")
    if "content" in prepared.changes and row.external_id is None:
        after = replace(after, dedup_key=dedup_key(after))
    judged = None
    if prepared.encoded is not None:
        judged = suspicion.judged(tx, who, [after], None, now)
        # Under another's words one's own name does not make a memory better believed than it was.
        [fresh] = judged.drafts
        after = replace(fresh, trust=min(fresh.trust, row.trust))
    writer.change(row, after, prepared.encoded)
    if prepared.encoded is not None:
        extraction = ExtractionPolicy.of(writer.cube.policy).enabled
        jobs.promise_after_write(tx, writer.cube.id, writer.branch.name, extraction=extraction)
    return _finish(writer, who, "edit", reason, row.memory_id, judged)


def archive(
    tx: Transaction,
    who: Principal,
    cube: str,
    memory_id: UUID,
    *,
    branch: str,
    now: datetime,
    reason: str = "",
    if_match: str | None = None,
) -> MemoryView:
    """Put away: not recalled by default, kept in full, restorable."""
    return set_state(
        tx, who, cube, memory_id, to=State.ARCHIVED, branch=branch, now=now, reason=reason, if_match=if_match
    )


def restore(
    tx: Transaction,
    who: Principal,
    cube: str,
    memory_id: UUID,
    *,
    version: int,
    branch: str,
    now: datetime,
    reason: str = "",
    if_match: str | None = None,
) -> MemoryView:
    """Make an earlier version (of any branch) the present one again, as a new version."""
    who.require(Scope.WRITE)
    writer = RevisionWriter(tx, cube, branch, now=now)
    who.reach(writer.cube.id)
    earlier = memories.version(tx, writer.cube.id, memory_id, version)
    if earlier is None or earlier.tombstone:
        raise NotFound(f"this memory has no version {version}")
    if earlier.erased_at is not None:
        raise Conflict(f"version {version} was erased and cannot come back")
    row = memories.get(tx, writer.view, memory_id)
    _refuse_unseen(tx, earlier)
    if row is not None:
        _refuse_unseen(tx, row)
        require_match(if_match, row.version, "the memory")
        check_touch_for_restore(row)
    # What had run out would run out again at once.
    expires_at = None if earlier.expires_at and earlier.expires_at <= now else earlier.expires_at
    again = replace(earlier, state=State.ACTIVATED, expires_at=expires_at, merged_into=None, state_before=None)
    writer.restate(row, again, Action.RESTORE)
    return _finish(writer, who, "restore", reason, memory_id)


def set_state(
    tx: Transaction,
    who: Principal,
    cube: str,
    memory_id: UUID,
    *,
    to: str,
    branch: str,
    now: datetime,
    reason: str = "",
    if_match: str | None = None,
) -> MemoryView:
    """Move a memory along its lifecycle by hand. Freezing and unfreezing need the `freeze` scope."""
    writer, row = _begin(tx, who, cube, branch, memory_id, now, if_match)
    before, target = State(row.state), State(to)
    if State.FROZEN in (before, target):
        who.require(Scope.FREEZE)
    if before is target:
        return _view(tx, writer, memory_id)
    if target in (State.ARCHIVED, State.EXPIRED):
        holds.refuse(tx, writer.cube.id, [memory_id])
    action = _action(before, target)
    frozen_from = State(row.state_before) if row.state_before else None
    check_transition(before, target, action=action, frozen_from=frozen_from)
    after = replace(row.draft(), state=target, action=action, state_before=before if target is State.FROZEN else None)
    if before in (State.MERGED, State.EXPIRED):
        after = replace(after, merged_into=None, expires_at=None if before is State.EXPIRED else after.expires_at)
    writer.change(row, after)
    return _finish(writer, who, f"state.{target}", reason, memory_id)


def check_touch_for_restore(row: Version) -> None:
    """Anything but a frozen memory may be brought back to an earlier version."""
    if row.state == State.FROZEN:
        check_touch(State.FROZEN, Touch.UPDATE)


def _action(before: State, target: State) -> Action:
    if before is State.FROZEN:
        return Action.UNFREEZE
    named = {
        State.FROZEN: Action.FREEZE,
        State.ARCHIVED: Action.ARCHIVE,
        State.EXPIRED: Action.EXPIRE,
        State.MERGED: Action.MERGE,
    }
    return named.get(target, Action.RESTORE)


def _begin(
    tx: Transaction, who: Principal, cube: str, branch: str, memory_id: UUID, now: datetime, if_match: str | None
) -> tuple[RevisionWriter, Version]:
    who.require(Scope.WRITE)
    writer = RevisionWriter(tx, cube, branch, now=now)
    who.reach(writer.cube.id)
    row = _shown(tx, writer.view, memory_id)
    _refuse_unseen(tx, row)
    require_match(if_match, row.version, "the memory")
    return writer, row


def _refuse_unseen(tx: Transaction, row: Version) -> None:
    """Nobody changes what they may not read; what is in quarantine waits for a review."""
    if not tx.sees(row.sensitivity, quarantined=False):
        raise NotFound("no such memory on this branch")
    if row.quarantined and tx.caller is not None:
        raise Conflict(
            "the memory is in quarantine; a review has to release or reject it first",
            extra={"memory_id": str(row.memory_id)},
        )


def _shown(tx: Transaction, view: cubes.View, memory_id: UUID) -> Version:
    row = memories.get(tx, view, memory_id)
    if row is None:
        raise NotFound("no such memory on this branch")
    return row


def _apply(draft: Draft, changes: Mapping[str, Any], now: datetime) -> Draft:
    if unknown := sorted(set(changes) - CHANGEABLE):
        raise Invalid(f"cannot change {', '.join(unknown)}", where=["body", unknown[0]])
    fields = {name: value for name, value in changes.items() if name not in ("content", "ttl_s", "tags")}
    if "content" in changes:
        fields["text"] = changes["content"]
    if "ttl_s" in changes:
        fields["expires_at"] = None if changes["ttl_s"] is None else now + timedelta(seconds=changes["ttl_s"])
    if "tags" in changes:
        fields["tags"] = tuple(dict.fromkeys(changes["tags"]))
    after = replace(draft, **fields, kind=Kind(draft.kind))
    if after.valid_from and after.valid_to and after.valid_to <= after.valid_from:
        raise Invalid("valid_to must be later than valid_from", where=["body", "valid_to"])
    return after


def _finish(
    writer: RevisionWriter,
    who: Principal,
    action: str,
    reason: str,
    memory_id: UUID,
    judged: suspicion.Judged | None = None,
) -> MemoryView:
    revised = writer.finish(kind=action, author=who.key_id, reason=reason)
    if judged is not None:
        suspicion.keep(writer.tx, who, writer, judged, judged.aside([memory_id], revised.versions))
    audit.record(writer.tx, who.key_id, f"memory.{action}", writer.now, cube_id=writer.cube.id, target=str(memory_id),
                 detail={"revision": revised.number})  # fmt: skip
    return _view(writer.tx, writer, memory_id)


def _view(tx: Transaction, writer: RevisionWriter, memory_id: UUID) -> MemoryView:
    row = _shown(tx, writer.view, memory_id)
    usage = memories.usage(tx, writer.cube.id, [memory_id]).get(memory_id)
    return MemoryView.of(row, usage, withheld=not tx.sees(row.sensitivity, quarantined=row.quarantined))
