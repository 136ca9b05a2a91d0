"""From a turn or passage to what it says: facts, names, times, preferences and standing instructions, without a model.

The text is cut into sentences and clauses; each clause is read by the rule for its subject (first person, named thing);
each reading becomes a fact that stands alone, cites its span, and knows from when it holds. Rules read few clauses, but
those they read they read right: what is missed stays searchable as the raw turn, while a wrong fact would mislead.

An assistant's words are no evidence about the user, and it has no self to speak of: from its turns only names, times
and statements about named things are taken, with little confidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from memos.rules.admission import DEFAULT_THRESHOLD, admission_score
from memos.rules.attributes import Form, attribute_key, canonical, is_negative, is_stative, value_type_of
from memos.rules.clauses import plain, split_clauses
from memos.rules.entities import EntityType, Mention, alias_of, entity_key, find_entities, is_capitalised
from memos.rules.first_person import parse_first_person
from memos.rules.instructions import Instruction, find_instructions
from memos.rules.rendering import sentence_of, stand_alone
from memos.rules.sentences import Sentence, split_sentences
from memos.rules.statements import Statement, parse_clause
from memos.rules.times import TimeExpression, find_times
from memos.rules.words import SENTENCE_STARTERS, verb_base


class Category(StrEnum):
    PREFERENCE = "preference"
    PLAN = "plan"
    STATE = "state"
    """Holds until something ends it: a job, a home, an attribute."""
    EVENT = "event"
    """Happened: stays true, is never superseded."""


@dataclass(frozen=True, slots=True)
class ExtractedFact:
    """One statement of a text. `start` and `end` are the span of the sentence that says it.

    `value` of an `ended` fact no longer holds; when empty, no value of the attribute does. `past` is true when the verb
    tells of a time that is over. `when` is the time named in
    the clause; `valid_from` falls back to the time of the text. `number` is the fact's place in a numbered list.
    """

    subject: str
    attribute: str
    value: str
    text: str
    confidence: float
    negated: bool
    valid_from: datetime
    valid_to: datetime | None
    start: int
    end: int
    category: Category
    form: Form
    value_type: str = ""
    ended: bool = False
    past: bool = False
    number: int | None = None
    when: TimeExpression | None = None

    @property
    def slot(self) -> tuple[str, str]:
        """What competing values share: the subject and the attribute, each in its one spelling."""
        return entity_key(self.subject), attribute_key(self.attribute, self.value_type)


@dataclass(frozen=True, slots=True)
class Entity:
    """A name with its mentions. `aliases` are other spellings found in the same text or known before."""

    name: str
    type: EntityType
    aliases: tuple[str, ...] = ()
    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True, slots=True)
class Extraction:
    facts: tuple[ExtractedFact, ...] = ()
    entities: tuple[Entity, ...] = ()
    times: tuple[TimeExpression, ...] = ()
    instructions: tuple[Instruction, ...] = ()
    admission: float = 0.0

    @property
    def preferences(self) -> tuple[ExtractedFact, ...]:
        return tuple(fact for fact in self.facts if fact.category is Category.PREFERENCE)


@dataclass(frozen=True, slots=True)
class Source:
    """What is read: a turn (with its speaker) or a passage (without). `participants` are the names in the room."""

    text: str
    created_at: datetime
    speaker: str | None = None
    role: str = "user"
    participants: tuple[str, ...] = ()
    known: Mapping[str, EntityType] = field(default_factory=dict)


_LIKING: Final = frozenset({"like", "prefer", "interested in", "allergic to", "scared of", "afraid of"})
_ASSISTANT_TRUST: Final = 0.35
_NOWADAYS: Final = re.compile(
    r"^(?:these days|nowadays|right now|at the moment|at present|as of (?:now|today)|currently|now),?\s+(?=I|we|my|our|[A-Z])",
    re.IGNORECASE,
)
_BARE_NAMING: Final = re.compile(r"(?:my|our|My|Our) [a-z]+,? [A-Z]\w+[.!]?")
"""The end of a list ("... and our dog Biscuit"): no sentence by itself."""
_VAGUE: Final = frozenset({"recently", "lately"})
"""True of everything people tell each other; no date to keep."""
MAX_SPELLINGS: Final = 500
"""Beyond so many names a text is a register; comparing each with each would take longer than it is worth."""
MAX_CLAUSE_WORDS: Final = 60
"""Longer clauses are lists, tables or pasted logs; the grammar rules would only guess there."""


def extract(source: Source, *, threshold: float = DEFAULT_THRESHOLD) -> Extraction:
    """Read one text. Facts whose admission falls below `threshold` are left out."""
    known = _known(source)
    times = tuple(find_times(source.text, source.created_at))
    facts: list[ExtractedFact] = []
    for sentence in split_sentences(source.text):
        if not sentence.is_question:
            facts.extend(_facts(sentence, source, times))
    kept = _distinct(fact for fact in facts if fact_admission(fact) >= threshold)
    return Extraction(
        facts=kept,
        entities=_entities(find_entities(source.text, known), kept, known),
        times=times,
        instructions=tuple(find_instructions(source.text)) if source.role != "assistant" else (),
        admission=admission_score(source.text),
    )


def fact_admission(fact: ExtractedFact) -> float:
    """Whether a fact is worth storing, 0 to 1: how sure the reading is, and how much it says."""
    return fact.confidence * (0.5 + 0.5 * min(1.0, 2.0 * admission_score(f"{fact.attribute} {fact.value}")))


def _known(source: Source) -> dict[str, EntityType]:
    known = dict(source.known)
    for name in (*source.participants, source.speaker):
        if name and name.lower() not in {"user", "assistant", "system", "tool"}:
            known[name] = EntityType.PERSON
    return known


def _facts(sentence: Sentence, source: Source, times: Sequence[TimeExpression]) -> list[ExtractedFact]:
    numbered = sentence.number is not None
    inside = [
        item
        for item in times
        if item.start >= sentence.start and item.end <= sentence.end and item.text.lower() not in _VAGUE
    ]
    text = plain(sentence.text)
    clauses = [text] if numbered else split_clauses(text, source.participants)
    facts: list[ExtractedFact] = []
    named: list[TimeExpression] = []
    for clause in clauses:
        if len(clause.split()) > MAX_CLAUSE_WORDS or clause.endswith("?"):
            continue
        # "Last Friday was great - I went to ...": a time named earlier in the sentence holds for what follows.
        named = [item for item in inside if item.text in clause] or named
        body = _without_leading_time(clause, named)
        found = [one for one in _statements(body, source, numbered=numbered) if not _says_nothing(one)]
        for index, statement in enumerate(found):
            # The clause tells its last statement; the others need words of their own, or they would be one memory.
            last = index == len(found) - 1 and not _BARE_NAMING.fullmatch(body)
            alone = replace(statement, value=_without_times(statement.value, named))
            told = stand_alone(body, source.speaker, named) if last else sentence_of(alone)
            facts.append(_fact(statement, sentence.text if numbered else told, sentence, source, named))
    return facts


def _says_nothing(statement: Statement) -> bool:
    """ "I'm Marta", said by Marta."""
    itself = entity_key(statement.subject) == entity_key(statement.value)
    return itself and statement.form in {Form.CLASS, Form.PROPERTY}


def _without_leading_time(clause: str, times: Sequence[TimeExpression]) -> str:
    """ "Last week I went": the subject comes after the time."""
    clause = _NOWADAYS.sub("", clause)
    folded = clause.lower()
    for expression in times:
        if expression.text.lower() not in folded:
            continue
        lead = re.match(
            rf"^(?:(?:in|on|at|since|during|over|by|for|back in)\s+)?(?:the\s+)?{re.escape(expression.text)},?\s+",
            clause,
            re.IGNORECASE,
        )
        if lead and re.match(r"(?:I|we|my|our|[A-Z]\w+)\b", clause[lead.end() :]):
            return clause[lead.end() :]
    return clause


def _statements(clause: str, source: Source, *, numbered: bool) -> list[Statement]:
    found: list[Statement] = []
    if source.speaker and source.role != "assistant":
        found = parse_first_person(clause, source.speaker)
    if not found:
        third = parse_clause(clause, numbered=numbered)
        if third is not None and source.speaker:
            third = _in_conversation(clause, third)
        found = [third] if third is not None else []
    return found


def _in_conversation(clause: str, statement: Statement) -> Statement | None:
    """Among people, "X is great" is mostly an opinion of the moment; what X is called or does is worth more."""
    if not _is_about_a_name(clause, statement):
        return None
    opinion = statement.form in {Form.PROPERTY, Form.CLASS}
    return replace(statement, confidence=0.45) if opinion else statement


def _is_about_a_name(clause: str, statement: Statement) -> bool:
    """In conversation only statements about named things are kept: "the colours are great" is of the moment."""
    subject = statement.subject
    first = clause.split(" ", 1)[0]
    if statement.form is Form.DEFINITE or " " in subject:
        return any(is_capitalised(word) for word in subject.split()[1 if subject.startswith(first) else 0 :])
    return (
        is_capitalised(subject)
        and first.lower() not in SENTENCE_STARTERS
        and not first.endswith("ing")
        and verb_base(first) is None
    )


def _fact(
    statement: Statement, text: str, sentence: Sentence, source: Source, times: Sequence[TimeExpression]
) -> ExtractedFact:
    timed = statement.form is Form.PROPERTY and statement.value_type == "time"
    itself = (statement.form is Form.DEFINITE or timed) and any(item.text in statement.value for item in times)
    # "My birthday is on 5 May": the time is the value, not the moment from which the fact holds.
    value = re.sub(r"^(?:on|in) ", "", statement.value) if itself else _without_times(statement.value, times)
    category = _category(statement)
    when = times[0] if times and not itself else None
    valid_from, valid_to = _validity(statement, source.created_at, when)
    confidence = statement.confidence * (_ASSISTANT_TRUST if source.role == "assistant" else 1.0)
    numbered = sentence.number is not None
    return ExtractedFact(
        subject=statement.subject,
        attribute=statement.attribute,
        value=value,
        text=text,
        confidence=round(min(1.0, confidence + (0.1 if numbered and source.role != "assistant" else 0.0)), 4),
        negated=statement.negated != is_negative(statement.attribute),
        valid_from=valid_from,
        valid_to=valid_to,
        start=sentence.start,
        end=sentence.end,
        category=category,
        form=statement.form,
        value_type=statement.value_type or value_type_of(value),
        ended=statement.ended,
        past=statement.past,
        number=sentence.number,
        when=when,
    )


def _category(statement: Statement) -> Category:
    if statement.planned:
        return Category.PLAN
    name = canonical(statement.attribute)
    if name in _LIKING or re.match(r"^favou?rite\b", name):
        return Category.PREFERENCE
    event = statement.form is Form.VERB and not statement.value_type and not is_stative(statement.attribute)
    return Category.EVENT if event else Category.STATE


def _validity(statement: Statement, said_at: datetime, when: TimeExpression | None) -> tuple[datetime, datetime | None]:
    """From when the fact holds. "Since 2016" and "last week" date it back; "until May" closes it; a plan starts now."""
    if statement.ended:
        return said_at, None
    if when is None or statement.planned:
        return said_at, None
    if when.relation == "until":
        return said_at, when.until
    return min(when.begin, said_at), None


def _without_times(value: str, times: Sequence[TimeExpression]) -> str:
    """ "My job yesterday" names a job; the day is already known. A value that is nothing but a time stays."""
    for expression in times:
        shorter = re.sub(
            rf"\s*(?:,\s*)?(?:\b(?:on|in|since|until|for|during|at|over|about|around|by|from|of)\s+)?(?:the\s+)?"
            rf"{re.escape(expression.text)}",
            "",
            value,
        ).strip(" ,.-")
        if shorter:
            value = shorter
    return value


def _distinct(facts: Iterable[ExtractedFact]) -> tuple[ExtractedFact, ...]:
    seen: dict[tuple[tuple[str, str], str, bool], ExtractedFact] = {}
    for fact in facts:
        seen.setdefault((fact.slot, entity_key(fact.value), fact.negated), fact)
    return tuple(seen.values())


def _entities(
    mentions: Sequence[Mention], facts: Sequence[ExtractedFact], known: Mapping[str, EntityType]
) -> tuple[Entity, ...]:
    """Group mentions by name; short forms join the one long form they fit. Subjects of numbered facts are names too."""
    grouped: dict[str, list[Mention]] = {}
    names: dict[str, str] = {}
    spellings = {*known, *(mention.name for mention in mentions)}
    if len(spellings) > MAX_SPELLINGS:
        spellings = set(known)
    for mention in mentions:
        long_form = alias_of(mention.name, spellings)
        key = entity_key(long_form or mention.name)
        names.setdefault(key, long_form or mention.name)
        grouped.setdefault(key, []).append(mention)
    for fact in facts:
        key = entity_key(fact.subject)
        if fact.number is not None and key not in grouped:
            names[key] = fact.subject
            grouped[key] = []
    return tuple(_entity(names[key], grouped[key], known) for key in grouped)


def _entity(name: str, mentions: Sequence[Mention], known: Mapping[str, EntityType]) -> Entity:
    kinds = [mention.type for mention in mentions if mention.type is not EntityType.OTHER]
    kind = known.get(name) or (max(sorted(set(kinds)), key=kinds.count) if kinds else EntityType.OTHER)
    aliases = sorted({mention.name for mention in mentions if entity_key(mention.name) != entity_key(name)})
    return Entity(name, kind, tuple(aliases), tuple(mentions))
