"""Extract: what was said becomes facts, names and slots. The job `extract`, promised by every write.

One run reads what its branch has shown since the last one, a batch at a time: read from a snapshot, computed outside
any transaction, saved as one revision while the claim still stands. A text is read once; a job that runs twice, or
beside another, finds it read and does nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.exc import DataError, IntegrityError

from memos.encoders.embedder import Embedder
from memos.encoders.llm import language_model
from memos.errors import NotFound
from memos.rules.access import Principal, Scope
from memos.rules.derivation_policy import ExtractionPolicy
from memos.services import keep_facts, reconciling
from memos.services.attempt import Attempt, Outcome
from memos.services.encode import encode
from memos.services.keep_facts import KIND, Kept
from memos.services.model_reader import ModelReader
from memos.services.reader import Read, Reader, RuleReader, Text
from memos.services.reconciling import Entry, draft_of
from memos.settings import Settings
from memos.store import cubes, jobs, readings
from memos.store.cubes import Branch, Cube
from memos.store.engine import Database
from memos.store.jobs import Job
from memos.store.memories import Version
from memos.store.provenance import Relation
from memos.store.readings import BEGINNING, Place
from memos.store.revision_writer import Encoded
from memos.store.transaction import Transaction

# Saved in a tenth of a second, during which writers of the cube wait.
BATCH = 128


log = structlog.get_logger("memos.extract")


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement that would be stored, or a stored one that would change, and what it would do to others."""

    memory_id: UUID | None
    text: str
    outcome: str
    reason: str
    tags: list[str]
    subject: str | None
    attribute: str | None
    value: str | None
    confidence: float | None
    valid_from: datetime | None
    valid_to: datetime | None
    sources: list[UUID]
    supersedes: list[UUID]
    contradicts: list[UUID]


@dataclass(frozen=True, slots=True)
class ExtractionPreview:
    """What reading the next texts would do. `reinforced` are memories that were said again."""

    reader: str
    read: int
    findings: list[Finding]
    reinforced: list[UUID]
    names: list[str]


def request(tx: Transaction, who: Principal, cube: str, *, branch: str, again: bool) -> Job:
    """Promise to read what is unread on a branch, or (`again`) everything once more, whatever the policy says."""
    who.require(Scope.WRITE)
    view = cubes.view(tx, cube, branch)
    who.reach(view.cube.id)
    job_id = jobs.promise(
        tx,
        KIND,
        cube_id=view.cube.id,
        payload={"branch": view.branch.name, "again": again, "forced": True},
        dedup_key=f"{view.cube.id}/{view.branch.name}/{'again' if again else 'forced'}",
    )
    return jobs.get(tx, job_id)


def preview(
    database: Database, settings: Settings, who: Principal, cube: str, *, branch: str, again: bool, most: int
) -> ExtractionPreview:
    """What the next `most` texts would give, by the reader the job would use. Writes nothing."""
    who.require(Scope.READ)
    with database.transaction(who.tenant_id, read_only=True) as tx:
        view = cubes.view(tx, cube, branch)
        who.reach(view.cube.id)
        start = BEGINNING if again else readings.place(tx, view.branch.id, KIND)
        texts = _texts(tx, view.branch, readings.unread(tx, view.branch, start, most, again=again))
    with _ReaderOf(settings, ExtractionPolicy.of(view.cube.policy)) as reader:
        reads = reader.read(texts)
    with database.transaction(who.tenant_id, read_only=True) as tx:
        plan = reconciling.plan(tx, cubes.view(tx, cube, branch), reads)
    return ExtractionPreview(
        reader.name,
        len(texts),
        [_finding(entry) for entry in plan.writes],
        list(dict.fromkeys(plan.reinforced)),
        sorted({mention.entity for read in reads for mention in read.mentions}),
    )


def extract(attempt: Attempt) -> Outcome:
    """Job `extract`, payload `{branch, again?, forced?}`. Its revision is the last one it wrote."""
    payload = attempt.job.payload
    again = bool(payload.get("again"))
    with attempt.reading() as tx:
        found = _find(tx, attempt.job.cube_id, payload["branch"])
        if found is None:
            return Outcome({"skipped": "the branch is gone"})
        cube, branch = found
        place = BEGINNING if again else readings.place(tx, branch.id, KIND)
    policy = ExtractionPolicy.of(cube.policy)
    if not policy.enabled and not payload.get("forced"):
        return Outcome({"skipped": "extraction is off for this cube"})
    done: Counter[str] = Counter()
    revision: int | None = None
    with _ReaderOf(attempt.parts.settings, policy) as reader:
        while True:
            with attempt.reading() as tx:
                versions = readings.unread(tx, branch, place, BATCH, again=again)
                texts = _texts(tx, branch, versions)
            if not versions:
                break
            reads = reader.read(texts)
            encoded = encode_facts(attempt.parts.spaces.of(attempt.tenant_id, str(attempt.job.cube_id)), reads)
            place = Place(versions[-1].from_revision, versions[-1].id)
            try:
                kept = _keep(attempt, cube, branch, reader.name, reads, encoded, place, again=again)
            except (IntegrityError, DataError):
                kept = _keep_one_by_one(attempt, cube, branch, reader.name, reads, encoded, again=again)
            place = kept.place
            done.update(kept.counts)
            revision = kept.revision or revision
            attempt.report({"read": done["read"], "added": done["added"]})
        return Outcome({**done, "reader": reader.name, **reader.report()}, revision)


def _keep(
    attempt: Attempt,
    cube: Cube,
    branch: Branch,
    reader: str,
    reads: Sequence[Read],
    encoded: Mapping[str, Encoded],
    place: Place,
    *,
    again: bool,
) -> Kept:
    with attempt.saving() as tx:
        return keep_facts.keep(tx, cube, branch.name, reader, reads, encoded, place, again=again, job_id=attempt.job.id)


def _keep_one_by_one(
    attempt: Attempt,
    cube: Cube,
    branch: Branch,
    reader: str,
    reads: Sequence[Read],
    encoded: Mapping[str, Encoded],
    *,
    again: bool,
) -> Kept:
    """The database refuses what was made of some text. The others must not wait for it for ever."""
    total: Counter[str] = Counter()
    revision = None
    for read in reads:
        place = Place(read.version.from_revision, read.version.id)
        try:
            kept = _keep(attempt, cube, branch, reader, [read], encoded, place, again=again)
        except (IntegrityError, DataError) as error:
            log.warning("unreadable", memory_id=str(read.version.memory_id), error=type(error.orig).__name__)
            with attempt.saving() as tx:
                keep_facts.pass_over(tx, cube, branch.id, read, place)
            total["unreadable"] += 1
        else:
            total.update(kept.counts)
            revision = kept.revision or revision
    return Kept(total, revision, place)


class _ReaderOf:
    """The reader that policy and settings ask for; its model is closed at the end."""

    def __init__(self, settings: Settings, policy: ExtractionPolicy) -> None:
        rules = RuleReader(policy.admission)
        self._model = language_model(settings) if policy.llm else None
        self._reader: Reader = rules if self._model is None else ModelReader.of(self._model, rules, settings)

    def __enter__(self) -> Reader:
        return self._reader

    def __exit__(self, *_: object) -> None:
        if self._model is not None:
            self._model.close()


def _find(tx: Transaction, cube_id: UUID | None, branch: str) -> tuple[Cube, Branch] | None:
    try:
        cube = cubes.find(tx, str(cube_id))
        return cube, cubes.find_branch(tx, cube.id, branch)
    except NotFound:
        return None


def _texts(tx: Transaction, branch: Branch, versions: Sequence[Version]) -> list[Text]:
    sessions = {v.session_id for v in versions if v.session_id and v.kind == "turn"}
    lineage = [branch.id]
    if sessions and branch.base_branch_id is not None:
        lineage = [branch_id for branch_id, _ in cubes.lineage_of(tx, branch, branch.head_revision)]
    speakers = readings.speakers(tx, lineage, sessions) if sessions else {}
    return [Text(v, tuple(speakers.get(v.session_id or "", ()))) for v in versions]


def encode_facts(embedder: Embedder, reads: Sequence[Read]) -> dict[str, Encoded]:
    """What the indexes need of all new facts, in one batch, by text."""
    drafts = {fact.text: draft_of(fact) for read in reads for fact in read.facts}
    return dict(zip(drafts, encode(embedder, list(drafts.values())), strict=True)) if drafts else {}


def _finding(entry: Entry) -> Finding:
    claim, row, new = entry.claim, entry.row, entry.new
    related = [(link.relation, link.other_id) for link in entry.links]
    stored = "" if row is None else row.text or ""
    return Finding(
        memory_id=None if row is None else row.memory_id,
        text=stored if new is None else new.text,
        outcome=entry.outcome.value if entry.outcome else "change" if new is None else "add",
        reason=entry.reason,
        tags=list(new.tags) if new is not None else [] if row is None else row.tags,
        subject=None if claim is None else claim.subject,
        attribute=None if claim is None else claim.attribute,
        value=None if claim is None else claim.value,
        confidence=None if new is None else new.confidence,
        valid_from=entry.valid_from,
        valid_to=entry.valid_to,
        sources=[source.memory_id for source in entry.sources],
        supersedes=[other for relation, other in related if relation is Relation.SUPERSEDES],
        contradicts=[other for relation, other in related if relation is Relation.CONTRADICTS],
    )
