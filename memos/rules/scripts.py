"""Which writing system a text is in."""

from __future__ import annotations

import unicodedata
from collections import Counter


def script_of(text: str) -> str:
    """The script most letters are written in, in lower case ("latin", "cjk", "cyrillic"); "none" without letters."""
    counts: Counter[str] = Counter()
    for character in text:
        if character.isascii():
            counts["latin"] += character.isalpha()
        elif character.isalpha():
            counts[_script(character)] += 1
    named = [(-n, name) for name, n in counts.items() if n]
    return min(named)[1] if named else "none"


def _script(character: str) -> str:
    first = unicodedata.name(character, "other").split()[0].lower()
    return "cjk" if first in ("cjk", "hiragana", "katakana", "hangul", "ideographic") else first
