"""What encoders do to a text before any model sees it."""

from __future__ import annotations

import re

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Scripts written without spaces: each character is a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_UNBROKEN = re.compile(r"\S+")


def well_formed(text: str) -> str:
    """Replace lone surrogates by U+FFFD: the Rust tokenizers refuse a string that is not valid Unicode.

    Everything else, NUL included, is left to the tokenizer's own normaliser.
    """
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)


def plain_words(text: str) -> list[str]:
    """Return the case-folded words of a text, for the fakes; a text of symbols only is split at spaces."""
    folded = well_formed(text).casefold()
    return _WORD.findall(folded) or folded.split()


def word_starts(text: str) -> list[int]:
    """Return where each of those words begins. Folding may lengthen a text, so each folded character knows its own."""
    folded = [(char, place) for place, one in enumerate(well_formed(text)) for char in one.casefold()]
    whole = "".join(char for char, _ in folded)
    found = list(_WORD.finditer(whole)) or list(_UNBROKEN.finditer(whole))
    return [folded[match.start()][1] for match in found]
