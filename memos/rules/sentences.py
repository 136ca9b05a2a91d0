"""Where sentences begin and end, as character spans into the text, so that every later finding can cite its place.

A full stop ends a sentence unless it belongs to an abbreviation ("Dr.", "U.S.A."), an initial ("J. Smith"), a number
("3.5") or a name that goes on in lower case. Line breaks always end one: lists and chat messages rely on them. A line
that starts with a number and a stop ("12. The capital ...") is one numbered statement, whatever stops it contains,
because such lists hold one fact a line and names like "Washington, D.C." would be torn apart otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from memos.rules.words import word_set

_ABBREVIATIONS: Final = word_set(
    """
    mr mrs ms dr prof st sr jr vs etc eg ie cf al no vol fig approx dept est inc ltd co corp gen col sgt capt
    lt rev hon gov sen rep pres jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun
    ave blvd rd
    """
)
_END: Final = re.compile(
    r"(?P<mark>[.!?\u2026]+)(?P<close>[\"'\u201d\u2019)\]]*)(?=\s|$)|(?P<cjk>[\u3002\uff01\uff1f]+)"
)
_NUMBERED: Final = re.compile(r"\s*(?P<number>\d{1,6})[.):]\s+(?=\S)")
_BULLET: Final = re.compile(r"\s*(?:[-*\u2022\u2013\u2014]|\(?[a-z0-9]{1,2}\))\s+(?=\S)")
_TITLE_GOES_ON: Final = re.compile(r"[\"'\u201d\u2019]? (?:is|are|was|were|has|had) ")
_LAST_WORD: Final = re.compile(r"([^\W\d_][\w.'\u2019-]*)$")


@dataclass(frozen=True, slots=True)
class Sentence:
    """`text` is `source[start:end]`. `number` is set when the line was numbered; the number itself is left outside."""

    text: str
    start: int
    end: int
    number: int | None = None

    @property
    def is_question(self) -> bool:
        return self.text.rstrip("\"')]\u201d\u2019").endswith(("?", "\uff1f"))


@lru_cache(maxsize=128)
def split_sentences(text: str) -> tuple[Sentence, ...]:
    """The sentences of a text in order, without surrounding space; their spans never overlap.

    Reading one turn asks for its sentences several times (facts, names, instructions), hence the small cache.
    """
    found: list[Sentence] = []
    for line in re.finditer(r"[^\r\n\u2028\u2029]+", text):
        numbered = _NUMBERED.match(line.group())
        if numbered:
            _append(found, text, line.start() + numbered.end(), line.end(), int(numbered["number"]))
            continue
        bullet = _BULLET.match(line.group())
        start = line.start() + (bullet.end() if bullet else 0)
        for end in _ends(text, start, line.end()):
            _append(found, text, start, end, None)
            start = end
    return tuple(found)


def _append(found: list[Sentence], text: str, start: int, end: int, number: int | None) -> None:
    piece = text[start:end]
    stripped = piece.strip()
    if stripped:
        begin = start + len(piece) - len(piece.lstrip())
        found.append(Sentence(stripped, begin, begin + len(stripped), number))


def _ends(text: str, start: int, end: int) -> list[int]:
    cuts = [
        match.end()
        for match in _END.finditer(text, start, end)
        if match["cjk"] or not _stop_is_internal(text, start, match)
    ]
    if not cuts or cuts[-1] < end:
        cuts.append(end)
    return cuts


def _stop_is_internal(text: str, start: int, match: re.Match[str]) -> bool:
    """Tell a full stop inside a sentence: after an abbreviation or initial, or before a lower-case continuation."""
    if match["mark"] != ".":
        # "The director of Where To? is ...": a title may ask or cry, and its sentence goes on.
        return _TITLE_GOES_ON.match(text[match.end() : match.end() + 8]) is not None
    # Short slices only: looking at the whole rest for every stop would be quadratic in a long text.
    following = text[match.end() : match.end() + 8].lstrip()[:1]
    if not following:
        return False
    if following.islower() or following in ",;:":
        return True
    word = _LAST_WORD.search(text[max(start, match.start() - 24) : match.start()])
    if word is None:
        return False
    bare = word.group().lower()
    if "." in bare or (len(bare) == 1 and bare != "i"):
        return following.isalnum() and not _starts_new_clause(text, match.end())
    return bare in _ABBREVIATIONS


def _starts_new_clause(text: str, position: int) -> bool:
    """After "U.S." or an initial, a pronoun or article means a new sentence; a name means the same one."""
    word = re.match(r"\s+(\w+)", text[position : position + 40])
    return word is not None and word.group(1).lower() in {
        "i", "we", "he", "she", "it", "they", "you", "the", "this", "that", "these", "those", "my", "our", "but",
    }  # fmt: skip
