"""Standing instructions: how the user wants to be treated from now on, as opposed to what they want right now.

"Always answer in French" stands; "answer this in French" does not; "never give up!" is said to a friend. So a cue of
lasting validity ("always", "from now on", "whenever I ...") must meet something an assistant does (answer, call me, use,
remind ...), or a fixed phrase must do both at once ("call me Sam", "I prefer short answers").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from memos.rules.clauses import plain
from memos.rules.sentences import split_sentences


@dataclass(frozen=True, slots=True)
class Instruction:
    """A rule for later behaviour, as written at `source[start:end]`."""

    text: str
    start: int
    end: int
    confidence: float


_ACT: Final = (
    r"(?:respond|reply|answer|write|use|call|address|speak|talk to me|explain|format|include|give me|tell me|ask me"
    r"|remind|keep (?:it|your|the|my|answers|replies|responses|things)|avoid|translate|cite|show me|start (?:your|each"
    r"|every)|end (?:your|each|every)|summari[sz]e|refer to|mention|suggest|recommend|check with|confirm|provide|add"
    r"|convert|double.check|assume|treat|send|schedule|book|order|share|store|save|round|print|list|return|output)"
)
_WITHIN: Final = r"[^.!?]{0,200}"
"""A stretch of one sentence, bounded so that a text without stops stays cheap."""
_LASTING: Final = re.compile(
    rf"^(?:(?:please|also|and|ok|okay|hey|just|remember to|remember|note that|in (?:the )?future|from now on|going forward"
    rf"|for (?:all )?future [\w ]{{2,30}}|as a rule|by default|henceforth)[,:]?\s+)*"
    rf"(?:you (?:should|must|can) )?(?:always|never|do not ever|do not)\s+{_ACT}\b",
    re.IGNORECASE,
)
_FROM_NOW: Final = re.compile(
    rf"\b(?:from now on|going forward|henceforth|in (?:the )?future|by default|for future reference|as a rule)\b"
    rf"{_WITHIN}\b{_ACT}\b"
    rf"|\b{_ACT}\b{_WITHIN}\b(?:from now on|going forward|henceforth|by default|every time|each time)\b",
    re.IGNORECASE,
)
_WHENEVER: Final = re.compile(
    rf"^(?:(?:please|also|and)[, ]\s*)*(?:whenever|every time|each time|any ?time|when|if) (?:I|you|someone|we)\b{_WITHIN}?"
    rf"[, ]\s*(?:please\s+|you should\s+|always\s+|do not\s+|never\s+)?{_ACT}\b",
    re.IGNORECASE,
)
_FIXED: Final = re.compile(
    r"^(?:please\s+)?(?:call me|address me as|refer to me as)\s+[A-Z]\w+"
    r"|^I (?:would )?(?:prefer|like|want|need) (?:you to|your|short|brief|concise|detailed|long|simple|plain|formal|casual"
    rf"|bullet|step.by.step)\b{_WITHIN}\b(?:answers?|repl(?:y|ies)|responses?|explanations?|summar(?:y|ies)|tone|style"
    r"|lists?|points|format|always|sentences)\b"
    r"|^(?:please )?(?:do not|stop|no more) (?:us(?:e|ing)|call(?:ing)? me|apologi[sz](?:e|ing)|suggest(?:ing)?"
    r"|recommend(?:ing)?|mention(?:ing)?|remind(?:ing)?)\b",
    re.IGNORECASE,
)


def find_instructions(text: str) -> list[Instruction]:
    """The standing instructions of a text in reading order."""
    found: list[Instruction] = []
    for sentence in split_sentences(text):
        if sentence.is_question:
            continue
        confidence = _confidence(plain(sentence.text))
        if confidence > 0.0:
            found.append(Instruction(sentence.text, sentence.start, sentence.end, confidence))
    return found


def _confidence(sentence: str) -> float:
    if _LASTING.search(sentence) or _FROM_NOW.search(sentence):
        # "Do not use ..." without "always" or "ever" may be about this one answer.
        return (
            0.9
            if re.search(r"\b(?:always|never|ever|from now on|going forward|by default)\b", sentence, re.IGNORECASE)
            else 0.6
        )
    if _FIXED.search(sentence):
        return 0.8
    # "When you ..., use ..." gives advice to anybody; only an explicit "whenever" or "please" makes it a rule.
    lasting = re.search(r"\b(?:whenever|every time|each time|any ?time|always|please|never)\b", sentence, re.IGNORECASE)
    return 0.8 if lasting and _WHENEVER.search(sentence) else 0.0
