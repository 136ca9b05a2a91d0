"""What a clause states, as (subject, attribute, value): grammar shapes, no list of relations.

    The capital of France is Paris.            France        capital             Paris        definite
    Anna's job is teaching.                    Anna          job                 teaching     definite
    Rex was born in the city of Lyon.          Rex           born in (city)      Lyon         relation
    Rex plays the position of goalkeeper.      Rex           play (position)     goalkeeper   verb
    Rex is a citizen of France.                Rex           citizen of          France       relation
    Rex is a nurse / is vegan.                 Rex           is a / is           ...          class / property

The subject of a definite phrase is the name inside it ("the head of the Rome office" is about Rome); what is left of the
phrase is the attribute. A preposition followed by "the <kind> of" a value gives the kind, which keeps slots apart that
share a verb: founded in the city of, founded in 1946.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from memos.rules.attributes import Form, value_type_of
from memos.rules.english import STOP_WORDS
from memos.rules.entities import is_capitalised
from memos.rules.words import EMPTY_VERBS, SENTENCE_STARTERS, verb_base, word_set


@dataclass(frozen=True, slots=True)
class Statement:
    """One reading of one clause. `ended` means the value no longer holds; an empty value then means any value."""

    subject: str
    attribute: str
    value: str
    form: Form
    value_type: str = ""
    negated: bool = False
    ended: bool = False
    planned: bool = False
    past: bool = False
    """Told of a time that is over ("worked", "was"), as far as its verb shows."""
    confidence: float = 0.8


_PREPOSITION: Final = (
    r"(?:by|in|on|at|to|with|for|from|of|as|about|into|near|under|after|over|through|against|around|towards?|onto)"
)
_LINK: Final = re.compile(r"\s(?P<link>is|are|was|were|am|has been|have been|had been|became|becomes|remains)\s(?=\S)")
_RELATIVE_CLAUSE: Final = re.compile(r"\b(?:where|that|which|who|whom)\b")
_NEGATION: Final = re.compile(r"^(?:not|no longer|never)\s+", re.IGNORECASE)
_ADVERB: Final = re.compile(
    r"^(?:now|currently|also|still|really|so|just|already|always|very|actually|probably|definitely|super|pretty|quite"
    r"|both|currently|originally|mainly|mostly|often|usually|finally|officially|recently|totally|absolutely|too|only"
    r"|even|ever|kind of|kinda|first|long|once|previously|formerly)\s+",
    re.IGNORECASE,
)
_PARTICIPLE: Final = re.compile(rf"^(?P<word>[a-z][a-z-]+) (?P<prep>{_PREPOSITION}) (?P<value>\S.*)$")
_CLASS_OF: Final = re.compile(
    r"^an? (?P<head>[a-z][a-z -]*?) (?P<prep>of|for|in|at|to|from|by|with) (?P<value>(?:the )?[^\Wa-z_].*)$"
)
_TYPED: Final = re.compile(
    r"^the (?!(?:rest|end|start|middle|most|best|worst|lot|rest|top|bottom|idea|kind|sort|chance|thought|likes|use) )"
    r"(?P<type>[a-z][a-z-]*(?: [a-z][a-z-]*){0,2}?) of (?P<value>\S.*)$"
)
_INDEFINITE: Final = re.compile(r"^(?:an?|one of|some|another)\s+", re.IGNORECASE)
_POSSESSIVE: Final = re.compile(r"^(?P<owner>.{1,60}?)(?:'s|s')\s+(?P<thing>[a-z].*)$")
_NOT_A_PARTICIPLE: Final = word_set(
    """
    the a an my our his her its their your this that these those one all some any going able about up out in
    on at here there back what how when where not more most less proof part kind sort type
    """
)
_ABOUT_A_TITLE: Final = re.compile(r"^The [a-z][\w -]* of (?=[\"'\u201c]?[^\Wa-z_])")
"""What follows may be a title, which holds whatever it likes: commas, pronouns, question marks."""
_OFFICE: Final = re.compile(
    r"^the (?!(?:rest|end|start|middle|lot|top|bottom|idea|kind|sort|chance|use|type|part|one|former|previous|late|next"
    r"|future|only|same|best|worst|most) )(?P<office>[A-Za-z][\w-]*(?: [\w-]+){0,3}?) of (?P<whole>(?:the )?[^\Wa-z_].*)$"
)
_MOMENT: Final = re.compile(
    r"^(?P<prep>on|at|in) (?P<value>(?:\d{1,2}(?:[:.]\d\d)?(?: ?[ap]\.?m\.?)?(?: o'clock)?|noon|midnight"
    r"|(?:next |this )?(?:mon|tues|wednes|thurs|fri|satur|sun)day(?: (?:morning|afternoon|evening|night))?"
    r"|(?:january|february|march|april|may|june|july|august|september|october|november|december)(?: \d{1,2}(?:th|st|nd|rd)?)?"
    r"|\d{1,2}(?:st|nd|rd|th)? (?:january|february|march|april|may|june|july|august|september|october|november|december)))$",
    re.IGNORECASE,
)
_BEGINNING: Final = word_set("start begin")
_STOPPING: Final = word_set("stop quit")
_CONNECTORS: Final = word_set(
    """
    of the de du von van der den da di del della la le el al on to as a an in for with by and &
    """
)
_NO_SUBJECT: Final = word_set(
    """
    he she it they that this these those there what who which how why when where you your his her its their
    let everyone everything someone something anyone nobody nothing here one all both some many most such to
    if
    """
)
_PARTICLES: Final = word_set("up out off down back over away along together around")
_MODALS: Final = word_set("would can could should may might must shall")
_AUXILIARY: Final = word_set("has have had does do did will would can could should may might must shall")
_VALUE_END: Final = re.compile(
    r"\s*(?:[;!?]|,\s+(?=(?:which|who|where|and|but|so|because|though|although|plus|as|then|it|not|just)\b)"
    r"|\s(?:because|since I|so that|which|where|while (?:I|we|it|they|the|my|\w+ing)\b|although|though"
    r"|and (?:I|we|it|they|he|she)\b)).*$",
    re.DOTALL,
)
_TRAILING: Final = re.compile(
    r"(?:,?\s+(?:too|as well|again|now|though|already|anymore|any more|any longer|right now|these days|nowadays|tbh"
    r"|lol|together|so far|yet|actually|currently))+$",
    re.IGNORECASE,
)
MAX_VALUE_WORDS: Final = 14


def parse_clause(clause: str, *, numbered: bool = False) -> Statement | None:
    """The statement a third-person clause makes about a named thing, or nothing."""
    text = clause.strip()
    words = text.split(" ", 2)
    first = words[0].strip(",").lower()
    titled = len(words) > 1 and is_capitalised(words[1])
    ordinary = first in SENTENCE_STARTERS or first in STOP_WORDS
    if first in _NO_SUBJECT or (ordinary and first not in {"the", "a", "an"} and not titled):
        return None
    linked = _by_link(text, numbered=numbered)
    return linked if linked is not None else _by_verb(text, numbered=numbered)


def complement(subject: str, rest: str, *, numbered: bool = False) -> Statement | None:
    """What follows a form of "be": relation, class, property or, after a definite phrase, its value."""
    negated = _NEGATION.match(rest) is not None
    ended = rest.lower().startswith("no longer ") or bool(re.search(r"\b(?:any ?more|any longer)\b", rest))
    bare = without_adverbs(_NEGATION.sub("", rest))
    going_on = re.match(r"^(?P<verb>[a-z]+ing) (?P<rest>\S.*)$", bare)
    if going_on and verb_base(going_on["verb"]):
        acting = predicate(_name(subject), verb_base(going_on["verb"]) or "", going_on["rest"], numbered=numbered)
        return acting and replace(acting, negated=negated, ended=negated and ended)
    found = (
        _participle(subject, bare, numbered=numbered)
        or _class_of(subject, bare, numbered=numbered)
        or _definite(subject, bare, numbered=numbered)
        or _office(subject, bare, numbered=numbered)
        or _class_or_property(subject, bare, numbered=numbered)
    )
    return replace(found, negated=True, ended=ended) if found is not None and negated else found


def predicate(subject: str, verb: str, rest: str, *, numbered: bool = False) -> Statement | None:
    """What follows an action verb: its particle and preposition join the attribute, its object is the value."""
    words = rest.split()
    doing = verb_base(words[0]) if len(words) > 1 and words[0].endswith("ing") else None
    if doing and verb in (_BEGINNING | _STOPPING):
        found = predicate(subject, doing, " ".join(words[1:]), numbered=numbered)
        over = verb in _STOPPING
        return found and replace(found, negated=over, ended=over)
    attribute = [verb]
    while words and words[0].lower() in _PARTICLES and len(attribute) < 2:
        attribute.append(words.pop(0).lower())
    if words and re.fullmatch(_PREPOSITION, words[0].lower()):
        attribute.append(words.pop(0).lower())
    typed = _TYPED.match(" ".join(words))
    value = clean_value(typed["value"] if typed else " ".join(words), whole=numbered)
    if not value:
        return None
    if verb == "live":
        # With whom is another matter: the same home told alone must be the same value.
        value = re.sub(r"\s+with\s+(?:my|our|his|her|their)\b.*$", "", value)
    kind = value_type_of(value, typed["type"] if typed else "")
    return Statement(subject, " ".join(attribute), value, Form.VERB, kind)


def moment(subject: str, rest: str) -> Statement | None:
    """ "My flight is at 9:30": when something is, which is one time at a time."""
    match = _MOMENT.match(clean_value(rest))
    if match is None:
        return None
    return Statement(
        _name(subject), f"is {match['prep'].lower()}", match["value"], Form.PROPERTY, "time", confidence=0.6
    )


def clean_value(value: str, *, whole: bool = False) -> str:
    """A value without its trailing clause, adverbs and stop; `whole` keeps commas, for lists of one fact a line."""
    text = value.strip()
    if whole:
        # "Washington, D.C.." ends its sentence once and its abbreviation once.
        return (
            text[:-1]
            if text.endswith(".") and not re.search(r"\b(?:[A-Z]|Inc|Jr|Sr|Ltd|Co|Corp|St)\.$", text)
            else text
        )
    text = _VALUE_END.sub("", text).rstrip(" ,.:!-")
    text = _TRAILING.sub("", text).strip(" ,.:!-")
    words = text.split()
    return " ".join(words[:MAX_VALUE_WORDS])


def without_adverbs(text: str) -> str:
    while shorter := _ADVERB.sub("", text):
        if shorter == text:
            break
        text = shorter
    return text


def split_definite(phrase: str) -> tuple[str, str] | None:
    """(attribute, subject) of a definite noun phrase, or nothing when the phrase is simply a name.

    "The chief executive officer of Apple Inc." gives the office and Apple; "Rex's sister" gives sister and Rex.
    """
    bare = re.sub(r"^(?:the|a|an)\s+(?=\S)", "", phrase.strip(), flags=re.IGNORECASE)
    possessive = _POSSESSIVE.match(bare)
    if possessive and (is_capitalised(bare) or " of " not in bare):
        return possessive["thing"], possessive["owner"]
    words = bare.split()
    capitals = [index for index, word in enumerate(words) if is_capitalised(word.strip("\"'(,"))]
    if not capitals:
        head, _, tail = bare.partition(" of ")
        had_article = bare != phrase.strip()
        return (head, re.sub(r"^the ", "", tail)) if tail and head and had_article else None
    first, last = capitals[0], capitals[-1]
    if first == 0:
        return None
    if re.fullmatch(r"a|an|the", words[first - 1]) and first == 1:
        return None
    lead = words[:first]
    while lead and lead[-1].lower() in {"of", "in", "the", "for", "at", "a", "an"}:
        lead.pop()
    # What is left of the phrase behind the name is not the head of it: a project's deadline is a deadline.
    behind = words[last + 1 :]
    joint = ["of"] if lead and behind and len(lead) < first else []
    attribute = " ".join([*lead, *joint, *behind])
    subject = " ".join(words[first : last + 1])
    return (attribute, subject) if attribute else None


def _by_link(text: str, *, numbered: bool) -> Statement | None:
    matches = list(_LINK.finditer(f" {text}"))
    for index, match in enumerate(matches):
        subject = f" {text}"[: match.start()].strip()
        more = index + 1 < len(matches)
        # "The university where Rex was educated is ...": the first link belongs to the relative clause.
        if not subject or (more and _RELATIVE_CLAUSE.search(subject)):
            continue
        if len(subject.split()) > 14 or _subject_is_sentence(subject):
            return None
        found = complement(subject, f" {text}"[match.end() :], numbered=numbered)
        return replace(found, past=True) if found is not None and match["link"] in {"was", "were"} else found
    return None


def _subject_is_sentence(subject: str) -> bool:
    """A comma or a pronoun inside means the words before the link are more than a noun phrase."""
    if _ABOUT_A_TITLE.match(subject):
        return False
    lowered = subject.split()
    return bool(re.search(r"[!?;:]|,\s+(?![A-Z])", subject)) or any(
        word in {"I", "you", "we", "he", "she", "they", "it"} for word in lowered
    )


def _participle(subject: str, bare: str, *, numbered: bool) -> Statement | None:
    match = _PARTICIPLE.match(bare)
    if match is None or match["word"] in _NOT_A_PARTICIPLE:
        return None
    typed = _TYPED.match(match["value"])
    value = clean_value(typed["value"] if typed else match["value"], whole=numbered)
    if not value:
        return None
    parts = split_definite(subject)
    attribute = f"{match['word']} {match['prep']}"
    kind = value_type_of(value, typed["type"] if typed else "")
    if parts is not None:
        return Statement(parts[1], f"{parts[0]} {attribute}", value, Form.RELATION, kind)
    return Statement(_name(subject), attribute, value, Form.RELATION, kind)


def _class_of(subject: str, bare: str, *, numbered: bool) -> Statement | None:
    match = _CLASS_OF.match(bare)
    if match is None:
        return None
    value = clean_value(match["value"], whole=numbered)
    return Statement(_name(subject), f"{match['head']} {match['prep']}", value, Form.RELATION)


def _definite(subject: str, bare: str, *, numbered: bool) -> Statement | None:
    parts = split_definite(subject)
    value = clean_value(bare, whole=numbered)
    if parts is None:
        parts = _title_of(subject, bare)
    if parts is None or not value:
        return None
    return Statement(parts[1], parts[0], value, Form.DEFINITE, value_type_of(value), confidence=0.85)


def _office(subject: str, bare: str, *, numbered: bool) -> Statement | None:
    """ "Ida Berg is the mayor of Velm": a statement about Velm, which has one mayor at a time."""
    match = _OFFICE.match(bare)
    if match is None or not is_capitalised(subject) or split_definite(subject) is not None:
        return None
    whole = re.sub(r"^the ", "", clean_value(match["whole"], whole=numbered))
    office = re.sub(r"^(?:new|current|present) ", "", match["office"])
    return Statement(whole, office, _name(subject), Form.DEFINITE, confidence=0.85) if whole else None


def _title_of(subject: str, bare: str) -> tuple[str, str] | None:
    """ "The Prime Minister of Sweden is <Name>": a capitalised office; but "The University of Pisa is a ..." is a name."""
    match = re.match(r"^The (?P<office>[A-Z][\w-]*(?: [A-Z][\w-]*){0,3}) of (?P<subject>\S.*)$", subject)
    if match is None or _INDEFINITE.match(bare) or not is_capitalised(bare):
        return None
    return match["office"].lower(), match["subject"]


def _class_or_property(subject: str, bare: str, *, numbered: bool) -> Statement | None:
    timed = moment(subject, bare)
    if timed is not None:
        return timed
    article = _INDEFINITE.match(bare)
    value = clean_value(bare[article.end() :] if article else bare, whole=numbered)
    if not value:
        return None
    form = Form.CLASS if article else Form.PROPERTY
    return Statement(_name(subject), "is a" if article else "is", value, form, confidence=0.6)


def _by_verb(text: str, *, numbered: bool) -> Statement | None:
    """A name, then a verb: "Dave directs ...", "The band has released ..."."""
    words = text.split()
    end = _subject_end(words)
    if end is None:
        return None
    index, negated = end, False
    while index < len(words) and (words[index] in _AUXILIARY or words[index] == "not" or words[index].endswith("ly")):
        if words[index] in _MODALS:
            return None
        negated = negated or words[index] == "not"
        index += 1
    if index + 1 >= len(words) or words[end - 1].endswith((",", ":")):
        return None
    verb = _verb_form(words[index], known_subject=end > 1 or numbered)
    # "Somewhere like this": after one name and no auxiliary a verb has an ending.
    bare_form = verb == words[index] and index == end and not words[end - 1].endswith("s")
    if verb is None or verb in EMPTY_VERBS or bare_form or words[index].endswith("ing"):
        return None
    parts = split_definite(" ".join(words[:end]))
    subject = " ".join(words[:end]) if parts is None else f"{parts[1]}'s {parts[0]}"
    found = predicate(_name(subject), verb, " ".join(words[index + 1 :]), numbered=numbered)
    return replace(found, negated=negated) if found is not None else None


def _subject_end(words: list[str]) -> int | None:
    """How many words the leading name takes, or nothing when the clause does not start with one."""
    start = 1 if words and words[0].lower() == "the" and len(words) > 1 else 0
    if start >= len(words) or words[start] == "I" or not is_capitalised(words[start].strip("\"'(")):
        return None
    end = start + 1
    index = end
    while index < len(words) and not words[end - 1].endswith((",", ":")):
        if words[index] == "I":
            return None
        if is_capitalised(words[index].strip("\"'(")) or words[index][0].isdigit():
            end = index + 1
        elif words[index] not in _CONNECTORS or index - end >= 2:
            break
        index += 1
    return end


def _verb_form(word: str, *, known_subject: bool) -> str | None:
    """The base of a verb; an unknown one counts by its ending, but only after a subject that is surely a name."""
    if not word.isalpha() or not word.islower():
        return None
    base = verb_base(word)
    if base is not None:
        return base
    if known_subject and len(word) > 4:
        if word.endswith("ed"):
            return word[:-1] if word[-3] not in "aeiou" and word[-4] in "aeiou" else word[:-2]
        if word.endswith("s") and not word.endswith(("ss", "us", "is", "ous")):
            return word[:-1]
    return None


def _name(subject: str) -> str:
    return subject.strip(" ,.:;\"'")
