"""What an attribute is: its one spelling, and whether it has one value at a time or many.

Two statements compete for the same slot when subject and attribute agree; whether the later one replaces the earlier
depends on the attribute. One lives in one place but likes many things. The default follows the grammar, not a list of
relations: what is said with a definite article or a possessive ("the capital of France is", "my job is") has one value
at a time, and so has a relation to a named kind of thing ("works in the city of"); what is done (verbs) has many.
The short tables below hold the exceptions of everyday speech.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final

from memos.rules.lexical import terms
from memos.rules.words import word_set


class Form(StrEnum):
    """How a statement was put; decides how many values its attribute may have."""

    DEFINITE = "definite"
    """the capital of France is Paris; my job is ..."""
    RELATION = "relation"
    """X is married to Y; X was founded by Y"""
    CLASS = "class"
    """X is a nurse"""
    PROPERTY = "property"
    """X is vegan"""
    VERB = "verb"
    """X plays chess; X went to Rome"""


class Cardinality(StrEnum):
    ONE = "one"
    """One value at a time: a later one replaces it."""
    ONE_EVER = "one_ever"
    """One value for good, like a birthplace: another one contradicts it."""
    MANY = "many"


_SAME: Final = {
    "move to": "live in", "relocate to": "live in", "reside in": "live in", "live at": "live in", "move in": "live in",
    "settle in": "live in", "base in": "live in", "based in": "live in", "reside at": "live in", "move into": "live in",
    "work at": "work for", "employed by": "work for", "employed at": "work for",
    "marry": "married to", "wed": "married to", "engaged with": "engaged to",
    "named": "name", "called": "name", "go by": "name",
    "love": "like", "enjoy": "like", "prefer": "prefer", "adore": "like", "fan of": "like", "big fan of": "like",
    "huge fan of": "like", "into": "like", "keen on": "like", "fond of": "like", "passionate about": "like",
    "crazy about": "like", "obsessed with": "like", "hate": "like", "dislike": "like", "despise": "like", "stand": "like",
    "sick of": "like", "tired of": "like",
    "e-mail": "email", "email address": "email", "e-mail address": "email", "telephone number": "phone number",
    "profession": "job", "occupation": "job", "work as": "job",
    "study at": "study at", "enrolled at": "study at", "enrolled in": "enrolled in",
}  # fmt: skip
"""Different words for one slot. Dislikes share the slot of likes and are told apart by their negation."""

_NEGATIVE: Final = frozenset({"hate", "dislike", "despise", "stand", "sick of", "tired of"})

_ONE: Final = frozenset(
    {
        "live in", "work for", "job", "married to", "engaged to", "name", "weigh", "drive", "located in", "study at",
        "age", "single", "report to", "work in", "headquartered in", "owned by", "led by", "run by", "managed by",
        "headed by", "chaired by", "governed by", "ruled by", "coached by",
    }
)  # fmt: skip
_STATIVE: Final = word_set(
    """
    have own use know need speak belong cost weigh drive live work study stay earn rent teach coach lead run
    manage prefer wear play practice practise follow support suffer mean contain include consist
    """
)
"""Verbs that tell how things are, at least in the present tense."""
_ONE_EVER: Final = frozenset({"born in", "born on", "die in", "died in", "died on", "grow up in", "birthday", "born"})
_MANY: Final = word_set(
    """
    like, interested in, allergic to, scared of, afraid of, good at, bad at, friends with, proud of, member
    of
    """,
    ",",
)
"""Many values even in a numbered list."""
_MANY_HEADS: Final = re.compile(
    r"^(?:.* )?(?:hobby|interest|friend|sibling|brother|sister|child|kid|son|daughter|pet|dog|cat|goal|dream|plan|skill"
    r"|strength|weakness|reason|advantage|benefit|example|member|problem|issue|tip|idea|result|memory|colleague|cousin"
    r"|uncle|aunt|neighbou?r|book|project|task|client|course|[a-z]{3,}(?<![sui])s)$",
    re.IGNORECASE,
)
"""Nouns one has several of, and plurals."""
_AFTER_HEAD: Final = re.compile(r" (?:that|which|who|where|of|in|at|for|to|from|on|with)\b")
_MADE: Final = re.compile(
    r"\b(?:founded|created|invented|written|discovered|composed|built|developed|performed|produced|directed|designed"
    r"|painted|recorded|published|authored|established|formed)\b"
)
"""What was made once has one maker, place and date."""
_TIME_VALUE: Final = re.compile(
    r"^(?:(?:early|mid|late|circa|around|about)[ -])?(?:\w+day,? )?(?:\d{1,2}(?:st|nd|rd|th)? )?"
    r"(?:(?:january|february|march|april|may|june|july|august|september|october|november|december),? )?"
    r"(?:\d{1,2}(?:st|nd|rd|th)?,? )?(?:\d{4})$|^\d{4}-\d\d-\d\d$|^the (?:\d{4}|\d\d)s$",
    re.IGNORECASE,
)


_LATEST: Final = re.compile(r"^(?:(?:brand )?new|current|present|latest) (?=\S)")
"""A new phone number is a phone number."""


@lru_cache(maxsize=50_000)
def canonical(attribute: str) -> str:
    """The spelling under which an attribute's values compete."""
    folded = _LATEST.sub("", " ".join(attribute.casefold().split())).replace("favorite", "favourite")
    return _SAME.get(folded, folded)


def is_negative(attribute: str) -> bool:
    """Whether an attribute says the opposite of its canonical one ("hate" of "like")."""
    return " ".join(attribute.casefold().split()) in _NEGATIVE


def is_stative(attribute: str) -> bool:
    """Whether an action attribute describes a lasting state ("live in", "have") rather than an event ("go to")."""
    return canonical(attribute) in _ONE or attribute.split(" ", 1)[0] in _STATIVE


@lru_cache(maxsize=50_000)
def attribute_key(attribute: str, value_type: str = "") -> str:
    """A slot's name independent of inflection and articles; the kind of value keeps born-in-a-city from born-in-a-year."""
    name = canonical(attribute)
    words = re.findall(r"[\w'-]+", name)
    stems = [terms(word)[0] if terms(word) else word for word in words if word not in {"the", "a", "an"}]
    key = " ".join(stems)
    return f"{key}|{' '.join(terms(value_type))}" if value_type else key


def value_type_of(value: str, stated: str = "") -> str:
    """The stated kind of a value ("city"), or `time` for a date or year, or nothing."""
    return stated or ("time" if _TIME_VALUE.match(value.strip()) else "")


def cardinality(attribute: str, form: Form, *, value_type: str = "", numbered: bool = False) -> Cardinality:
    """How many values an attribute may have at a time.

    In a numbered list of statements about named slots the later number wins whatever the attribute, because numbering
    such statements is what says "this is the current one"; actions stay many.
    """
    name = canonical(attribute)
    if name in _MANY:
        return Cardinality.MANY
    if name in _ONE_EVER and not numbered:
        return Cardinality.ONE_EVER
    if name in _ONE:
        return Cardinality.ONE
    if numbered and (form in {Form.DEFINITE, Form.RELATION} or value_type):
        return Cardinality.ONE
    if form is Form.DEFINITE:
        head = _AFTER_HEAD.split(name, maxsplit=1)[0]
        return Cardinality.MANY if _MANY_HEADS.match(head) else Cardinality.ONE
    if form is Form.RELATION:
        if value_type == "time" or _MADE.search(name):
            return Cardinality.ONE_EVER
        if " ".join(name.split()[-2:]) in _ONE:
            return Cardinality.ONE
        return Cardinality.ONE if value_type or re.search(r"\bof$", name) else Cardinality.MANY
    if form is Form.PROPERTY and value_type == "time":
        return Cardinality.ONE
    return Cardinality.ONE if value_type and value_type != "time" else Cardinality.MANY
