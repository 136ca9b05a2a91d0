"""What a question asks for, told without a model: its class, whom and what it names, which time, how specific it is.

English questions are read by their first words and a few patterns. In any other language the class is `other`, which every
later decision treats as "nothing known", so nothing is lost but a hint.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from memos.rules.english import STOP_WORDS
from memos.rules.entities import find_entities
from memos.rules.ranking_features import QueryFeatures, query_features
from memos.rules.scripts import script_of
from memos.rules.times import TimeExpression, find_times

# A pasted page is a poor question; its beginning says what it asks.
_READ_CHARACTERS: Final = 2_000


class Asks(StrEnum):
    """What kind of answer a question wants."""

    WHEN = "when"
    WHO = "who"
    WHERE = "where"
    COUNT = "count"
    LIST = "list"
    YES_NO = "yes-no"
    PREFERENCE = "preference"
    INSTRUCTION = "instruction"
    HOW_TO = "how-to"
    WHY = "why"
    OVERVIEW = "overview"
    WHAT = "what"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Understanding:
    """A query, read once. `entities` are names as spelled; `specificity` runs from 0 (nothing said) to 1.

    `spread`: the answer is made of several memories, said at several times. `language` is "en" or None.
    """

    features: QueryFeatures
    asks: Asks
    spread: bool
    entities: tuple[str, ...]
    times: tuple[TimeExpression, ...]
    specificity: float
    script: str
    language: str | None


_AUXILIARY: Final = (
    r"(?:is|are|am|was|were|do|does|did|has|have|had|can|could|will|would|should|shall|may|might|must|"
    r"isn't|aren't|wasn't|weren't|don't|doesn't|didn't|hasn't|haven't|won't)"
)
# A plural noun soon after "what" or "which" ("what items", "which city parks", "what are the names of"): the answer is a
# list. Words that end like a plural and are none are kept out.
_PLURAL: Final = r"(?!(?:does|is|was|has|his|this)\b)(?:\w{2,}[^\Ws'u]s|children|people|kinds?|types?|sorts?)\b"
_LIST: Final = re.compile(
    rf"^\W*(?:(?:what|which)\s+(?:\w+\s+){{0,2}}?{_PLURAL}|in what ways|who all|(?:list|name)\s)", re.IGNORECASE
)
_SPREAD: Final = re.compile(r"^\W*how many\b|\b(?:both|in common)\b", re.IGNORECASE)
_PATTERNS: Final[tuple[tuple[Asks, re.Pattern[str]], ...]] = tuple(
    (asks, re.compile(pattern, re.IGNORECASE))
    for asks, pattern in (
        (Asks.COUNT, r"\bhow (?:many|often|much)\b|\bnumber of\b"),
        (
            Asks.WHEN,
            r"^\W*(?:when|since when|until when|how long|how old)\b|\b(?:what|which) (?:date|day|month|year|time|week|weekday)\b",
        ),
        (
            Asks.INSTRUCTION,
            (
                r"\bhow should (?:you|the assistant|i be)\b|\b(?:rules?|instructions?) (?:for|about|on|did i)\b"
                r"|\bwhat (?:did|have) i (?:ask|tell|told|asked) you\b"
            ),
        ),
        (
            Asks.HOW_TO,
            r"^\W*how (?:do|can|should|would|to|did) (?:i|you|we|one|to)\b|\bhow to\b|\bsteps?\b.*\bto\b",
        ),
        (
            Asks.PREFERENCE,
            (
                r"\bfavou?rites?\b|\bprefers?\b|\b(?:recommend|suggest)\b"
                r"|\b(?:likes?|loves?|enjoys?|hates?|dislikes?) (?:the )?(?:most|best|least)\b"
                r"|\bany (?:tips|ideas|advice|recommendations|suggestions)\b"
            ),
        ),
        (
            Asks.OVERVIEW,
            (
                r"\b(?:summari[sz]e|summary|overview|recap|catch me up)\b"
                r"|^\W*(?:tell me|what do you know) about\b|\bwhat (?:is|kind of person is) .{2,40} like\b"
            ),
        ),
        (Asks.WHO, r"^\W*(?:who|whom|whose|with whom)\b"),
        (Asks.WHERE, r"^\W*(?:where|in (?:what|which) (?:city|country|place|town))\b"),
        (Asks.WHY, r"^\W*(?:why|what (?:is|was|were) the reasons?|how come)\b"),
        (Asks.YES_NO, rf"^\W*{_AUXILIARY}\b"),
        (Asks.WHAT, r"^\W*(?:what|which|how)\b"),
    )
)


def understand(query: str, now: datetime) -> Understanding:
    """Read a query. `now` is the asker's clock, against which "last May" is resolved."""
    head = query[:_READ_CHARACTERS]
    features = query_features(query)
    asks = _asks(head)
    times = tuple(find_times(head, now))
    entities = tuple(dict.fromkeys(mention.name for mention in find_entities(head)))
    return Understanding(
        features=features,
        asks=asks,
        spread=_LIST.search(head) is not None or _SPREAD.search(head) is not None,
        entities=entities,
        times=times,
        specificity=_specificity(features, len(entities), len(times)),
        script=script_of(head),
        language=_language(head),
    )


def _asks(head: str) -> Asks:
    found = next((asks for asks, pattern in _PATTERNS if pattern.search(head)), Asks.OTHER)
    # "What symbols are important to Ana?": a list, unless something more telling was found.
    return Asks.LIST if found in (Asks.WHAT, Asks.OTHER) and _LIST.search(head) else found


def _specificity(features: QueryFeatures, entities: int, times: int) -> float:
    """More words, names and times narrow a question down, each less than the one before."""
    return round(1.0 - math.exp(-(0.18 * len(features.terms) + 0.3 * entities + 0.4 * times)), 4)


def _language(head: str) -> str | None:
    words = re.findall(r"[a-z']+", head.lower())
    return "en" if words and sum(word in STOP_WORDS for word in words) * 5 >= len(words) else None
