"""Words of a text as the lexical channel counts them, and the BM25 formulas over those counts.

One tokenizer serves memories and queries, so both sides always agree. Spaced scripts give words (English
ones stemmed, accents folded); scripts written without spaces give overlapping character pairs, which need no
dictionary and still match any substring of two characters. No text fails: unknown symbols are skipped.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from typing import Final

import Stemmer

from memos.rules.english import STOP_WORDS, irregular_forms
from memos.rules.normal_forms import normalized

# A longer word is a URL, a hash or an attack; its head still finds it, and the index column stays bounded.
MAX_TERM_CHARACTERS: Final = 64
# Past this many remembered words the cache starts anew, so that hostile text cannot fill memory.
_MAX_CACHED_WORDS: Final = 200_000

# Han, kana, Hangul, Thai, Lao, Burmese and Khmer: blocks where a space does not end each word.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af"
)
# Vowel signs inside words of Hebrew, Arabic and the Indic scripts, which Python's \w does not count.
_MARKS: Final = (
    "\u0591-\u05bd\u05bf\u05c1-\u05c2\u0610-\u061a\u0670\u06d6-\u06dc\u0900-\u0903\u093a-\u094f\u0962-\u0963"
    "\u0981-\u0983\u09bc-\u09cd\u0a01-\u0a03\u0a3c-\u0a4d\u0a81-\u0a83\u0abc-\u0acd\u0b01-\u0b03\u0b3c-\u0b57"
    "\u0b82\u0bbe-\u0bcd\u0c00-\u0c04\u0c3e-\u0c56\u0c81-\u0c83\u0cbc-\u0cd6"
    "\u0d00-\u0d03\u0d3e-\u0d4d\u0dca-\u0ddf"
)
_EMOJI: Final = "\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2b00-\u2bff\U0001f000-\U0001f1e5\U0001f200-\U0001faff"
_FLAG_LETTERS: Final = "\U0001f1e6-\U0001f1ff"
_LETTER: Final = f"(?![{_UNSPACED}])[^\\W_]"

_ASCII_TOKEN: Final = re.compile(r"[a-z](?:\+\+|#)(?!\w)|\d+(?:[.,:]\d+)+(?!\w)|[a-z0-9]+(?:'[a-z0-9]+)*")
_TOKEN: Final = re.compile(
    rf"(?P<unspaced>[{_UNSPACED}]+)"
    rf"|(?P<flag>[{_FLAG_LETTERS}]{{1,2}})"
    rf"|(?P<emoji>[{_EMOJI}](?:\u200d[{_EMOJI}])*)"
    rf"|(?P<word>[a-z](?:\+\+|#)(?!\w)|\d+(?:[.,:]\d+)+(?!\w)|(?:{_LETTER})(?:{_LETTER}|[{_MARKS}])*"
    rf"(?:'(?:{_LETTER}|[{_MARKS}])+)*)"
)
# Accents, Arabic short vowels and stretching, variation selectors, skin tones: typed by some, not by others.
_FOLDED_AWAY: Final = re.compile("[\u0300-\u036f\u0640\u064b-\u0652\u200b\u200c\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]")
# One sign for every apostrophe, and no typographic signs that would send English text down the slower path.
_PLAIN_PUNCTUATION: Final = str.maketrans(
    dict.fromkeys("\u2019\u2018\u02bc\uff07`", "'") | dict.fromkeys("\u201c\u201d\u2013\u2014\u2026\u00a0\u2022", " ")
)
# Romance articles and pronouns that lean on the next word: the next word is the one to find.
_ELISIONS: Final = frozenset({"l", "d", "j", "qu"})
# English endings after which only the head matters: a possessor ("anna's") or a stop word ("i'll").
_CLITICS: Final = frozenset({"s", "ll", "d", "ve", "re", "m"})


class _Stems(dict[str, str]):
    """Cache from a raw word to its term; "" marks a stop word. The stemmer keeps state, hence the lock."""

    def __init__(self) -> None:
        super().__init__()
        self._stemmer = Stemmer.Stemmer("english")
        self._irregular = irregular_forms()
        self._lock = threading.Lock()

    def __missing__(self, word: str) -> str:
        bare = _without_apostrophe(word)
        with self._lock:
            if len(self) >= _MAX_CACHED_WORDS:
                self.clear()
            term = "" if bare in STOP_WORDS else self._stem(bare)
            self[word] = term
        return term

    def kept(self, word: str) -> str:
        """Return the term of a word even when it is a stop word."""
        bare = _without_apostrophe(word)
        with self._lock:
            return self._stem(bare)

    def _stem(self, bare: str) -> str:
        clipped = bare[:MAX_TERM_CHARACTERS]
        if not clipped.isascii() or not clipped.isalpha():
            return clipped
        return str(self._stemmer.stemWord(self._irregular.get(clipped, clipped)))


_STEMS: Final = _Stems()


def terms(text: str) -> list[str]:
    """Return the terms of a text in reading order, repeats included.

    Stop words are left out unless the text holds nothing else: "to be or not to be" can still be found.
    """
    pieces = _pieces(text)
    found = [term for term in map(_STEMS.__getitem__, pieces) if term]
    return found or [_STEMS.kept(piece) for piece in pieces]


def frequencies(text: str) -> dict[str, int]:
    """Return how often each term occurs in a text."""
    return dict(Counter(terms(text)))


def query_terms(text: str, max_terms: int = 32) -> list[str]:
    """Return the distinct terms of a query in reading order, at most `max_terms`.

    A pasted page asks about what it repeats, then about its long (rarer) words: those stay if terms go.
    """
    counts = frequencies(text)
    if len(counts) <= max_terms:
        return list(counts)
    kept = set(sorted(counts, key=lambda term: (-counts[term], -len(term), term))[:max_terms])
    return [term for term in counts if term in kept]


def idf(document_frequency: int, documents: int) -> float:
    """Return the inverse document frequency of BM25 in its never negative form (Lucene's: log(1 + odds))."""
    frequency = min(max(document_frequency, 0), max(documents, 0))
    return math.log1p((max(documents, 0) - frequency + 0.5) / (frequency + 0.5))


def saturation(tf: int, length: int, mean_length: float, k1: float = 1.2, b: float = 0.5) -> float:
    """Return the term-frequency part of BM25 (Robertson and Zaragoza 2009), between 0 and k1 + 1.

    `length` and `mean_length` count terms. The defaults measured better on short turns than b = 0.75.
    """
    if tf <= 0:
        return 0.0
    relative = length / mean_length if mean_length > 0 else 1.0
    return tf * (k1 + 1.0) / (tf + k1 * (1.0 - b + b * relative))


def _pieces(text: str) -> list[str]:
    """Split into raw tokens: words with apostrophes, numbers, character pairs and emoji."""
    plain = text.translate(_PLAIN_PUNCTUATION)
    if plain.isascii():
        return [_joined_number(piece) for piece in _ASCII_TOKEN.findall(plain.lower())]
    pieces: list[str] = []
    for match in _TOKEN.finditer(_folded(plain)):
        piece = match.group()
        if match.lastgroup == "unspaced":
            pieces.extend(piece[i : i + 2] for i in range(max(len(piece) - 1, 1)))
        else:
            pieces.append(_joined_number(piece))
    return pieces


def _folded(text: str) -> str:
    """Bring equal-looking text to equal characters: NFKC, case folded, accents dropped."""
    decomposed = normalized("NFKD", text).casefold()
    return normalized("NFKC", _FOLDED_AWAY.sub("", decomposed))


def _joined_number(piece: str) -> str:
    """Write 12,000 and 12,000.00 as 12000; times and other decimals keep their separator."""
    joined = piece.replace(",", "") if "," in piece else piece
    if joined.endswith("0") and "." in joined:
        whole, _, cents = joined.partition(".")
        if whole.isdigit() and not cents.strip("0"):
            return whole
    return joined


def _without_apostrophe(word: str) -> str:
    """Turn "caroline's" into "caroline", "don't" into "dont" and "l'homme" into "homme"."""
    head, mark, tail = word.partition("'")
    if not mark:
        return word
    if head in _ELISIONS and len(tail) > 2:
        return tail.replace("'", "")
    return head if tail in _CLITICS else word.replace("'", "")
