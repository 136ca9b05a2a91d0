"""A clause made to stand alone: "I lost my job yesterday" is read later, elsewhere, by somebody who asks about Jon.

First-person pronouns become the speaker's name, the verb agrees with it, and relative times get their date in brackets.
The words themselves stay, so that the fact still matches what was said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from memos.rules.attributes import Form
from memos.rules.calendar import Grain
from memos.rules.first_person import expand_clipped, is_first_person
from memos.rules.statements import Statement
from memos.rules.times import TimeExpression
from memos.rules.words import verb_base, word_set

_IRREGULAR: Final = {"am": "is", "are": "is", "were": "was", "have": "has", "do": "does", "go": "goes"}
_UNCHANGED: Final = word_set("will would can could should may might must shall is was has had did")
_SAME_PAST: Final = word_set("set put cut hit quit hurt cost shut read spread split")
"""Their past looks like their present; an ending would change what was said more often than not."""
_SKIPPED: Final = word_set(
    """
    all just also still always really never now even already so actually ever both finally recently currently
    often not usually sometimes totally definitely only once then first too soon no longer
    """
)
_OTHER_PRONOUNS: Final = (
    (re.compile(r"\b(?:myself|ourselves)\b"), "themselves"),
    (re.compile(r"\b(?:my|our)\b", re.IGNORECASE), "their"),
    (re.compile(r"\b(?:mine|ours)\b"), "theirs"),
    (re.compile(r"\b(?:me|us)\b"), "them"),
    (re.compile(r"\b(?:I|we)\b"), "they"),
)


def stand_alone(clause: str, speaker: str | None, times: Sequence[TimeExpression]) -> str:
    """The clause as a sentence of its own about `speaker`. Without a speaker only the dates are made explicit."""
    text = clause.strip(" ,;")
    if speaker:
        if not is_first_person(text):
            text = expand_clipped(text) or text
        text = _about(text, speaker)
    mark = text[-1:] if text.endswith((".", "!")) else "."
    text = _dated(text.rstrip(".! "), times)
    return f"{text[:1].upper()}{text[1:]}{mark}"


def sentence_of(statement: Statement) -> str:
    """A statement in words of its own, for readings that are only part of what their clause says."""
    if not statement.value:
        return f"{statement.subject}'s former {statement.attribute.removesuffix(' for')} is over."
    over = "no longer " if statement.ended else "not " if statement.negated else ""
    first, _, rest = statement.attribute.partition(" ")
    if statement.form is Form.VERB or (verb_base(first) == first and (rest or first == "use")):
        verb = f"{over}{_with_s(first)}" if statement.ended or not over else f"does not {first}"
        words = [statement.subject, verb, rest, statement.value]
    elif re.fullmatch(r"\w+(?:ed|n) (?:to|by|in|at|with|of|for)", statement.attribute):
        words = [statement.subject, f"is {over}{statement.attribute}", statement.value]
    else:
        words = [f"{statement.subject}'s", statement.attribute, f"is {over}{statement.value}"]
    return " ".join(word for word in words if word) + "."


def in_words(expression: TimeExpression) -> str:
    """A resolved time, as precise as it was meant: "2023-05-20", "week of 2023-05-15", "May 2023", "2022"."""
    begin = expression.begin
    if expression.grain in {Grain.DAY, Grain.PART}:
        return begin.strftime("%Y-%m-%d")
    if expression.grain is Grain.MONTH:
        return begin.strftime("%B %Y")
    if expression.grain is Grain.YEAR:
        return begin.strftime("%Y")
    if expression.grain in {Grain.WEEK, Grain.WEEKEND}:
        return f"{expression.grain.value} of {begin.strftime('%Y-%m-%d')}"
    if expression.grain is Grain.DECADE:
        return f"{begin.year}s"
    return f"{begin.strftime('%Y-%m-%d')} to {expression.until.strftime('%Y-%m-%d')}"


def _about(text: str, speaker: str) -> str:
    first, _, rest = text.partition(" ")
    lowered = first.lower()
    if lowered in {"i", "we"}:
        return f"{speaker} {_agreeing(_others(rest))}"
    if lowered in {"my", "our"}:
        return f"{speaker}'s {_others(rest)}"
    text = re.sub(r"\b(?:my|our)\b", f"{speaker}'s", text)
    return re.sub(r"\b(?:I|me|us)\b", speaker, text)


def _others(text: str) -> str:
    for pattern, pronoun in _OTHER_PRONOUNS:
        text = pattern.sub(pronoun, text)
    return text


def _agreeing(body: str) -> str:
    """The verb in the third person singular, behind its adverbs."""
    words = body.split()
    for index, word in enumerate(words):
        if word in _SKIPPED or word.endswith("ly"):
            continue
        if word in _IRREGULAR:
            words[index] = _IRREGULAR[word]
        elif word not in _UNCHANGED and word not in _SAME_PAST and verb_base(word) == word:
            words[index] = _with_s(word)
        break
    return " ".join(words)


def _with_s(verb: str) -> str:
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ies"
    return f"{verb}es" if verb.endswith(("s", "x", "z", "ch", "sh", "o")) else f"{verb}s"


def _dated(text: str, times: Sequence[TimeExpression]) -> str:
    for expression in times:
        if expression.text in text:
            if expression.relative:
                text = text.replace(expression.text, f"{expression.text} ({in_words(expression)})", 1)
        else:
            text = f"{text} ({in_words(expression)})"
    return text
