"""Unicode normal forms in linear time.

`unicodedata.normalize` sorts a run of combining marks by insertion: a letter with a million accents, which is a valid
text, would keep a thread busy for hours. Long texts are therefore normalised in short pieces. Pieces begin before a
character that nothing before it can change, so that the result is the same; only a longer run of marks than any
writing system knows is cut where it stands (Unicode's own Stream-Safe Text Format, UAX 15, allows 30).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final, Literal

_PIECE: Final = 256
_LONGEST_RUN: Final = 64
_JAMO: Final = range(0x1100, 0x1200)
_HALFWIDTH_MARKS: Final = "\uff9e\uff9f"


def normalized(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
    """The text in a normal form."""
    if text.isascii():
        return text
    if len(text) <= _PIECE:
        return unicodedata.normalize(form, text)
    return "".join(unicodedata.normalize(form, piece) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + _PIECE
        for cut in range(end, min(end + _LONGEST_RUN, len(text))):
            if _stands_alone(text[cut]):
                end = cut
                break
        yield text[start:end]
        start = end


def _stands_alone(character: str) -> bool:
    """Whether no character before this one can combine with it."""
    if character.isascii():
        return True
    joins = unicodedata.category(character).startswith("M") or character in _HALFWIDTH_MARKS
    return not joins and ord(character) not in _JAMO
