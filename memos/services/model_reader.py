"""Reading with a language model: the same facts as by rules, better found, under the same checks.

Names are still found by rules. Of what the model says only statements survive that cite the texts they come from, and
say no number, no name and few words that those texts lack. A model that is down or slow is not asked again in this run;
one that talks nonsense twice about a piece is not believed about it. In both cases the rules read instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final, Self

from memos.encoders.llm import LanguageModel, Meter
from memos.errors import Unavailable
from memos.rules.admission import admission_score
from memos.rules.attributes import Form, is_negative, is_stative, value_type_of
from memos.rules.entities import EntityType
from memos.rules.extraction import Category
from memos.rules.grounding import support, ungrounded
from memos.rules.header import Kind
from memos.rules.reconcile import Claim
from memos.rules.rendering import in_words
from memos.rules.times import find_times
from memos.services.reader import (
    INSTRUCTION,
    MAX_NAME,
    NewFact,
    Read,
    RuleReader,
    Text,
    is_suspicious,
    list_of,
    mentioned_in,
    tags_of,
)
from memos.settings import Settings

INSTRUCTIONS: Final = """You read numbered messages or passages and list what is worth remembering from them.
Answer with one JSON object and nothing else: {"facts": [...]}. Each fact is an object with
 "text": one sentence that stands alone: names instead of pronouns, dates instead of "yesterday"
 "from": the numbers of the messages that say it
 "subject", "attribute", "value": what it is about, which property, and its value, in a few words each
 "type": "state" (holds until something ends it), "event", "preference", "plan", or "instruction" (how the user wants
   to be treated from now on)
 "negated": true if the sentence denies the value
 "ended": true if it says that a former value no longer holds
 "since": the date (YYYY-MM-DD) from which it holds or on which it happened, or null
Use only what the messages say. Leave out greetings, questions and opinions of the moment."""

MAX_ANSWER_TOKENS = 1_500
PIECE_TEXTS = 20
PIECE_CHARACTERS = 8_000
MIN_SUPPORT = 0.5
"""Share of a fact's words that must stand in the texts it cites; a model may say "works" for "job"."""
CONFIDENCE = 0.8


@dataclass(slots=True)
class ModelReader:
    """A `Reader`. One is made per run: it remembers when the model stopped answering."""

    model: Meter
    rules: RuleReader
    rejected: int = 0
    by_rules: int = 0
    _silent: bool = field(default=False, init=False)

    @classmethod
    def of(cls, model: LanguageModel, rules: RuleReader, settings: Settings) -> Self:
        return cls(Meter(model, settings.llm_price_in, settings.llm_price_out), rules)

    @property
    def name(self) -> str:
        return f"llm:{self.model.name}"

    def report(self) -> Mapping[str, object]:
        return {"llm": {**self.model.report(), "rejected": self.rejected, "read_by_rules": self.by_rules}}

    def read(self, texts: Sequence[Text]) -> list[Read]:
        """By the model what is said, in pieces of one session; by the rules the rest, and where the model fails."""
        reads = {text.version.id: self.rules.read_one(text) for text in texts}
        told = [t for t in texts if t.version.kind in (Kind.TURN, Kind.PASSAGE) and not is_suspicious(t.version)]
        for piece in _pieces(told):
            facts = self._ask(piece, reads)
            if facts is None:
                self.by_rules += len(piece)
                continue
            for text in piece:
                read = reads[text.version.id]
                # A fact of several texts is kept with the last one: only then has everything been said.
                mine = tuple(fact for fact in facts if fact.sources[-1].id == text.version.id)
                reads[text.version.id] = Read(read.version, read.mentions, read.claims, mine)
        return [reads[text.version.id] for text in texts]

    def _ask(self, piece: Sequence[Text], reads: Mapping[int, Read]) -> list[NewFact] | None:
        """The facts of a piece, or None when the rules have to do."""
        if self._silent:
            return None
        material = "\n".join(_line(number, text) for number, text in enumerate(piece, start=1))
        for _ in range(2):
            try:
                said = self.model.answer(INSTRUCTIONS, material, max_tokens=MAX_ANSWER_TOKENS)
            except Unavailable:
                self._silent = True
                return None
            items = parse_facts(said.text)
            if items is not None:
                found = [self._fact(item, piece, reads) for item in items]
                kept = [fact for fact in found if fact is not None]
                self.rejected += len(found) - len(kept)
                return kept
        return None

    def _fact(self, item: Mapping[str, Any], piece: Sequence[Text], reads: Mapping[int, Read]) -> NewFact | None:
        """One statement of the model's, if it cites what it says; else None."""
        cited = [piece[n - 1] for n in _numbers(item.get("from")) if 0 < n <= len(piece)]
        body = " ".join(item["text"].split())
        if not cited or CONFIDENCE * (0.5 + 0.5 * min(1.0, 2.0 * admission_score(body))) < self.rules.threshold:
            return None
        material = [line for text in cited for line in known_from(text)]
        if ungrounded(body, material) or support(body, material) < MIN_SUPPORT:
            return None
        last = cited[-1].version
        since = _day(item.get("since"))
        claim = _claim(item, body, cited[-1], since)
        mentions = tuple(m for text in cited for m in reads[text.version.id].mentions)
        instruction = item.get("type") == INSTRUCTION
        if instruction and not all(t.version.kind == Kind.TURN and t.version.role in ("user", None) for t in cited):
            return None
        subject = claim.subject if claim is not None else ""
        return NewFact(
            text=body,
            sources=tuple(text.version for text in cited),
            said_at=last.created_at,
            valid_from=last.created_at if claim is None else claim.valid_from,
            claim=claim,
            confidence=CONFIDENCE,
            tags=(INSTRUCTION,) if instruction else tags_of(claim.category) if claim is not None else (),
            mentions=mentioned_in(body, mentions, subject, EntityType.OTHER),
        )


def parse_facts(said: str) -> list[dict[str, Any]] | None:
    """The facts in a model's answer, whatever stands around the JSON; None for nonsense. Facts without text are none."""
    begin, end = said.find("{"), said.rfind("}")
    if begin < 0 or end < begin:
        return None
    try:
        content = json.loads(said[begin : end + 1])
    except ValueError:
        return None
    facts = content.get("facts") if isinstance(content, dict) else None
    if not isinstance(facts, list):
        return None
    return [fact for fact in facts if isinstance(fact, dict) and isinstance(fact.get("text"), str)]


def _pieces(texts: Sequence[Text]) -> list[list[Text]]:
    """Texts of one session in order, so few and short that a model keeps them apart."""
    pieces: list[list[Text]] = []
    for _, session in groupby(texts, key=lambda text: (text.version.kind, text.version.session_id)):
        piece: list[Text] = []
        size = 0
        for text in session:
            length = len(text.version.text or "")
            if piece and (len(piece) == PIECE_TEXTS or size + length > PIECE_CHARACTERS):
                pieces.append(piece)
                piece, size = [], 0
            piece.append(text)
            size += length
        pieces.append(piece)
    return pieces


def _line(number: int, text: Text) -> str:
    version = text.version
    head = ", ".join(part for part in (f"{version.created_at:%A %Y-%m-%d %H:%M}", text.speaker, version.title) if part)
    return f"{number}. [{head}] {version.text}"


def known_from(text: Text) -> list[str]:
    """What may be said after reading a text: its words, who said them, when, and the dates it names."""
    version = text.version
    body = version.text or ""
    dates = [in_words(found) for found in find_times(body, version.created_at)]
    said_at = version.created_at
    return [body, text.speaker or "", version.title or "", f"{said_at:%Y-%m-%d %d %B %Y}", *text.participants, *dates]


def _claim(item: Mapping[str, Any], body: str, text: Text, since: datetime | None) -> Claim | None:
    """The slot a model named, or None: without one a fact can only repeat another."""
    subject, attribute, value = (_words(item.get(name)) for name in ("subject", "attribute", "value"))
    kind = item.get("type")
    if not subject or not attribute or kind == INSTRUCTION or len(subject) > MAX_NAME:
        return None
    category = Category(kind) if kind in set(Category) else Category.STATE
    version = text.version
    event = category is Category.EVENT and not is_stative(attribute)
    return Claim(
        memory_id=version.memory_id,
        text=body,
        said_at=version.created_at,
        valid_from=min(since, version.created_at) if since is not None else version.created_at,
        subject=subject,
        attribute=attribute,
        value=value,
        value_type=value_type_of(value),
        form=Form.VERB if event else Form.DEFINITE,
        category=category,
        negated=(item.get("negated") is True) != is_negative(attribute),
        ended=item.get("ended") is True,
        list_id=list_of(version),
        dated=since is not None,
    )


def _words(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _numbers(value: object) -> list[int]:
    several = value if isinstance(value, list) else [value]
    return [number for number in several if isinstance(number, int) and not isinstance(number, bool)]


def _day(value: object) -> datetime | None:
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC) if isinstance(value, str) else None
    except ValueError:
        return None
