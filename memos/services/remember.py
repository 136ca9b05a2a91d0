"""Remember: turns, documents and single memories become versions, searchable when the call returns.

Two steps, so that no model runs inside a transaction: `prepare_*` checks, cuts and encodes; `write` stores, in the
caller's transaction, as one revision. A repeat of the same thing reinforces what is there instead of doubling it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from memos.encoders.embedder import Embedder
from memos.errors import Frozen, Invalid
from memos.rules.access import Principal, Scope
from memos.rules.chunking import passages
from memos.rules.derivation_policy import ExtractionPolicy
from memos.rules.header import DEFAULT_PRIORITY, Draft, Kind, Sensitivity, dedup_key, sha256
from memos.rules.injection import Finding
from memos.rules.suspicion import look_at
from memos.services import suspicion
from memos.services.encode import Encoding
from memos.services.etags import require_match
from memos.services.views import Written, WrittenMemory
from memos.store import audit, jobs, memories, usage
from memos.store.memories import Version
from memos.store.revision_writer import Encoded, RevisionWriter
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class MessageIn:
    role: str
    content: str
    name: str | None = None
    external_id: str | None = None
    created_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemIn:
    kind: Kind
    content: str
    external_id: str | None = None
    session_id: str | None = None
    created_at: datetime | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    ttl_s: float | None = None
    priority: float = DEFAULT_PRIORITY
    sensitivity: str = Sensitivity.NORMAL
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None
    role: str | None = None
    name: str | None = None
    title: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Drafts with what was computed from them, for one branch of one cube. `document` replaces its earlier passages."""

    cube: str
    branch: str
    kind: str
    drafts: list[Draft]
    encoded: list[Encoded]
    document: str | None = None
    findings: list[Finding] | None = None
    """What the patterns of injection found in each draft; looked for when it is written, if not before."""


def prepare_messages(
    embedder: Embedder, cube: str, *, session_id: str, messages: Sequence[MessageIn], branch: str, now: datetime
) -> Prepared:
    """Turns of one session. Without a time of its own a message is stamped `now`, a microsecond after the one before,
    so that someone who says "ok" twice in one request has said it twice."""
    drafts = [_keyed(turn(m, session_id, now + timedelta(microseconds=i))) for i, m in enumerate(messages)]
    encoding = Encoding(embedder, drafts)
    findings = _looked_at(drafts)
    return Prepared(cube, branch, "messages", drafts, encoding.result(), findings=findings)


def turn(message: MessageIn, session_id: str, now: datetime) -> Draft:
    """A message as a draft, not yet placed in its session."""
    return Draft(
        kind=Kind.TURN,
        text=message.content,
        created_at=message.created_at or now,
        external_id=message.external_id,
        session_id=session_id,
        role=message.role,
        name=message.name,
        metadata=message.metadata,
    )


def prepare_document(
    embedder: Embedder,
    cube: str,
    *,
    text: str,
    title: str | None,
    source: str | None,
    external_id: str | None,
    created_at: datetime | None,
    metadata: Mapping[str, Any],
    branch: str,
    now: datetime,
) -> Prepared:
    """Passages of one document. Sent again under its external id, a changed document replaces the old one."""
    drafts = [
        _keyed(
            Draft(
                kind=Kind.PASSAGE,
                text=piece,
                created_at=created_at or now,
                external_id=external_id,
                # A document is a session of its own, so that a passage has neighbours.
                session_id=external_id or source or title,
                ordinal=i,
                title=title,
                source=source,
                metadata=metadata,
            )
        )
        for i, piece in enumerate(p for p in passages(text) if p.strip())
    ]
    if not drafts:
        raise Invalid("the text holds nothing but white space", where=["body", "text"])
    encoding = Encoding(embedder, drafts)
    findings = _looked_at(drafts)
    return Prepared(cube, branch, "document", drafts, encoding.result(), document=external_id, findings=findings)


def prepare_items(embedder: Embedder, cube: str, *, items: Sequence[ItemIn], branch: str, now: datetime) -> Prepared:
    drafts = [
        _keyed(
            Draft(
                kind=i.kind,
                text=i.content,
                created_at=i.created_at or now,
                external_id=i.external_id,
                session_id=i.session_id,
                role=i.role,
                name=i.name,
                title=i.title,
                source=i.source,
                valid_from=i.valid_from,
                valid_to=i.valid_to,
                expires_at=i.expires_at if i.ttl_s is None else now + timedelta(seconds=i.ttl_s),
                priority=i.priority,
                sensitivity=i.sensitivity,
                tags=tuple(dict.fromkeys(i.tags)),
                metadata=i.metadata,
            )
        )
        for i in items
    ]
    encoding = Encoding(embedder, drafts)
    findings = _looked_at(drafts)
    return Prepared(cube, branch, "memories", drafts, encoding.result(), findings=findings)


def _looked_at(drafts: Sequence[Draft]) -> list[Finding]:
    return [look_at(draft) for draft in drafts]


def write(
    tx: Transaction,
    who: Principal,
    prepared: Prepared,
    *,
    now: datetime,
    reason: str = "",
    if_match: str | None = None,
) -> Written:
    """Store what was prepared as one revision of the branch, or as none when all of it was known."""
    who.require(Scope.WRITE)
    writer = RevisionWriter(tx, prepared.cube, prepared.branch, now=now)
    who.reach(writer.cube.id)
    require_match(if_match, writer.branch.head_revision, "the branch")
    findings = prepared.findings if prepared.findings is not None else _looked_at(prepared.drafts)
    judged = suspicion.judged(tx, who, prepared.drafts, findings, now)
    outcome = _Outcome(writer, judged.drafts)
    for draft, encoded in zip(judged.drafts, prepared.encoded, strict=True):
        outcome.take(draft, encoded)
    if prepared.document is not None:
        _retire_passages(writer, prepared.document, set(outcome.order))
    revised = writer.finish(kind=prepared.kind, author=who.key_id, reason=reason)
    usage.repeated(tx, writer.cube.id, outcome.repeated, now)
    usage.said_again(tx, writer.cube.id, outcome.said)
    job_ids: list[UUID] = []
    aside = judged.aside(outcome.ids(), revised.versions)
    if revised.written:
        suspicion.keep(tx, who, writer, judged, aside)
        audit.record(tx, who.key_id, f"write.{prepared.kind}", now, cube_id=writer.cube.id,
                     detail={"revision": revised.number, "memories": len(outcome.order)})  # fmt: skip
        extraction = ExtractionPolicy.of(writer.cube.policy).enabled
        job_ids = jobs.promise_after_write(tx, writer.cube.id, writer.branch.name, extraction=extraction)
    return Written(
        revised.number,
        [
            WrittenMemory(
                memory_id,
                external_id,
                revised.versions.get(memory_id, version),
                how,
                outcome.is_set_aside(memory_id, aside),
            )
            for memory_id, external_id, version, how in outcome.rows()
        ],
        job_ids,
    )


class _Outcome:
    """Decides for each draft whether it is new, a change or a repeat, and remembers the order of the request."""

    def __init__(self, writer: RevisionWriter, drafts: Sequence[Draft]) -> None:
        self.writer = writer
        self.order: dict[UUID, tuple[str | None, int, str]] = {}
        self.repeated: list[UUID] = []
        self.said: dict[UUID, datetime] = {}
        self._sequence: list[UUID] = []
        self._ordinals: dict[str, int] = {}
        self._view = writer.view
        keys = [d.dedup_key for d in drafts if d.dedup_key]
        self._ids = memories.by_dedup_key(writer.tx, writer.cube.id, keys)
        self._shown = memories.get_many(writer.tx, self._view, self._ids.values()) if self._ids else {}

    def take(self, draft: Draft, encoded: Encoded) -> None:
        key = draft.dedup_key or b""
        memory_id = self._ids.get(key)
        if memory_id is not None and memory_id in self.order:
            if self._sequence[-1] != memory_id:
                self._said(memory_id, draft)
            self._sequence.append(memory_id)  # twice in one request
            return
        shown = self._shown.get(memory_id) if memory_id else None
        if shown is not None and not self.writer.tx.sees(shown.sensitivity, quarantined=False):
            # Saying the same as a memory one may not read neither tells that it is there nor writes over it.
            memory_id, shown = None, None
        if shown is None:
            memory_id = self.writer.add(self._placed(draft), encoded, memory_id)
            self._ids[key] = memory_id
            how, version = "added", 1
        elif (
            (shown.text == draft.text or self._was_corrected(shown, draft))
            and shown.state in ("generated", "activated", "frozen")
            and not _is_news(shown, draft)
        ):
            self.repeated.append(shown.memory_id)
            self._said(shown.memory_id, draft)
            how, version = "repeated", shown.version
        else:
            how, version = "changed", shown.version
            self._say_again(shown, draft, encoded)
        assert memory_id is not None  # noqa: S101 - either found or added
        self.order[memory_id] = (draft.external_id, version, how)
        self._sequence.append(memory_id)

    def _was_corrected(self, shown: Version, draft: Draft) -> bool:
        """A message is sent again by who did not hear that it had arrived, and must not undo what was mended since."""
        return draft.kind is Kind.TURN and memories.corrected_from(self.writer.tx, shown, sha256(draft.text))

    def _said(self, memory_id: UUID, draft: Draft) -> None:
        """A fact is said again, which matters if something else was said in between. A record sent again says nothing."""
        if draft.kind is Kind.FACT and draft.external_id is None:
            # Facts of one request are of one moment; their order still tells which was the last word.
            self.said[memory_id] = draft.created_at + timedelta(microseconds=len(self._sequence))

    def _say_again(self, shown: Version, draft: Draft, encoded: Encoded) -> None:
        """The same id with another text is an edit; something put away and said again is back."""
        refuse_frozen(shown)
        # What was replaced and is said anew is read anew, and so needs a text of its own.
        same_text = shown.text == draft.text and not _is_news(shown, draft)
        back = shown.state not in ("generated", "activated")
        after = replace(
            draft,
            ordinal=shown.ordinal,
            state="activated" if back else shown.state,
            action="restore" if back else "write",
            merged_into=None,
        )
        self.writer.change(shown, after, None if same_text else encoded)

    def _placed(self, draft: Draft) -> Draft:
        """A turn's place in its session: after all that are there."""
        if draft.kind is not Kind.TURN or draft.session_id is None:
            return draft
        if draft.session_id not in self._ordinals:
            last = memories.last_ordinal(self.writer.tx, self._view, draft.session_id)
            self._ordinals[draft.session_id] = 0 if last is None else last + 1
        ordinal = self._ordinals[draft.session_id]
        self._ordinals[draft.session_id] += 1
        return replace(draft, ordinal=ordinal)

    def ids(self) -> list[UUID]:
        """The memory of each draft, in their order."""
        return self._sequence

    def is_set_aside(self, memory_id: UUID, aside: Mapping[UUID, object]) -> bool:
        """Now, or already when it was said before."""
        shown = self._shown.get(memory_id)
        return memory_id in aside or (
            self.order[memory_id][2] == "repeated" and shown is not None and shown.quarantined
        )

    def rows(self) -> list[tuple[UUID, str | None, int, Any]]:
        return [(memory_id, *self.order[memory_id]) for memory_id in self._sequence]


def _is_news(shown: Version, draft: Draft) -> bool:
    """Whether a fact is said again after something else had replaced it. A record sent again is no news."""
    if draft.kind is not Kind.FACT or draft.external_id is not None or shown.state == "frozen":
        return False
    return shown.valid_to is not None and draft.valid_to is None and draft.created_at > shown.valid_to


def refuse_frozen(row: Version) -> None:
    if row.state == "frozen":
        raise Frozen(f"memory {row.memory_id} is frozen; unfreeze it first", extra={"memory_id": str(row.memory_id)})


def _retire_passages(writer: RevisionWriter, external_id: str, kept: set[UUID]) -> None:
    """Passages of an earlier text of the same document are put away, not deleted."""
    for row in memories.passages_of(writer.tx, writer.view, external_id):
        if row.memory_id not in kept and writer.tx.sees(row.sensitivity, quarantined=False):
            writer.change(row, replace(row.draft(), state="archived", action="archive"))


def _keyed(draft: Draft) -> Draft:
    return replace(draft, dedup_key=dedup_key(draft))


def utc_now() -> datetime:
    """The one clock; everything below takes its reading as an argument."""
    return datetime.now(UTC)
