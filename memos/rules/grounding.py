"""Whether a derived text says only what its sources say: no number, no name, few words of its own.

The checks are lexical and one-sided. They cannot prove that a summary is true, but an invented number or person, the
most harmful error of a generated memory, cannot pass them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from memos.rules.english import STOP_WORDS
from memos.rules.entities import is_capitalised
from memos.rules.lexical import terms
from memos.rules.sentences import split_sentences
from memos.rules.words import NOT_NAMES, SENTENCE_STARTERS, verb_base

_NUMBER: Final = re.compile(r"\d+(?:[.,:]\d+)*")
_NUMBER_WORD: Final = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
    "ten": "10", "eleven": "11", "twelve": "12", "twenty": "20", "thirty": "30", "hundred": "100",
}  # fmt: skip
_LETTERS: Final = re.compile(r"[a-z]+")
_SHORT_ENDING: Final = re.compile(r"(?:'|\u2019)(?:s|m|ve|re|ll|d)$")
_WORD: Final = re.compile(r"[^\W_](?:[\w'\u2019-])*")


def numbers_in(text: str) -> frozenset[str]:
    """The numbers of a text in one spelling: "12,000" is "12000" and "three" is "3"."""
    digits = {re.sub(r",(?=\d{3})", "", found).lstrip("0") or "0" for found in _NUMBER.findall(text)}
    words = {_NUMBER_WORD[word] for word in _LETTERS.findall(text.lower()) if word in _NUMBER_WORD}
    return frozenset(digits | words)


def names_in(text: str) -> frozenset[str]:
    """The capitalised words that are not capitalised for their place alone, in lower case and without possessive."""
    found: set[str] = set()
    for sentence in split_sentences(text):
        for index, match in enumerate(_WORD.finditer(sentence.text)):
            word = match.group()
            if "'" in word or "\u2019" in word:
                word = _SHORT_ENDING.sub("", word)
            folded = word.casefold()
            if not is_capitalised(word) or folded in NOT_NAMES or folded in STOP_WORDS:
                continue
            if index == 0 and _ordinary_start(folded):
                continue
            found.add(folded)
    return frozenset(found)


def ungrounded(text: str, sources: Iterable[str]) -> tuple[str, ...]:
    """The numbers and names of a text that none of its sources holds, sorted; empty means it passes."""
    material = list(sources)
    known_numbers = frozenset().union(*(numbers_in(source) for source in material))
    known_words = {
        re.sub(r"(?:'|\u2019)s$", "", word.casefold()) for source in material for word in _WORD.findall(source)
    }
    parts = {part for word in known_words for part in re.split(r"[-'\u2019]", word)}
    missing_names = {name for name in names_in(text) if name not in known_words and name not in parts}
    return tuple(sorted((numbers_in(text) - known_numbers) | missing_names))


def support(text: str, sources: Iterable[str]) -> float:
    """The share of a text's distinct terms found in its sources, from 0 to 1; an empty text is fully supported."""
    needed = set(terms(text))
    if not needed:
        return 1.0
    available = {term for source in sources for term in terms(source)}
    return len(needed & available) / len(needed)


def _ordinary_start(folded: str) -> bool:
    """A word that may well open a sentence without being a name."""
    return folded in SENTENCE_STARTERS or folded.endswith(("ing", "ly", "ed")) or verb_base(folded) is not None
