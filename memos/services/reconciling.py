"""Reconciling: new facts beside those a cube holds. Repeats reinforce, later values supersede, opposites are flagged.

A `Plan` is made from one snapshot and writes nothing, so the same code answers a dry run. Frozen facts are never
changed: what would have closed one is kept beside it, flagged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.rules.header import Draft, Kind, Sensitivity, Source, dedup_key
from memos.rules.lifecycle import Action, State
from memos.rules.reconcile import Claim, Effect, Outcome, Verdict, reconcile
from memos.rules.reconcile import Link as Ruling
from memos.rules.trust import derived_trust
from memos.services.reader import NewFact, Read
from memos.store import claims, memories, provenance, usage
from memos.store.cubes import View
from memos.store.memories import Version
from memos.store.provenance import Link, Relation
from memos.store.transaction import Transaction

DISPUTED = "disputed"
"""The tag of facts that contradict each other: a person should look."""

LIVE = frozenset({State.GENERATED, State.ACTIVATED, State.FROZEN})
_SECRECY: Final = (Sensitivity.PUBLIC, Sensitivity.NORMAL, Sensitivity.PERSONAL, Sensitivity.SECRET)
_DECIDING: Final = frozenset({Outcome.SUPERSEDE, Outcome.CONTRADICT})
_OPPOSITE: Final = {
    Relation.SUPERSEDES: Relation.SUPERSEDED_BY,
    Relation.SUPERSEDED_BY: Relation.SUPERSEDES,
    Relation.CONTRADICTS: Relation.CONTRADICTS,
    Relation.SIMILAR: Relation.SIMILAR,
}
_RELATION: Final = {
    Ruling.SAME: Relation.SIMILAR,
    Ruling.SUPERSEDES: Relation.SUPERSEDES,
    Ruling.SUPERSEDED_BY: Relation.SUPERSEDED_BY,
    Ruling.CONTRADICTS: Relation.CONTRADICTS,
}


@dataclass(slots=True, eq=False)
class Entry:
    """A fact while a plan is made. `row` is how it stands in the cube; without one it is new.

    `again` marks what had been superseded or put away and is said anew: it starts a new window with no links.
    """

    memory_id: UUID
    claim: Claim | None
    row: Version | None = None
    new: NewFact | None = None
    elsewhere: bool = False
    again: bool = False
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    disputed: bool = False
    links: dict[Link, None] = field(default_factory=dict)
    sources: list[Version] = field(default_factory=list)
    outcome: Outcome | None = None
    reason: str = ""

    @property
    def window(self) -> tuple[datetime | None, datetime | None]:
        """When it held. What is told after its end ("until May", said in June) has no known beginning."""
        if self.valid_from is not None and self.valid_to is not None and self.valid_to < self.valid_from:
            return None, self.valid_to
        return self.valid_from, self.valid_to

    @property
    def changed(self) -> bool:
        row = self.row
        return (
            row is None
            or self.again
            or self.window != (row.valid_from, row.valid_to)
            or (self.disputed and DISPUTED not in row.tags)
        )


@dataclass(slots=True)
class Plan:
    """What to write. `reinforced` lists known memories that were said again, once for each time, and `said` has when.

    `taken` counts the texts it covers: it ends before one that says anew what the texts before it have replaced, because
    one revision cannot give a memory two windows.
    """

    taken: int = 0
    entries: list[Entry] = field(default_factory=list)
    reinforced: list[UUID] = field(default_factory=list)
    said: dict[UUID, datetime] = field(default_factory=dict)
    outdated: list[Version] = field(default_factory=list)
    known_links: dict[UUID, list[Link]] = field(default_factory=dict)

    @property
    def writes(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.changed]


def plan(tx: Transaction, view: View, reads: Sequence[Read]) -> Plan:
    """Reconcile everything some texts say, in the order in which it was written."""
    return _Planner(tx, view, reads).run()


def draft_of(fact: NewFact) -> Draft:
    """The memory a new fact would be: as old, as trusted, as secret and as short-lived as what it was made from."""
    origin = fact.sources[0]
    expiries = [source.expires_at for source in fact.sources if source.expires_at is not None]
    sensitivity = max((Sensitivity(s.sensitivity) for s in fact.sources), key=_SECRECY.index)
    draft = Draft(
        kind=Kind.FACT,
        text=fact.text,
        created_at=fact.said_at,
        session_id=origin.session_id,
        valid_from=fact.valid_from,
        valid_to=fact.valid_to,
        expires_at=min(expiries, default=None),
        trust=derived_trust(source.trust for source in fact.sources),
        sensitivity=sensitivity,
        origin="derived",
        tags=fact.tags,
        sources=tuple(Source(s.memory_id, s.version) for s in fact.sources),
    )
    return replace(draft, dedup_key=dedup_key(draft))


class _Planner:
    def __init__(self, tx: Transaction, view: View, reads: Sequence[Read]) -> None:
        self.tx, self.view, self.reads = tx, view, reads
        self.plan = Plan()
        self.by_slot: dict[tuple[str, str] | None, dict[UUID, Entry]] = {}
        self.by_key: dict[bytes, Entry] = {}
        self.listed: dict[UUID, Entry] = {}
        self.outdated: dict[UUID, Version] = {}
        self.said: dict[UUID, datetime] = {}

    def run(self) -> Plan:
        direct = [(read.version, read.claims[0][0]) for read in self.reads if len(read.claims) == 1]
        drafts = [(fact, dedup_key(draft_of(fact))) for read in self.reads for fact in read.facts]
        self.outdated = self._find_outdated()
        own = {version.memory_id for version, _ in direct} | set(self.outdated)
        slots = [claim.slot for _, claim in direct if claim.slot]
        slots += [fact.claim.slot for fact, _ in drafts if fact.claim is not None and fact.claim.slot]
        rivals = [k for k in claims.in_slots(self.tx, self.view, slots) if k.row.memory_id not in own]
        self.said = usage.last_said(self.tx, self.view.cube.id, own | {known.row.memory_id for known in rivals})
        for known in rivals:
            self._remember(_entry_of(known.row, known.claim))
        ids = memories.by_dedup_key(self.tx, self.view.cube.id, {key for _, key in drafts})
        shown = memories.get_many(self.tx, self.view, ids.values()) if ids else {}
        keys = iter([key for _, key in drafts])
        for read in self.reads:
            mine = [next(keys) for _ in read.facts]
            if self.plan.taken and any(self._was_replaced(key, ids.get(key)) for key in mine):
                break
            self.plan.taken += 1
            if len(read.claims) == 1:
                self._take_direct(read.version, read.claims[0][0])
            for fact, key in zip(read.facts, mine, strict=True):
                self._take_derived(fact, key, ids.get(key), shown.get(ids[key]) if key in ids else None)
        self.plan.outdated = list(self.outdated.values())
        touched = [entry.memory_id for entry in self.plan.entries if entry.row is not None and entry.changed]
        if touched:
            for link in provenance.links_of(self.tx, self.view, touched):
                self.plan.known_links.setdefault(link.memory_id, []).append(Link(link.other_id, link.relation))
        return self.plan

    # ------------------------------------------------------------ one fact at a time

    def _take_direct(self, version: Version, claim: Claim) -> None:
        """A fact that is stored already: only its window, links and flag can change."""
        entry = _entry_of(version, claim)
        verdict = self._rule(entry)
        if verdict.outcome is Outcome.REINFORCE:
            for effect in verdict.effects:
                self._repeat(effect.memory_id, claim.said_at)
        elif version.state != State.FROZEN and (verdict.effects or verdict.valid_to != version.valid_to):
            # The window begins where the other's ends, or the two would be true side by side.
            self._settle(entry, verdict)
        self._remember(entry)

    def _take_derived(self, fact: NewFact, key: bytes, known_id: UUID | None, shown: Version | None) -> None:
        if (twin := self.by_key.get(key)) is not None:
            self._say_again(twin, fact)
            return
        if shown is not None and self.outdated.pop(shown.memory_id, None) is None and self._is_repeat(shown):
            self._repeat(shown.memory_id, fact.said_at)
            return
        memory_id = known_id or uuid_utils.uuid7()
        claim = None if fact.claim is None else replace(fact.claim, memory_id=memory_id)
        entry = Entry(memory_id, claim, row=shown, new=fact, elsewhere=known_id is not None, again=shown is not None,
                      valid_from=fact.valid_from, valid_to=fact.valid_to, sources=list(fact.sources))  # fmt: skip
        if claim is not None:
            verdict = self._rule(entry)
            if verdict.outcome is Outcome.REINFORCE:
                for effect in verdict.effects:
                    self._reinforce(effect.memory_id, claim, fact)
                return
            self._settle(entry, verdict)
        self.by_key[key] = entry
        self._remember(entry)

    def _was_replaced(self, key: bytes, known_id: UUID | None) -> bool:
        """Whether this plan has closed the memory that a fact would be."""
        twin = self.by_key.get(key) or (None if known_id is None else self.listed.get(known_id))
        if twin is None or twin.valid_to is None:
            return False
        return twin.again or twin.row is None or twin.row.valid_to is None

    def _is_repeat(self, shown: Version) -> bool:
        """Whether a memory of the very same text stands for the new one: as it is current, or gone for good reason."""
        if shown.state in (State.MERGED, State.EXPIRED):
            return True
        return shown.state in LIVE and (shown.valid_to is None or shown.state == State.FROZEN)

    def _rule(self, entry: Entry) -> Verdict:
        assert entry.claim is not None  # noqa: S101 - callers look first
        rivals = self.by_slot.get(entry.claim.slot, {})
        said_at = max(entry.claim.said_at, self.said.get(entry.memory_id, entry.claim.said_at))
        new = replace(entry.claim, said_at=said_at)
        return reconcile(new, [self._standing(rival, new) for rival in rivals.values() if rival.claim is not None])

    def _standing(self, rival: Entry, new: Claim) -> Claim:
        """What a known fact claims. One that was said before the new one and again after it holds anew since then."""
        assert rival.claim is not None  # noqa: S101 - callers look first
        again = self._said_again_since(rival, new)
        return rival.claim if again is None else replace(rival.claim, said_at=again, valid_from=again)

    def _said_again_since(self, rival: Entry, new: Claim) -> datetime | None:
        last = self.said.get(rival.memory_id)
        if last is None or rival.claim is None or rival.claim.valid_to is not None:
            return None
        return last if rival.claim.said_at < new.said_at < last else None

    def _settle(self, entry: Entry, verdict: Verdict) -> None:
        """Carry out a verdict on the plan: windows, links and flags of the new fact and of those it meets."""
        assert entry.claim is not None  # noqa: S101 - callers look first
        rivals = self.by_slot.get(entry.claim.slot, {})
        entry.outcome, entry.reason = verdict.outcome, verdict.reason
        if entry.new is not None or verdict.effects:
            entry.valid_from = verdict.valid_from
        entry.valid_to = verdict.valid_to
        for effect in verdict.effects:
            self._affect(entry, rivals[effect.memory_id], effect)
        entry.claim = replace(entry.claim, valid_from=verdict.valid_from, valid_to=entry.valid_to)

    def _affect(self, entry: Entry, rival: Entry, effect: Effect) -> None:
        relation = _RELATION[effect.link]
        if rival.row is not None and rival.row.state == State.FROZEN:
            entry.links[Link(rival.memory_id, Relation.CONTRADICTS)] = None
            entry.disputed = True
            return
        entry.links[Link(rival.memory_id, relation)] = None
        if effect.flagged:
            entry.disputed = rival.disputed = True
        if effect.closes_at is not None:
            rival.valid_to = effect.closes_at
            assert rival.claim is not None  # noqa: S101 - it has a slot
            rival.claim = replace(rival.claim, valid_to=rival.valid_to)
        elif relation is Relation.SUPERSEDED_BY and entry.claim is not None:
            again = self._said_again_since(rival, entry.claim)
            if again is not None and rival.claim is not None:
                rival.valid_from = again
                rival.claim = replace(rival.claim, said_at=again, valid_from=again)
                rival.links[Link(entry.memory_id, _OPPOSITE[relation])] = None
                self._list(rival)
        if effect.closes_at is not None or effect.flagged:
            rival.links[Link(entry.memory_id, _OPPOSITE[relation])] = None
            self._list(rival)

    # ------------------------------------------------------------ repeats

    def _reinforce(self, memory_id: UUID, claim: Claim, fact: NewFact) -> None:
        """Said before in other words: what is only being planned gains a source, what is stored gains a repeat."""
        twin = self.by_slot.get(claim.slot, {}).get(memory_id)
        if twin is not None and twin.row is None:
            self._say_again(twin, fact)
        else:
            self._repeat(memory_id, fact.said_at)

    def _repeat(self, memory_id: UUID, said_at: datetime) -> None:
        self.plan.reinforced.append(memory_id)
        self.plan.said[memory_id] = self.said[memory_id] = max(said_at, self.said.get(memory_id, said_at))

    def _say_again(self, twin: Entry, fact: NewFact) -> None:
        known = {source.memory_id for source in twin.sources}
        twin.sources += [source for source in fact.sources if source.memory_id not in known]

    # ------------------------------------------------------------ what no text says any more

    def _find_outdated(self) -> dict[UUID, Version]:
        """Facts made only from texts that have been edited since. They say what nobody says any more: they compete with
        nothing, and are put away unless the new text says the same."""
        edited = [read.version for read in self.reads if read.version.version > 1 and read.version.kind != Kind.FACT]
        if not edited:
            return {}
        rows = memories.get_many(self.tx, self.view, provenance.made_from_earlier(self.tx, self.view, edited))
        origins = provenance.sources_of(self.tx, self.view, rows)
        now = {version.memory_id: version.version for version in edited}
        return {
            row.memory_id: row
            for row in rows.values()
            if row.state in LIVE - {State.FROZEN}
            and all(now.get(s.memory_id, s.version) != s.version for s in origins.get(row.memory_id, ()))
        }

    # ------------------------------------------------------------ bookkeeping

    def _remember(self, entry: Entry) -> None:
        if entry.claim is not None:
            self.by_slot.setdefault(entry.claim.slot, {})[entry.memory_id] = entry
        # A stored fact that replaces another without changing itself is listed too: it is what decided.
        if entry.row is None or entry.changed or entry.outcome in _DECIDING:
            self._list(entry)

    def _list(self, entry: Entry) -> None:
        if entry.memory_id not in self.listed:
            self.listed[entry.memory_id] = entry
            self.plan.entries.append(entry)


def changed_draft(entry: Entry, sources: Iterable[Source] = ()) -> Draft:
    """The next version of a fact the cube holds."""
    assert entry.row is not None  # noqa: S101 - asked for rows only
    before = entry.row.draft()
    tags = before.tags if not entry.disputed or DISPUTED in before.tags else (*before.tags, DISPUTED)
    valid_from, valid_to = entry.window
    after = replace(before, valid_from=valid_from, valid_to=valid_to, tags=tags, action="write")
    if not entry.again:
        return after
    back = entry.row.state == State.ARCHIVED
    return replace(
        after,
        state=State.ACTIVATED if back else after.state,
        action=Action.RESTORE if back else "write",
        sources=(*sources, *(Source(s.memory_id, s.version) for s in entry.sources)),
    )


def _entry_of(row: Version, claim: Claim) -> Entry:
    return Entry(
        row.memory_id,
        claim,
        row=row,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        disputed=DISPUTED in row.tags,
    )
