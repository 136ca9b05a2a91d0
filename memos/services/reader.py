"""A reader: texts in, what they say out. By rules here; by a language model in `model_reader`, behind the same port.

From what is said (turns, passages) a reader makes new facts. A fact that somebody wrote as one needs no second copy: of
it only the slot is read. Of everything else (episodes, profiles) only the names are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from memos.rules.admission import DEFAULT_THRESHOLD
from memos.rules.entities import EntityType, entity_key, find_entities, is_capitalised
from memos.rules.extraction import Category, Entity, ExtractedFact, Extraction, Source, extract
from memos.rules.header import Kind
from memos.rules.reconcile import Claim, claim_of
from memos.rules.trust import assess, classify
from memos.store.memories import Version
from memos.store.readings import Mentioned

PREFERENCE, PLAN, INSTRUCTION = "preference", "plan", "instruction"
NOBODY: Final = frozenset({"user", "assistant", "system", "tool", "function", "developer"})
"""Roles that stand where a name would: they speak, but "user" is nobody's name."""
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Text:
    """A version to be read. `participants` are the names of those who speak in its session."""

    version: Version
    participants: tuple[str, ...] = ()

    @property
    def speaker(self) -> str | None:
        return self.version.name or self.version.role

    @property
    def people(self) -> tuple[str, ...]:
        return self.participants if self.version.name is None else (*self.participants, self.version.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFact:
    """A statement worth a memory of its own. Its claim, if a rule could read one, does not know its memory yet."""

    text: str
    sources: tuple[Version, ...]
    said_at: datetime
    valid_from: datetime
    valid_to: datetime | None = None
    claim: Claim | None = None
    confidence: float
    tags: tuple[str, ...] = ()
    mentions: tuple[Mentioned, ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """What one text says: whom it names; if it is a fact itself, what it claims; else the facts to be made of it."""

    version: Version
    mentions: tuple[Mentioned, ...] = ()
    claims: tuple[tuple[Claim, float], ...] = ()
    facts: tuple[NewFact, ...] = ()


class Reader(Protocol):
    @property
    def name(self) -> str:
        """What is kept as the reader of a text."""

    def read(self, texts: Sequence[Text]) -> list[Read]:
        """One result per text, in order. Never fails for what a text says."""

    def report(self) -> Mapping[str, object]:
        """What reading took, for the job's result."""


@dataclass(frozen=True, slots=True)
class RuleReader:
    """`threshold` is the admission score, 0 to 1, below which a statement is not worth a memory."""

    threshold: float = DEFAULT_THRESHOLD
    name: str = "rules-1"

    def read(self, texts: Sequence[Text]) -> list[Read]:
        return [self.read_one(text) for text in texts]

    def report(self) -> Mapping[str, object]:
        return {}

    def read_one(self, text: Text) -> Read:
        version = text.version
        if version.kind == Kind.FACT:
            return self._read_fact(version)
        if version.kind not in (Kind.TURN, Kind.PASSAGE):
            return Read(version, mentions_of(_entities(version.text or "")))
        found = extract(source_of(text), threshold=self.threshold)
        mentions = mentions_of(found.entities, text.people)
        if is_suspicious(version):
            # What tries to command its reader is kept as it was said, but nothing is made of it.
            return Read(version, mentions)
        facts = facts_of(text, found)
        # Whom the statements are about is named by the text too, also where a name alone would not have been one.
        known = {mention.key: mention for mention in mentions}
        for mention in (mention for fact in facts for mention in fact.mentions):
            if _holds(version.text or "", mention.name):
                known.setdefault(mention.key, mention)
        mentions = tuple(dict.fromkeys((*mentions, *known.values())))
        return Read(version, mentions, facts=(*facts, *self._instructions(text, found)))

    def _instructions(self, text: Text, found: Extraction) -> list[NewFact]:
        """Only the user instructs: what a document or a tool orders is no wish of theirs."""
        version = text.version
        if version.kind != Kind.TURN or (version.role or "user") != "user":
            return []
        return [
            NewFact(
                text=instruction.text.strip(),
                sources=(version,),
                said_at=version.created_at,
                valid_from=version.created_at,
                confidence=instruction.confidence,
                tags=(INSTRUCTION,),
            )
            for instruction in found.instructions
            if instruction.confidence >= self.threshold
        ]

    def _read_fact(self, version: Version) -> Read:
        """A stored fact speaks for itself: any reading counts, and "I" is the user."""
        body = version.text or ""
        found = extract(Source(body, version.created_at), threshold=0.0)
        if not found.facts:
            found = extract(Source(body, version.created_at, speaker="user"), threshold=0.0)
        mentions = mentions_of(found.entities)
        claims = tuple((_claim_of_fact(version, fact), fact.confidence) for fact in found.facts if _storable(fact))
        named = {mention.key: mention for mention in mentions}
        for claim, _ in claims:
            named |= _subject_mention(claim.subject, named, EntityType.OTHER)
        return Read(version, tuple(dict.fromkeys((*mentions, *named.values()))), claims)


def source_of(text: Text) -> Source:
    version = text.version
    if version.kind == Kind.PASSAGE:
        return Source(version.text or "", version.created_at)
    # An assistant has no self to speak of; but who has a name is somebody, also where a chat of two people calls one of
    # them the assistant.
    named = version.name is not None and version.name.casefold() not in NOBODY
    return Source(
        version.text or "",
        version.created_at,
        speaker=text.speaker,
        role="user" if named else version.role or "user",
        participants=text.participants,
    )


def facts_of(text: Text, found: Extraction) -> list[NewFact]:
    """The facts of one reading as memories to be."""
    return [_new_fact(text, fact, found) for fact in found.facts if _storable(fact)]


def mentions_of(entities: Sequence[Entity], people: Collection[str] = ()) -> tuple[Mentioned, ...]:
    """Every spelling of every entity, once. `people` are those in the room: only they are called by half a word."""
    found: dict[tuple[str, str], Mentioned] = {}
    for entity in entities:
        for name, confidence in [(m.name, m.confidence) for m in entity.mentions] or [(entity.name, 0.6)]:
            full = entity.name if _stands_for(name, entity.name, people) else name
            key = entity_key(full)
            if key and max(len(full), len(name)) <= MAX_NAME:
                found.setdefault((key, name), Mentioned(key, full, name, entity.type.value, confidence))
    return tuple(found.values())


def _stands_for(name: str, full: str, people: Collection[str]) -> bool:
    """ "Smith" is Ann Smith and "BBC" its full form, "Mel" is the Melanie who is here; "Japan" is not "Japanese"."""
    return " " in full or full in people or entity_key(name) == entity_key(full)


def mentioned_in(
    body: str, mentions: Sequence[Mentioned], subject: str, subject_type: EntityType
) -> tuple[Mentioned, ...]:
    """Those of a source's names that stand in a text made from it, and its subject."""
    kept = {m.key: m for m in mentions if _holds(body, m.name) or _holds(body, m.entity)}
    kept |= _subject_mention(subject, kept, subject_type)
    return tuple(kept.values())


def is_suspicious(version: Version) -> bool:
    """Whether a text reads like an attempt to command whoever reads it."""
    document = version.kind == Kind.PASSAGE
    trust_class = classify(role=version.role, origin="document" if document else version.origin)
    return assess(version.text or "", trust_class).quarantined


def _storable(fact: ExtractedFact) -> bool:
    return len(fact.subject) <= MAX_NAME and bool(entity_key(fact.subject))


def _new_fact(text: Text, fact: ExtractedFact, found: Extraction) -> NewFact:
    version = text.version
    fact = _under_full_name(fact, found, text.people)
    is_speaker = text.speaker is not None and entity_key(fact.subject) == entity_key(text.speaker)
    claim = claim_of(version.memory_id, fact, said_at=version.created_at, list_id=list_of(version))
    return NewFact(
        text=fact.text,
        sources=(version,),
        said_at=version.created_at,
        valid_from=fact.valid_from,
        valid_to=fact.valid_to,
        claim=claim,
        confidence=fact.confidence,
        tags=tags_of(fact.category),
        mentions=mentioned_in(
            fact.text,
            mentions_of(found.entities, text.people),
            fact.subject,
            EntityType.PERSON if is_speaker else EntityType.OTHER,
        ),
    )


def tags_of(category: Category) -> tuple[str, ...]:
    """What callers filter by; states and events need no name."""
    return {Category.PREFERENCE: (PREFERENCE,), Category.PLAN: (PLAN,)}.get(category, ())


def list_of(version: Version) -> str:
    """What the numbers of a numbered text count in."""
    return version.session_id or version.source or ""


def _claim_of_fact(version: Version, fact: ExtractedFact) -> Claim:
    claim = claim_of(version.memory_id, fact, said_at=version.created_at, list_id=list_of(version))
    text = version.text or ""
    if version.valid_from is None:
        return replace(claim, text=text, valid_to=version.valid_to or claim.valid_to)
    return replace(claim, text=text, valid_from=version.valid_from, valid_to=version.valid_to, dated=True)


def _under_full_name(fact: ExtractedFact, found: Extraction, people: Collection[str]) -> ExtractedFact:
    """The subject as those in the room are really called: the slots of "Mel" and "Melanie" are one."""
    key = entity_key(fact.subject)
    for entity in found.entities:
        if entity.name in people and key in {entity_key(alias) for alias in entity.aliases}:
            return replace(fact, subject=entity.name)
    return fact


def _subject_mention(subject: str, known: Mapping[str, Mentioned], kind: EntityType) -> dict[str, Mentioned]:
    """Whoever a fact is about is named by it, even as "user"; a common noun ("the meeting") is nobody."""
    key = entity_key(subject)
    if not key or key in known or not (is_capitalised(subject) or key in NOBODY):
        return {}
    return {key: Mentioned(key, subject, subject, kind.value, 0.6)}


def _entities(body: str) -> list[Entity]:
    return [Entity(mention.name, mention.type, (), (mention,)) for mention in find_entities(body)]


def _holds(body: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", body) is not None
