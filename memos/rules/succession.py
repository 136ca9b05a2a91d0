"""What was said and is no longer so stands behind what replaced it, when a question asks how things are.

A message is history and never closes; what was read out of it may. "I live in Leeds" answers "Where does she live?" in
words and meaning better than "We moved to York", so ranking alone puts first what is over. Where a fact of a hit was
superseded, and the question asks for what that fact told, what superseded it takes the place of the hit, and the hit
falls back a little. A question about the past ("where did she live before?") wants the hit itself, and gets it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from memos.rules.attributes import attribute_key
from memos.rules.english import STOP_WORDS
from memos.rules.lexical import terms as terms_of
from memos.rules.times import TimeExpression

_PAST: Final = re.compile(
    r"\b(?:was|were|wasn't|weren't|did|didn't|had|hadn't|used to|been|before|previous(?:ly)?|former(?:ly)?|ago|earlier"
    r"|original(?:ly)?|first|initial(?:ly)?|back then|at the time|until|till|history|past|once|old)\b",
    re.IGNORECASE,
)
_READ_CHARACTERS: Final = 2_000
_AHEAD: Final = 1e-6
"""How far above a hit's own evidence what replaced it is put."""
_BEHIND: Final = 1.0
"""What the hit loses. Little beside what sets hits apart (the tenth is often 7 below the first), and enough that a small
budget of tokens is not filled with what is over."""
_ASKED_AS: Final = {
    "live in": "live home reside based city town country address located stay",
    "work for": "work job employer employed company employ",
    "job": "work job profession occupation living career role employed",
    "married to": "married husband wife spouse partner",
    "engaged to": "engaged fiance fiancee partner",
    "study at": "study school university college",
    "drive": "drive car",
}
"""The words that ask for a slot, where they are more than those of its name."""


@dataclass(frozen=True, slots=True)
class Succession:
    """A hit that told what is over, and the versions that say what holds instead: any of them will do."""

    hit: int
    heirs: tuple[int, ...]


def asks_for_now(question: str, times: Iterable[TimeExpression], now: datetime) -> bool:
    """Whether a question is about how things are: it tells of no past, and names no time that is over."""
    over = any(time.until <= now for time in times)
    return not over and _PAST.search(question[:_READ_CHARACTERS]) is None


def asks_for(terms: Collection[str], attribute: str) -> bool:
    """Whether the terms of a question ask for an attribute, given by its key (`attributes.attribute_key`)."""
    name = attribute.partition("|")[0]
    return not _words_of(name).isdisjoint(terms)


@lru_cache(maxsize=4_096)
def _words_of(name: str) -> frozenset[str]:
    asked = next((words for slot, words in _ASKED_AS.items() if attribute_key(slot) == name), "")
    return frozenset(term for term in (*terms_of(name), *terms_of(asked), *name.split()) if term not in STOP_WORDS)


def lifts(successions: Iterable[Succession], evidence: Mapping[int, float]) -> dict[int, float]:
    """The evidence that heirs gain to stand before what they replaced, and that the latter lose, by version id.

    `evidence` is what each candidate has. Of several heirs the best one is lifted; what stands before already needs
    nothing, and what may not be shown (it is no candidate) gets nothing: the hit then keeps its place.
    """
    gains: dict[int, float] = {}
    over: set[int] = set()
    current: set[int] = set()
    for one in successions:
        known = [heir for heir in one.heirs if heir in evidence and heir != one.hit]
        if not known or one.hit not in evidence:
            continue
        best = max(known, key=lambda heir: (evidence[heir], -heir))
        missing = evidence[one.hit] - evidence[best]
        if missing >= 0:
            gains[best] = max(gains.get(best, 0.0), missing + _AHEAD)
        over.add(one.hit)
        current.add(best)
    return dict.fromkeys(over - current, -_BEHIND) | gains
