"""Whether a text is worth remembering at all: greetings, thanks, cheers and bare emoji are not.

The score runs from 0 to 1 and is low-tech on purpose: content words, names, numbers and first-person verbs raise it;
phatic words lower it. The threshold is a matter of the cube's policy. Raw turns are always stored, whatever their
score; it gates what is derived from them.
"""

from __future__ import annotations

import re
from typing import Final

from memos.rules.grounding import names_in, numbers_in
from memos.rules.lexical import terms
from memos.rules.times import has_relative_time

DEFAULT_THRESHOLD: Final = 0.3

_PHATIC_WORDS: Final = """
    hello hey hi bye goodbye thanks thank welcome sorry please congrats congratulations cheers great good
    nice cool awesome amazing wonderful fantastic lovely sweet fun sure okay yeah yes wow haha lol glad happy
    love like sound look talk chat soon see hear know really super totally definitely absolutely luck care
    hope wish thing stuff time day way bit lot kudos yay woohoo appreciate agree right true exactly proud
    excited wait keep gonna let go get come make think feel mean guess tell say catch check rock inspire
    beautiful gorgeous cute
"""
_PHATIC: Final = frozenset(term for word in _PHATIC_WORDS.split() for term in terms(word))
_WORD: Final = re.compile(r"[^\W_]")
_SELF: Final = re.compile(r"\b(?:I|my|we|our|me)\b")


def admission_score(text: str) -> float:
    """How much a text has to say, from 0 (pure emoji, a greeting) to 1.

    Works in any script: what is no English phatic word counts as content.
    """
    if not _WORD.search(text):
        return 0.0
    content = {term for term in terms(text) if term not in _PHATIC}
    details = len(numbers_in(text)) + len(names_in(text)) + int(has_relative_time(text))
    weight = 0.12 * len(content) + 0.1 * min(details, 3) + (0.08 if content and _SELF.search(text) else 0.0)
    if text.rstrip().endswith("?") and text.count(".") + text.count("!") == 0:
        # A mere question tells little about who asks it.
        weight *= 0.5
    return round(min(1.0, weight), 4)
