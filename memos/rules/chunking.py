"""Documents into passages: cut at paragraphs, then sentences, then words, and lose nothing.

Joined, the passages are the document again, character for character. A passage holds at most `max_chars`, which keeps
it inside what the embedder reads (256 word pieces, about 4 characters each in English and more in few scripts).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_CHARS = 900
_PARAGRAPH = re.compile(r"(?<=\n)\s*\n+")
_SENTENCE = re.compile(r"(?<=[.!?。！？…])[\"')\]”’]*\s+|(?<=[。！？])")
_WORD = re.compile(r"(?<=\s)(?=\S)")


def passages(text: str, max_chars: int = MAX_CHARS) -> list[str]:
    """Pieces of at most `max_chars` characters whose concatenation is `text`."""
    pieces: list[str] = []
    for piece in _pack(_split(text, (_PARAGRAPH, _SENTENCE, _WORD), max_chars), max_chars):
        if not piece.strip() and pieces and len(pieces[-1]) + len(piece) <= max_chars:
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def _split(text: str, boundaries: tuple[re.Pattern[str], ...], max_chars: int) -> Iterator[str]:
    if len(text) <= max_chars:
        yield text
        return
    if not boundaries:
        yield from (text[i : i + max_chars] for i in range(0, len(text), max_chars))
        return
    start = 0
    for match in boundaries[0].finditer(text):
        if match.end() > start:
            yield from _split(text[start : match.end()], boundaries[1:], max_chars)
            start = match.end()
    if start < len(text):
        yield from _split(text[start:], boundaries[1:], max_chars)


def _pack(pieces: Iterator[str], max_chars: int) -> Iterator[str]:
    """Join neighbours while they fit, so that a passage carries as much context as it may."""
    held = ""
    for piece in pieces:
        if held and len(held) + len(piece) > max_chars:
            yield held
            held = piece
        else:
            held += piece
    if held:
        yield held
