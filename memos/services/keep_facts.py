"""Keeping what was read: a batch of readings becomes one revision, with the names and slots of every text in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from memos.rules.entities import entity_key
from memos.rules.header import Draft
from memos.rules.lifecycle import Action, State
from memos.rules.reconcile import DEFAULT_POLICY as RECONCILE
from memos.rules.reconcile import Claim, Outcome, claim_to_json
from memos.services import reconciling
from memos.services.reader import NewFact, Read
from memos.services.reconciling import DISPUTED, Entry, Plan, changed_draft, draft_of
from memos.services.remember import utc_now
from memos.store import decisions, marks, memories, provenance, readings, usage
from memos.store.cubes import Cube, View
from memos.store.decisions import Decision
from memos.store.readings import Place, Reading, Stated
from memos.store.revision_writer import Encoded, RevisionWriter
from memos.store.transaction import Transaction

KIND = "extract"
"""The kind of the revision, and the name of the cursor."""
UNREADABLE = "unreadable"
"""The reader of texts that broke their reading."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of a batch, and how far it went. `revision` is None when nothing had to be written."""

    counts: Counter[str]
    revision: int | None
    place: Place


def keep(
    tx: Transaction,
    cube: Cube,
    branch: str,
    reader: str,
    reads: Sequence[Read],
    encoded: Mapping[str, Encoded],
    place: Place,
    *,
    again: bool = False,
    job_id: UUID | None = None,
) -> Kept:
    """Reconcile and store a batch that ends at `place`, or as much of it as fits into one revision. `encoded` has every
    new fact by its text."""
    writer = RevisionWriter(tx, str(cube.id), branch, now=utc_now())
    view = writer.view
    standing = _without_erased(tx, writer.cube, _still_standing(tx, view, reads, again=again))
    plan = reconciling.plan(tx, view, standing)
    if plan.taken < len(standing):
        standing = standing[: plan.taken]
        last = standing[-1].version
        place = Place(last.from_revision, last.id)
    _write(tx, view, writer, plan, encoded)
    revised = writer.finish(kind=KIND, author=None, reason=f"read {len(standing)} texts with {reader}")
    found = [_reading(read) for read in standing]
    if revised.written:
        contents = readings.contents_of(tx, writer.branch.id, revised.number)
        found += [
            Reading(contents[entry.memory_id], entry.new.mentions, _stated(entry))
            for entry in plan.writes
            if entry.new is not None
        ]
    readings.save(tx, cube.id, reader, found, writer.now)
    if not again:  # read again is not said again
        usage.repeated(tx, cube.id, list(dict.fromkeys(plan.reinforced)), writer.now)
        usage.said_again(tx, cube.id, plan.said)
    readings.advance(tx, writer.branch.id, KIND, place)
    decisions.record(
        tx, cube.id, _decisions(plan), kind=KIND, branch=branch, job_id=job_id,
        revision=revised.number if revised.written else None, now=writer.now,
    )  # fmt: skip
    return Kept(_counts(standing, plan), revised.number if revised.written else None, place)


def pass_over(tx: Transaction, cube: Cube, branch_id: int, read: Read, place: Place) -> None:
    """Go on to `place` without a text of which nothing can be kept, so that those behind it are read."""
    readings.save(tx, cube.id, UNREADABLE, [Reading(read.version.content_id or 0)], utc_now())
    readings.advance(tx, branch_id, KIND, place)


def _still_standing(tx: Transaction, view: View, reads: Sequence[Read], *, again: bool) -> list[Read]:
    """What has not been changed, put away, erased, or read by somebody else since it was taken to be read."""
    shown = memories.get_many(tx, view, [read.version.memory_id for read in reads])
    done = set() if again else readings.among_read(tx, [read.version.content_id or 0 for read in reads])
    standing = []
    for read in reads:
        row = shown.get(read.version.memory_id)
        same = row is not None and row.version == read.version.version and row.state in reconciling.LIVE
        if same and read.version.content_id not in done:
            standing.append(read)
    return standing


def _without_erased(tx: Transaction, cube: Cube, reads: Sequence[Read]) -> list[Read]:
    """Facts that were erased, and that the cube's policy refuses, are not made again of another text."""
    refused = marks.refused(tx, cube, [fact.text for read in reads for fact in read.facts])
    return [replace(read, facts=tuple(fact for fact in read.facts if fact.text not in refused)) for read in reads]


def _write(tx: Transaction, view: View, writer: RevisionWriter, plan: Plan, encoded: Mapping[str, Encoded]) -> None:
    """Sources go before what is made of them: the transaction sees both, whatever the order."""
    again = [entry.memory_id for entry in plan.writes if entry.again]
    origins = provenance.sources_of(tx, view, again) if again else {}
    for entry in plan.writes:
        if entry.row is None:
            assert entry.new is not None  # noqa: S101 - what is not stored yet is new
            known = entry.memory_id if entry.elsewhere else None
            draft = _first_draft(entry, entry.new)
            writer.add(draft, encoded[entry.new.text], known, new_id=entry.memory_id, links=list(entry.links))
        else:
            kept = [] if entry.again else plan.known_links.get(entry.memory_id, [])
            writer.change(
                entry.row,
                changed_draft(entry, origins.get(entry.memory_id, ())),
                links=list(dict.fromkeys((*kept, *entry.links))),
            )
    for row in plan.outdated:
        writer.change(row, replace(row.draft(), state=State.ARCHIVED, action=Action.ARCHIVE))


def _first_draft(entry: Entry, new: NewFact) -> Draft:
    draft = draft_of(replace(new, sources=tuple(entry.sources)))
    tags = (*draft.tags, DISPUTED) if entry.disputed else draft.tags
    valid_from, valid_to = entry.window
    return replace(draft, valid_from=valid_from, valid_to=valid_to, tags=tags)


def _reading(read: Read) -> Reading:
    names = {mention.key for mention in read.mentions}
    claims = [_stated_claim(claim, confidence, names) for claim, confidence in read.claims]
    return Reading(read.version.content_id or 0, read.mentions, claims)


def _stated(entry: Entry) -> list[Stated]:
    if entry.claim is None or entry.new is None:
        return []
    return [_stated_claim(entry.claim, entry.new.confidence, {mention.key for mention in entry.new.mentions})]


def _stated_claim(claim: Claim, confidence: float, names: set[str]) -> Stated:
    """Where the value is a name of the same text, the claim is an edge between two entities."""
    subject, attribute = claim.slot or (entity_key(claim.subject), "")
    value = entity_key(claim.value)
    return Stated(subject, attribute, value if value in names else None, confidence, claim_to_json(claim))


def _decisions(plan: Plan) -> list[Decision]:
    """Why facts were closed or flagged. The slot itself is content and stays out."""
    return [
        Decision(
            memory_id=entry.memory_id,
            outcome=entry.outcome.value,
            score=None if entry.new is None else entry.new.confidence,
            inputs={link.relation.value: str(link.other_id) for link in entry.links},
            reason=_REASONS[entry.outcome],
            policy_version=RECONCILE.version,
            applied=True,
        )
        for entry in plan.entries
        if entry.outcome in _REASONS
    ]


_REASONS = {
    Outcome.SUPERSEDE: "a later value of the same slot",
    Outcome.CONTRADICT: "the same slot was given an opposite or another value for good",
}


def _counts(standing: Sequence[Read], plan: Plan) -> Counter[str]:
    writes = plan.writes
    return Counter(
        read=len(standing),
        added=sum(entry.row is None for entry in writes),
        changed=sum(entry.row is not None for entry in writes),
        outdated=len(plan.outdated),
        reinforced=len(plan.reinforced),
        superseded=sum(entry.outcome is Outcome.SUPERSEDE for entry in plan.entries),
        contradicted=sum(entry.outcome is Outcome.CONTRADICT for entry in plan.entries),
    )
