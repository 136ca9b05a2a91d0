"""Whether a sentence denies or ends something: "not", "never", "no longer", "quit", "used to".

One question, asked by reconciliation ("does this fact close an older one?") and by duplicate detection ("are both
said with the same sign?"). Negations inside a question or a mere figure of speech ("can't wait", "no problem") are no
denials, and are taken out before looking.
"""

from __future__ import annotations

import re
from typing import Final

_FIGURES: Final = re.compile(
    r"\b(?:can(?:'|\u2019)?t|cannot|couldn(?:'|\u2019)?t) (?:wait|help|believe|imagine|complain|recommend)\b"
    r"|\bno (?:problem|prob|worries|wonder|doubt|way|big deal|matter)\b|\bnot (?:only|just|to mention|bad|a problem)\b"
    r"|\bwhy not\b|\bor not\b|\bwithout a doubt\b|\bdon(?:'|\u2019)?t (?:worry|mention it|you think)\b"
    r"|\bnever (?:mind|too late)\b|\bnothing (?:beats|like)\b",
    re.IGNORECASE,
)
_DENIAL: Final = re.compile(
    r"\b(?:not|never|no longer|nobody|nothing|neither|nor|cannot|without|hardly|no)\b"
    r"|\b(?:ain|aren|can|couldn|didn|doesn|don|hadn|hasn|haven|isn|mustn|needn|shouldn|wasn|weren|won|wouldn)"
    r"(?:'|\u2019)?t\b",
    re.IGNORECASE,
)
_ENDING: Final = re.compile(
    r"\bno longer\b|\bnot\b[^.!?]{0,60}\b(?:any ?more|any longer)\b|n(?:'|\u2019)t\b[^.!?]{0,60}\b(?:any ?more|any longer)\b"
    r"|\bused to (?!it\b|this\b|that\b|the\b|my\b|being\b|\w+ing\b)\w+"
    r"|\b(?:quit|quitting|stopped|gave up|given up|got rid of|broke up|split up|cancel(?:l)?ed|dropped out|"
    r"ceased|ended|resigned|retired)\b|\b(?:lost|left) (?:my|his|her|their|our|the) (?:job|position|role|post)\b"
    r"|\bdivorced\b",
    re.IGNORECASE,
)
_CHANGE: Final = re.compile(
    r"\b(?:moved|relocated|switched|changed|transferred|converted|upgraded|renamed|swapped|replaced)\b"
    r"|\b(?:instead of|rather than|these days|nowadays|from now on|now)\b|\bnew (?:job|address|place|apartment|house|"
    r"home|number|phone|car|boss|role|position|name|email|doctor|girlfriend|boyfriend|partner)\b",
    re.IGNORECASE,
)


def is_negated(text: str) -> bool:
    """Whether the text denies what it states."""
    return _DENIAL.search(_FIGURES.sub(" ", text)) is not None


def ends_something(text: str) -> bool:
    """Whether the text says that a former state is over ("no longer", "quit", "used to live")."""
    return _ENDING.search(_FIGURES.sub(" ", text)) is not None


def signals_change(text: str) -> bool:
    """Whether the text says that a new state replaces an old one ("moved", "switched", "now", "new job")."""
    return _CHANGE.search(text) is not None
