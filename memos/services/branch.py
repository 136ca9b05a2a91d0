"""Branch: the history of a cube as something to read, fork, compare, merge and go back in."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from memos.errors import Conflict, Frozen, Invalid, MergeConflict
from memos.rules import versioning
from memos.rules.access import Principal, Scope
from memos.rules.versioning import Strategy
from memos.services.cursors import number_of, tag_of
from memos.services.etags import require_match
from memos.services.views import (
    BranchView,
    Changed,
    ConflictView,
    DiffView,
    MemoryView,
    MergeView,
    Page,
    RevisionView,
    TagView,
    page,
)
from memos.store import audit, cubes, identities, memories, revisions
from memos.store.cubes import At, View
from memos.store.memories import Standing, Version
from memos.store.revision_writer import RevisionWriter
from memos.store.transaction import Transaction

# A diff or a list of conflicts is for a person; beyond this the counts of the revision tell more.
MOST_LISTED = 1_000


def list_revisions(
    tx: Transaction,
    who: Principal,
    cube: str,
    *,
    branch: str | None,
    at: At = None,
    limit: int,
    cursor: str | None,
) -> Page[RevisionView]:
    """Newest first: of one branch with what it inherits, up to `at`, or of all branches when `branch` is None."""
    who.require(Scope.READ)
    view = cubes.view(tx, cube, branch or cubes.MAIN, at)
    who.reach(view.cube.id)
    steps = view.lineage if branch else None
    items = revisions.list_revisions(tx, view.cube.id, steps, limit + 1, number_of(cursor))
    return page(items, limit, lambda r: r.revision)


def diff(tx: Transaction, who: Principal, cube: str, *, from_: At, to: At, branch: str) -> DiffView:
    """What became of each memory between two states of a branch, at most `MOST_LISTED` of each sort."""
    who.require(Scope.READ)
    before, after = cubes.view(tx, cube, branch, from_), cubes.view(tx, cube, branch, to)
    who.reach(before.cube.id)
    # What nobody touched in between is the same in both: a look at one revision of a large cube stays a small one.
    touched = memories.touched(tx, before, after)
    old, new = memories.state_at(tx, before, touched), memories.state_at(tx, after, touched)
    added = [m for m in sorted(new) if m not in old][:MOST_LISTED]
    removed = [m for m in sorted(old) if m not in new][:MOST_LISTED]
    changed = [m for m in sorted(old) if m in new and old[m].fingerprint != new[m].fingerprint][:MOST_LISTED]
    rows = memories.by_version_ids(
        tx, [new[m].id for m in (*added, *changed)] + [old[m].id for m in (*removed, *changed)]
    )
    told = [row for row in rows.values() if row.text is not None]
    tx.saw("diff", after.cube.id, after.cube.policy, [(row.memory_id, row.version, row.sensitivity) for row in told])
    return DiffView(
        added=[MemoryView.of(rows[new[m].id]) for m in added],
        changed=[Changed(m, MemoryView.of(rows[old[m].id]), MemoryView.of(rows[new[m].id])) for m in changed],
        removed=[MemoryView.of(rows[old[m].id]) for m in removed],
    )


def rollback(
    tx: Transaction,
    who: Principal,
    cube: str,
    *,
    to: At,
    branch: str,
    now: datetime,
    reason: str = "",
    if_match: str | None = None,
) -> RevisionView:
    """Write a revision that restores the state as of `to`. What happened since stays in history."""
    who.require(Scope.WRITE)
    writer = RevisionWriter(tx, cube, branch, now=now)
    who.reach(writer.cube.id)
    require_match(if_match, writer.branch.head_revision, "the branch")
    target = cubes.view(tx, cube, branch, to)
    present = memories.state_at(tx, writer.view)
    wanted = memories.state_at(tx, target)
    differing = [m for m in {*present, *wanted} if _mark(present, m) != _mark(wanted, m)]
    _refuse_frozen(present, differing)
    rows = memories.by_version_ids(tx, [state[m].id for m in differing for state in (present, wanted) if m in state])
    for memory_id in sorted(differing):
        now_row = rows.get(present[memory_id].id) if memory_id in present else None
        if memory_id in wanted:
            writer.restate(now_row, rows[wanted[memory_id].id], "rollback")
        elif now_row is not None:
            writer.remove(now_row)
    meanings = identities.restore(identities.meanings(tx, writer.view), identities.meanings(tx, target))
    revised = writer.finish(
        kind="rollback", author=who.key_id, reason=reason or f"back to revision {target.at}", even_if_empty=True
    )
    identities.decide(tx, writer.branch, revised.number, meanings)
    audit.record(tx, who.key_id, "cube.rollback", now, cube_id=writer.cube.id,
                 detail={"revision": revised.number, "to": target.at, "branch": branch})  # fmt: skip
    return revisions.revision(tx, writer.cube.id, revised.number)


def merge(
    tx: Transaction,
    who: Principal,
    cube: str,
    *,
    source: str,
    target: str,
    strategy: Strategy,
    dry_run: bool,
    now: datetime,
    reason: str = "",
    if_match: str | None = None,
) -> MergeView:
    """Bring what changed on `source` into `target`. Raises `MergeConflict` with the list when `strategy` is `fail`."""
    who.require(Scope.READ if dry_run else Scope.WRITE)
    if source == target:
        raise Invalid("a branch cannot be merged into itself", where=["body", "source"])
    writer = RevisionWriter(tx, cube, target, now=now)
    who.reach(writer.cube.id)
    require_match(if_match, writer.branch.head_revision, "the target branch")
    theirs_view = cubes.view(tx, cube, source)
    base_view = _common_ancestor(tx, writer.view, theirs_view)
    base, ours, theirs = (memories.state_at(tx, v) if v else {} for v in (base_view, writer.view, theirs_view))
    marks = [{m: row.fingerprint for m, row in state.items()} for state in (base, ours, theirs)]
    plan = versioning.merge(marks[0], marks[1], marks[2], strategy)
    wanted = {*plan.take, *plan.remove, *plan.conflicts[:MOST_LISTED]}
    rows = memories.by_version_ids(tx, [s[m].id for s in (base, ours, theirs) for m in wanted if m in s])
    sides = [{m: rows[row.id] for m, row in s.items() if row.id in rows} for s in (base, ours, theirs)]
    conflicts = [_conflict(tx, m, sides) for m in plan.conflicts[:MOST_LISTED]]
    if dry_run:
        return MergeView(None, len(plan.take) + len(plan.remove), conflicts)
    if conflicts and strategy == "fail":
        raise MergeConflict(
            f"{len(plan.conflicts)} memories were changed on both branches; choose 'ours' or 'theirs', or edit one side",
            extra={"conflicts": [asdict(c) for c in conflicts]},
        )
    _refuse_frozen(ours, [*plan.take, *plan.remove])
    for memory_id in plan.take:
        writer.restate(sides[1].get(memory_id), sides[2][memory_id], "branch_merge")
    for memory_id in plan.remove:
        writer.remove(sides[1][memory_id])
    base_meanings = identities.meanings(tx, base_view) if base_view else identities.Meanings({})
    meanings = identities.merge(
        base_meanings,
        identities.meanings(tx, writer.view),
        identities.meanings(tx, theirs_view),
        prefer_theirs=strategy == "theirs",
    )
    revised = writer.finish(
        kind="merge",
        author=who.key_id,
        reason=reason or f"merge {source} into {target}",
        merged_from=theirs_view.branch.head_revision or None,
        even_if_empty=True,
    )
    identities.decide(tx, writer.branch, revised.number, meanings)
    audit.record(tx, who.key_id, "cube.merge", now, cube_id=writer.cube.id,
                 detail={"revision": revised.number, "source": source, "target": target})  # fmt: skip
    return MergeView(revised.number, len(plan.take) + len(plan.remove), conflicts)


def create_branch(
    tx: Transaction, who: Principal, cube: str, *, name: str, from_: At, base: str, now: datetime
) -> BranchView:
    """A new line of history that starts as `base` was at `from_`; nothing is copied."""
    who.require(Scope.WRITE)
    found = cubes.find(tx, cube, lock=True)
    who.reach(found.id)
    origin = cubes.view(tx, str(found.id), base, from_)
    branch = cubes.insert_branch(tx, found.id, name, origin.branch, origin.at)
    audit.record(tx, who.key_id, "branch.create", now, cube_id=found.id, target=name, detail={"fork": origin.at})
    return BranchView.of(branch, {origin.branch.id: base})


def list_branches(
    tx: Transaction, who: Principal, cube: str, *, limit: int = MOST_LISTED, cursor: str | None = None
) -> Page[BranchView]:
    """Oldest first."""
    who.require(Scope.READ)
    found = cubes.find(tx, cube)
    who.reach(found.id)
    after = number_of(cursor) or 0
    names = {b.id: b.name for b in cubes.list_branches(tx, found.id, deleted=True)}
    rows = page([b for b in cubes.list_branches(tx, found.id) if b.id > after][: limit + 1], limit, lambda b: b.id)
    return Page([BranchView.of(b, names) for b in rows.items], rows.next_cursor)


def delete_branch(tx: Transaction, who: Principal, cube: str, name: str, *, now: datetime) -> None:
    """Give up a branch's name and its indexes. Its revisions stay in the log."""
    who.require(Scope.WRITE)
    found = cubes.find(tx, cube, lock=True)
    who.reach(found.id)
    branch = cubes.find_branch(tx, found.id, name)
    if name == cubes.MAIN:
        raise Conflict("the branch 'main' cannot be deleted")
    cubes.delete_branch(tx, branch)
    audit.record(tx, who.key_id, "branch.delete", now, cube_id=found.id, target=name)


def create_tag(tx: Transaction, who: Principal, cube: str, *, name: str, revision: int, now: datetime) -> TagView:
    who.require(Scope.WRITE)
    found = cubes.find(tx, cube)
    who.reach(found.id)
    tag = revisions.create_tag(tx, found.id, name, revision)
    audit.record(tx, who.key_id, "tag.create", now, cube_id=found.id, target=name, detail={"revision": revision})
    return tag


def list_tags(
    tx: Transaction, who: Principal, cube: str, *, limit: int = MOST_LISTED, cursor: str | None = None
) -> Page[TagView]:
    """By revision, then by name."""
    who.require(Scope.READ)
    found = cubes.find(tx, cube)
    who.reach(found.id)
    after = tag_of(cursor)
    tags = [tag for tag in revisions.list_tags(tx, found.id) if after is None or (tag.revision, tag.name) > after]
    return page(tags[: limit + 1], limit, lambda tag: f"{tag.revision}:{tag.name}")


def delete_tag(tx: Transaction, who: Principal, cube: str, name: str, *, now: datetime) -> None:
    who.require(Scope.WRITE)
    found = cubes.find(tx, cube)
    who.reach(found.id)
    revisions.delete_tag(tx, found.id, name)
    audit.record(tx, who.key_id, "tag.delete", now, cube_id=found.id, target=name)


def _common_ancestor(tx: Transaction, ours: View, theirs: View) -> View | None:
    """The newest revision both branches come from. Numbers grow along every edge, so it is the largest shared one."""
    heads = [v.branch.head_revision for v in (ours, theirs)]
    if not all(heads):
        return None
    shared = revisions.ancestry(tx, ours.cube.id, heads[0]) & revisions.ancestry(tx, ours.cube.id, heads[1])
    if not shared:
        return None
    number = max(shared)
    branch = revisions.revision_branch(tx, ours.cube.id, number)
    return View(ours.cube, branch, number, cubes.lineage_of(tx, branch, number))


def _mark(state: dict[UUID, Standing], memory_id: UUID) -> bytes | None:
    return state[memory_id].fingerprint if memory_id in state else None


def _conflict(tx: Transaction, memory_id: UUID, sides: list[dict[UUID, Version]]) -> ConflictView:
    """A merge reads all it rewrites, so what the caller may not see is withheld here: on every side, if on one."""
    rows = [s.get(memory_id) for s in sides]
    withheld = not all(tx.sees(row.sensitivity, quarantined=row.quarantined) for row in rows if row is not None)
    base, ours, theirs = (None if row is None else MemoryView.of(row, withheld=withheld) for row in rows)
    return ConflictView(memory_id, base, ours, theirs)


def _refuse_frozen(state: dict[UUID, Standing], touched: list[UUID]) -> None:
    frozen = sorted(str(m) for m in touched if m in state and state[m].state == "frozen")
    if frozen:
        raise Frozen(f"{len(frozen)} of the memories this would change are frozen", extra={"memory_ids": frozen[:100]})
