"""Reading FactConsolidation (MemoryAgentBench, Hu et al., 2025) and finding, per question, what is new and
what is stale.

The file holds one list of numbered facts, of which later ones win, and single- and multi-hop questions over
it; the single-hop entry is the one whose question ids say `_sh_`. A fact ends in its value ("... is Oslo."),
so what stands before the value names its *slot*: subject and relation. The labels give only the answer's
text. From it:

1. A fact matches a question when it ends in one of its gold answers. Of the slots so found, the question
   means the one that shares most content words with it (by Jaccard overlap, so that a longer slot is not
   favoured).
2. The newest fact of that slot that ends in a gold answer is the one to be found.
3. Every earlier fact of the slot with another value is stale: it must not stand above the newest.

On the dev file this finds the newest fact for 100 of 100 questions, and in each the gold answer is indeed the
slot's last value; 74 of them have one stale rival, the other 26 none: those can only fail by not being found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_NUMBERED = re.compile(r"(\d+)\. (.+)")
_WORD = re.compile(r"\w+")
# Words that say nothing about which slot a question means.
_EMPTY_WORDS = frozenset(
    _WORD.findall("a an and by did do does for from in is it kind of on that the to was what where which who with")
)


@dataclass(frozen=True, slots=True)
class Fact:
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """`newest` and `stale` are fact numbers; `newest` is None when no fact ends in a gold answer."""

    number: int
    text: str
    newest: int | None
    stale: frozenset[int]


@dataclass(frozen=True, slots=True)
class Conflicts:
    facts: tuple[Fact, ...]
    questions: tuple[Question, ...]


def load(path: Path) -> Conflicts:
    """The single-hop entry of a file; ValueError when there is none."""
    for entry in json.loads(path.read_text()):
        if any("_sh_" in name for name in entry["metadata"]["qa_pair_ids"]):
            facts = read_facts(entry["context"])
            asked = zip(entry["questions"], entry["answers"], strict=True)
            return Conflicts(
                facts,
                tuple(label(number, text, answers, facts) for number, (text, answers) in enumerate(asked)),
            )
    raise ValueError(f"{path} holds no entry whose question ids say _sh_ (single-hop)")


def read_facts(context: str) -> tuple[Fact, ...]:
    """The numbered lines, in their order; other lines are headings."""
    found = (_NUMBERED.fullmatch(line.strip()) for line in context.splitlines())
    return tuple(Fact(int(match[1]), match[2]) for match in found if match)


def label(number: int, question: str, answers: Sequence[str], facts: Sequence[Fact]) -> Question:
    """Which fact the question should find, and which it should not prefer."""
    slots = {slot for fact in facts for answer in answers if (slot := _slot(fact.text, answer)) is not None}
    if not slots:
        return Question(number, question, None, frozenset())
    # The slot itself settles a tie, so that the same file always gives the same labels.
    meant = max(slots, key=lambda slot: (_overlap(question, slot), slot))
    members = [fact for fact in facts if fact.text.startswith(meant + " ")]
    golden = {fact.number for fact in members if any(_slot(fact.text, answer) == meant for answer in answers)}
    newest = max(golden)
    stale = {fact.number for fact in members if fact.number < newest} - golden
    return Question(number, question, newest, frozenset(stale))


def _slot(fact: str, answer: str) -> str | None:
    """What stands before the answer in a fact that ends in it; one full stop at the end is punctuation."""
    head = fact.removesuffix(".").removesuffix(answer)
    return head.rstrip() if head != fact.removesuffix(".") and head.endswith(" ") else None


def _overlap(question: str, slot: str) -> float:
    asked, offered = _content_words(question), _content_words(slot)
    return len(asked & offered) / max(1, len(asked | offered))


def _content_words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower())) - _EMPTY_WORDS
