"""A synthetic corpus of any size that behaves like text: seeded, addressed by number, with questions that
fit.

Word frequencies decide what lexical search costs, so names, places and organisations are drawn by Zipf's law
from long tails (the r-th most frequent about 1/r as often as the first): a few stand in thousands of
memories, most in one or two. Nouns belong to topics, also drawn by Zipf's law and kept as metadata for
filters. Memory `n` is a function of (seed, n) alone, so parts of a corpus can be made anywhere, in any order,
and are never alike by accident.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.corpus_words import (
    ADJECTIVES,
    DAYS,
    FIRST_NAMES,
    ORG_ENDINGS,
    PATTERNS,
    PLACE_ENDINGS,
    REACTIONS,
    SYLLABLES,
    TOPICS,
    VERBS,
)

# Distinct surnames, places and organisations: with three or four of them to a memory, 100,000 memories hold
# about as many distinct words as a hundred thousand chat messages do.
TAIL = 30_000
# Messages in one session, and so in one request of the loader.
SESSION = 100
FIRST_DAY = datetime(2022, 1, 1, 8, tzinfo=UTC)
_TOPIC_NAMES = tuple(TOPICS)


@dataclass(frozen=True, slots=True)
class Memory:
    """One turn; `question` is something it answers."""

    number: int
    session_id: str
    speaker: str
    topic: str
    content: str
    question: str
    created_at: datetime

    def message(self) -> dict[str, Any]:
        return {
            "role": "user" if self.number % 2 == 0 else "assistant",
            "name": self.speaker,
            "content": self.content,
            "external_id": f"m{self.number}",
            "created_at": self.created_at.isoformat(),
            "metadata": {"topic": self.topic},
        }


def memory(seed: str, number: int) -> Memory:
    """The memory with this number in the corpus of this seed."""
    dice = random.Random(f"{seed}/{number}")
    topic = _TOPIC_NAMES[_zipf(dice, len(_TOPIC_NAMES))]
    slots = _slots(dice, topic)
    statement, question = PATTERNS[dice.randrange(len(PATTERNS))]
    sentences = [statement.format_map(slots)]
    # Chat turns are short with a tail of longer ones: one more sentence in half of them, two in an eighth.
    if dice.random() < 0.5:
        sentences.append(f"{dice.choice(REACTIONS).capitalize()}.")
    if dice.random() < 0.25:
        extra = PATTERNS[dice.randrange(len(PATTERNS))][0]
        sentences.append(extra.format_map(_slots(dice, topic)))
    return Memory(
        number=number,
        session_id=f"session-{number // SESSION}",
        speaker=FIRST_NAMES[number // SESSION % len(FIRST_NAMES)],
        topic=topic,
        content=_capitalised(" ".join(sentences)),
        question=_capitalised(question.format_map(slots)),
        created_at=FIRST_DAY + timedelta(hours=number // SESSION, seconds=number % SESSION),
    )


def memories(seed: str, count: int, *, first: int = 0) -> Iterator[Memory]:
    """`count` memories from number `first` on, lazily: a corpus need not fit into memory."""
    for number in range(first, first + count):
        yield memory(seed, number)


class Questions:
    """Questions about a corpus of `size`, none of them twice, so that no cache can answer for the service."""

    def __init__(self, seed: str, size: int, *, asked: set[str] | None = None) -> None:
        """`asked` is shared by supplies that must not repeat each other's questions either."""
        self._seed = seed
        self._size = size
        self._dice = random.Random(f"{seed}/questions/{size}")
        self._asked = set() if asked is None else asked

    def take(self, count: int) -> list[str]:
        """The next `count`; ValueError when the corpus has no more that differ."""
        taken: list[str] = []
        for _ in range(50 * count):
            if len(taken) == count:
                break
            question = memory(self._seed, self._dice.randrange(self._size)).question
            if question not in self._asked:
                self._asked.add(question)
                taken.append(question)
        if len(taken) < count:
            raise ValueError(f"a corpus of {self._size} has no {count} further distinct questions")
        return taken


def edited(original: Memory, version: int) -> str:
    """The text of a later version: the same memory with something new in it, as an edit would leave it."""
    dice = random.Random(f"{original.content}/{version}")
    return f"{original.content} Update {version}: {dice.choice(REACTIONS)} {dice.choice(DAYS)}."


def _slots(dice: random.Random, topic: str) -> dict[str, str]:
    nouns = TOPICS[topic]
    return {
        "person": f"{FIRST_NAMES[_zipf(dice, len(FIRST_NAMES))]} {_name(_zipf(dice, TAIL), 'person')}",
        "place": f"{_name(_zipf(dice, TAIL), 'place')}{PLACE_ENDINGS[dice.randrange(len(PLACE_ENDINGS))]}",
        "org": f"{_name(_zipf(dice, TAIL), 'org')} {ORG_ENDINGS[_zipf(dice, len(ORG_ENDINGS))]}",
        "noun": nouns[_zipf(dice, len(nouns))],
        "adj": ADJECTIVES[_zipf(dice, len(ADJECTIVES))],
        "verb": VERBS[_zipf(dice, len(VERBS))],
        "when": DAYS[dice.randrange(len(DAYS))],
        "amount": str(dice.randrange(2, 5000)),
    }


def _zipf(dice: random.Random, size: int) -> int:
    """A rank in [0, size), drawn with probability about 1/(rank + 1): a logarithmic law, inverted."""
    return min(size, int((size + 1) ** dice.random())) - 1


def _name(rank: int, family: str) -> str:
    """A pronounceable word for a rank: the same rank gives the same word in every corpus."""
    dice = random.Random(f"{family}/{rank}")
    return "".join(dice.choice(SYLLABLES) for _ in range(dice.choice((2, 3, 3)))).capitalize()


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
