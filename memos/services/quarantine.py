"""Quarantine: looking at what was set aside, and deciding. Each decision is a revision, and teaches about the source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from memos.errors import NotFound
from memos.rules.access import Principal, Scope
from memos.rules.derivation_policy import ExtractionPolicy
from memos.rules.reputation import Reputation, after_review, aged
from memos.services.cursors import id_of
from memos.services.views import Page, page
from memos.store import audit, cubes, jobs, memories, quarantine, sources
from memos.store.quarantine import Held
from memos.store.revision_writer import RevisionWriter
from memos.store.transaction import Transaction

MOST_SOURCES = 200


@dataclass(frozen=True, slots=True)
class Reviewed:
    memory_id: UUID
    outcome: str
    revisions: list[int]


@dataclass(frozen=True, slots=True)
class SourceView:
    """What is thought of a source: a key, together with what it relays."""

    key_id: UUID
    trust_class: str
    trust: float
    recent_trust: float
    good: float
    bad: float
    anomalous: bool
    distrusted: bool
    updated_at: datetime


def list_held(tx: Transaction, who: Principal, *, cube: str | None, limit: int, cursor: str | None) -> Page[Held]:
    """What waits for a review, with its text: the one door that shows it."""
    who.require(Scope.ADMIN)
    cube_id = None
    if cube is not None:
        cube_id = cubes.find(tx, cube).id
        who.reach(cube_id)
    tx.see_everything()
    only = None if who.cube_ids is None else sorted(who.cube_ids)
    rows = quarantine.page(tx, cube_id=cube_id, only=only, limit=limit + 1, after=id_of(cursor))
    found = page(rows, limit, lambda held: held.memory_id)
    return Page([_shown(tx, held) for held in found.items], found.next_cursor)


def list_sources(tx: Transaction, who: Principal, *, now: datetime) -> list[SourceView]:
    """The standing of every source that was heard, the worst first."""
    who.require(Scope.ADMIN)
    return [_source(row, now) for row in sources.everyone(tx, MOST_SOURCES)]


def release(tx: Transaction, who: Principal, memory_id: UUID, *, now: datetime, reason: str) -> Reviewed:
    """It is recalled from now on, and read by the workers like anything written."""
    return _review(tx, who, memory_id, now, reason, released=True)


def reject(tx: Transaction, who: Principal, memory_id: UUID, *, now: datetime, reason: str) -> Reviewed:
    """It is put away and stays in quarantine; erasing it is an act of its own."""
    return _review(tx, who, memory_id, now, reason, released=False)


def _review(
    tx: Transaction, who: Principal, memory_id: UUID, now: datetime, reason: str, *, released: bool
) -> Reviewed:
    """On every branch where it is in quarantine: a fork must not keep what was rejected, or hide what was released."""
    who.require(Scope.ADMIN)
    held = [one for one in quarantine.find(tx, memory_id) if who.may_reach(one.cube_id)]
    if not released:
        held = [one for one in held if one.state != "archived"]
    if not held:
        raise NotFound("no such memory in quarantine")
    outcome = "released" if released else "rejected"
    revisions = []
    for one in held:
        writer = RevisionWriter(tx, str(one.cube_id), one.branch, now=now)
        row = memories.get(tx, writer.view, memory_id)
        if row is None or not tx.sees(row.sensitivity, quarantined=False):
            raise NotFound("no such memory in quarantine")
        draft = row.draft()
        if released:
            back = row.state == "archived"
            after = replace(
                draft,
                quarantined=False,
                state="activated" if back else row.state,
                action="restore" if back else "write",
            )
        else:
            after = replace(draft, state="archived", action="archive")
        writer.change(row, after)
        revised = writer.finish(kind=f"quarantine.{outcome}", author=who.key_id, reason=reason)
        revisions.append(revised.number)
        if released:
            extraction = ExtractionPolicy.of(writer.cube.policy).enabled
            jobs.promise_after_write(tx, writer.cube.id, writer.branch.name, extraction=extraction)
    cube_id = held[0].cube_id
    quarantine.reviewed(tx, cube_id, memory_id, outcome, who.key_id, now, reason)
    _teach(tx, held[0], now, released=released)
    audit.record(tx, who.key_id, f"quarantine.{outcome}", now, cube_id=cube_id, target=str(memory_id),
                 detail={"revisions": revisions, "reason": reason})  # fmt: skip
    return Reviewed(memory_id, outcome, revisions)


def _teach(tx: Transaction, held: Held, now: datetime, *, released: bool) -> None:
    """Nobody is taught about when the writer is unknown: an import, or a memory older than this."""
    if held.key_id is None:
        return
    known = sources.known(tx, held.key_id, [held.trust_class], lock=True)
    before = known.get(held.trust_class, Reputation(now))
    sources.keep(tx, held.key_id, {held.trust_class: after_review(before, now, released=released)})


def _shown(tx: Transaction, held: Held) -> Held:
    """A reviewer too reads no label above its clearance."""
    if tx.sees(held.sensitivity, quarantined=False):
        return held
    return replace(held, content=None, title=None, role=None, name=None, source=None, session_id=None)


def _source(row: sources.SourceRow, now: datetime) -> SourceView:
    found = aged(row.reputation, now)
    return SourceView(
        key_id=row.key_id,
        trust_class=row.trust_class,
        trust=round(found.mean, 4),
        recent_trust=round(found.recent_mean, 4),
        good=round(found.good, 3),
        bad=round(found.bad, 3),
        anomalous=found.anomalous,
        distrusted=found.distrusted,
        updated_at=row.reputation.updated_at,
    )
