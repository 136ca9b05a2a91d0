"""Names in English text: people, places, organisations, works, by spelling and by the company they keep.

A name is a run of capitalised words ("University of Bucharest", "Rand al'Thor"). The first word of a sentence is
capitalised anyway, so alone it counts only when it is known from elsewhere, or is followed by what follows names. What
a name stands for is told by known speakers, then by its own words ("... University", "Lake ..."), then by its
neighbours ("lives in ...").

spaCy's small model was weighed against these rules on the LoCoMo dev turns: it found "Glad", "Congrats" and "Wanna" to be
names, missed a third of the real ones, ran at 168 turns/s (these rules with all of extraction: 1,300) and adds 300 MB
of packages whose weights come from a third party's re-upload. So it stays out.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from memos.rules.english import STOP_WORDS
from memos.rules.sentences import split_sentences
from memos.rules.words import NOT_NAMES, SENTENCE_STARTERS, verb_base, word_set


class EntityType(StrEnum):
    PERSON = "person"
    PLACE = "place"
    ORGANISATION = "organisation"
    WORK = "work"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Mention:
    """A name as written at `source[start:end]`. `confidence` is how sure the rules are that it is a name at all."""

    name: str
    type: EntityType
    start: int
    end: int
    confidence: float


_TOKEN: Final = re.compile(r"[^\W_](?:[\w&'\u2019-]|\.(?=\w))*\+*")
_CONNECTORS: Final = word_set("of the de du von van der den da di del della la le el al bin ibn y")
_ABBREVIATED_END: Final = re.compile(r"\b(?:Inc|Jr|Sr|Ltd|Co|Corp|St|D\.C|U\.S|U\.K|U\.S\.A)$")
_ORGANISATION: Final = re.compile(
    r"\b(?:university|college|school|institute|academy|inc|corp|corporation|company|co|ltd|llc|gmbh|bank|foundation"
    r"|association|agency|ministry|department|party|church|club|fc|rfc|team|orchestra|band|hospital|press|studios?"
    r"|group|council|committee|society|union|museum|airlines?|airways|league|records|motors|labs?)\b",
    re.IGNORECASE,
)
_PLACE: Final = re.compile(
    r"\b(?:city|town|village|county|state|country|republic|kingdom|empire|island|islands|lake|river|mount|mountain"
    r"|mountains|valley|beach|bay|park|street|avenue|road|square|bridge|canyon|falls|forest|desert|coast|north|south"
    r"|east|west|new|los|las|san|santa|saint|fort|port)\b",
    re.IGNORECASE,
)
_TITLE_BEFORE: Final = re.compile(
    r"\b(?:mr|mrs|ms|dr|prof|professor|sir|lady|king|queen|president|aunt|uncle)\.?\s+$", re.IGNORECASE
)
_KIN_BEFORE: Final = re.compile(
    r"\bmy (?:\w+ )?(?:friend|sister|brother|mother|father|mom|mum|dad|wife|husband|partner|son|daughter|cousin|boss"
    r"|colleague|roommate|neighbou?r|girlfriend|boyfriend|teacher|coach|mentor|aunt|uncle|niece|nephew),? $",
    re.IGNORECASE,
)
_PLACE_BEFORE: Final = re.compile(
    r"\b(?:in|from|near|around|across|visit(?:ed|ing)?|(?:moved|went|go|going|travell?(?:ed|ing)|trip|flew|drove|fly) to)"
    r"\s+$",
    re.IGNORECASE,
)
_PERSON_AFTER: Final = re.compile(
    r"^(?:,? (?:who|whose|and I)\b|(?:'|\u2019)s (?:wife|husband|mother|father|sister|brother|son|daughter|birthday|friend)"
    r"| (?:said|told|asked|thinks?|says|loves?|likes|hates|married|wrote|sings|feels))",
)
_QUOTED: Final = re.compile(r"[\"\u201c](?P<title>[A-Z][^\"\u201c\u201d]{2,60})[\"\u201d]")


def find_entities(text: str, known: Mapping[str, EntityType] | None = None) -> list[Mention]:
    """The names in a text in reading order. `known` maps names met before (speakers, for one) to their type."""
    known_folded = {name.casefold(): kind for name, kind in (known or {}).items()}
    inside = {token.casefold() for token in _capitals_inside_sentences(text)}
    mentions = [
        _mention(text, start, end, known_folded)
        for sentence in split_sentences(text)
        for start, end in _runs(text, sentence.start, sentence.end, inside, known_folded)
    ]
    titles = [
        Mention(match["title"].rstrip(".,!?"), EntityType.WORK, *match.span("title"), 0.8)
        for match in _QUOTED.finditer(text)
    ]
    outside = [mention for mention in mentions if not _overlaps(mention, titles)]
    return sorted([*outside, *titles], key=lambda mention: mention.start)


def alias_of(name: str, candidates: Iterable[str]) -> str | None:
    """The one longer candidate that a name shortens: "Mel" of "Melanie", "BBC" of its full form, "Smith" of "Ann Smith".

    Nothing when none or several fit: a wrong merge of two entities is worse than a missing one.
    """
    if " " in name:
        return None
    folded = name.casefold()
    found = {candidate for candidate in candidates if candidate.casefold() != folded and _shortens(name, candidate)}
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=50_000)
def entity_key(name: str) -> str:
    """The form in which two spellings are one entity: no article, no possessive, no case, no double spaces."""
    cleaned = re.sub(r"(?:'|\u2019)s$", "", " ".join(name.split())).strip(" .,;:!?\"'\u201c\u201d").casefold()
    return re.sub(r"^(?:the|a|an) (?=\S)", "", cleaned)


def is_capitalised(token: str) -> bool:
    """Whether a token is written like a name: a capital first ("Anna"), or a capital inside ("iPhone")."""
    return token[:1].isupper() or (token[:1].isalpha() and token.lower() != token)


def _overlaps(mention: Mention, ordered: list[Mention]) -> bool:
    """Whether a mention shares a character with one of others that are sorted and apart."""
    place = bisect_left(ordered, mention.end, key=lambda other: other.start)
    return place > 0 and ordered[place - 1].end > mention.start


def _shortens(name: str, candidate: str) -> bool:
    words = candidate.split()
    if name.isupper() and 2 <= len(name) <= 6 and len(words) > 1:
        return name == "".join(word[0] for word in words if word[0].isupper())
    if len(words) > 1:
        return name in (words[0], words[-1])
    return len(name) >= 3 and len(candidate) > len(name) and candidate.casefold().startswith(name.casefold())


def _capitals_inside_sentences(text: str) -> list[str]:
    """Capitalised words that do not start a sentence: evidence that the same word at a start is a name too."""
    found: list[str] = []
    for sentence in split_sentences(text):
        tokens = _TOKEN.findall(sentence.text)
        found.extend(token for token in tokens[1:] if _may_be_name(token))
    return found


@lru_cache(maxsize=20_000)
def _may_be_name(token: str) -> bool:
    bare = re.sub(r"(?:'|\u2019)(?:s|m|ve|re|ll|d)$", "", token)
    folded = bare.casefold()
    if not is_capitalised(bare) or folded in NOT_NAMES:
        return False
    shouted = bare.isupper() and len(bare) > 1
    ordinary = folded in STOP_WORDS or (shouted and (verb_base(bare) is not None or folded in SENTENCE_STARTERS))
    return not ordinary and not (len(bare) == 1 and shouted)


def _runs(text: str, start: int, end: int, inside: set[str], known: Mapping[str, EntityType]) -> list[tuple[int, int]]:
    """The spans of capitalised runs within one sentence, connectors included where a capital follows them."""
    tokens = list(_TOKEN.finditer(text, start, end))
    runs: list[tuple[int, int]] = []
    index = 0
    while index < len(tokens):
        last = _run_end(text, tokens, index)
        if last is None or (last == index and index == 0 and not _initial_is_name(text, tokens, inside, known)):
            index += 1
            continue
        first = index + 1 if _drops_first(text, tokens, index, last, known) else index
        runs.append((tokens[first].start(), _trimmed_end(text, tokens[last].end())))
        index = last + 1
    return runs


def _run_end(text: str, tokens: list[re.Match[str]], first: int) -> int | None:
    """The index of the last token of a name that starts at `first`, or nothing when none starts there."""
    if not _may_be_name(tokens[first].group()):
        return None
    last = first
    index = first + 1
    while index < len(tokens) and _joined(text, tokens[index - 1], tokens[index]):
        token = tokens[index].group()
        if re.search(r"(?:'|\u2019)s$", tokens[index - 1].group()):
            break
        initial = len(token) == 1 and token.isupper() and text[tokens[index].end() : tokens[index].end() + 1] == "."
        if _may_be_name(token) or (token[0].isdigit() and last == index - 1):
            last = index
        elif initial and last == index - 1:
            index += 1
            continue
        elif token not in _CONNECTORS:
            break
        index += 1
    return last


def _joined(text: str, left: re.Match[str], right: re.Match[str]) -> bool:
    """Only spaces lie between, or the stop of an initial, as in "Robert A. Heinlein"."""
    gap = text[left.end() : right.start()]
    return not gap.strip() or (gap.strip() == "." and len(left.group()) == 1 and left.group().isupper())


def _initial_is_name(text: str, tokens: list[re.Match[str]], inside: set[str], known: Mapping[str, EntityType]) -> bool:
    """Whether a capitalised word alone at the start of a sentence is a name after all."""
    token = re.sub(r"(?:'|\u2019)s$", "", tokens[0].group())
    folded = token.casefold()
    if folded in known or folded in inside or any(letter.isupper() or letter.isdigit() for letter in token[1:]):
        return True
    if folded in SENTENCE_STARTERS or verb_base(token) is not None or folded.endswith(("ing", "ly", "ed")):
        return False
    following = text[tokens[0].end() : tokens[0].end() + 24]
    return (
        re.match(r"(?:'|\u2019)s\b|,? (?:is|was|has|had|and [A-Z]|will|said|who|lives|works|plays|took)\b", following)
        is not None
    )


def _drops_first(
    text: str, tokens: list[re.Match[str]], first: int, last: int, known: Mapping[str, EntityType]
) -> bool:
    """ "Visiting Rome" at the start of a sentence: the run is one word too long."""
    if first != 0 or last == first:
        return False
    word = tokens[0].group().casefold()
    if word in known or text[tokens[0].start() : tokens[last].end()].casefold() in known:
        return False
    rest = text[tokens[1].start() : tokens[last].end()].casefold()
    return word in SENTENCE_STARTERS or word.endswith(("ing", "ed")) or (rest in known and verb_base(word) is not None)


def _trimmed_end(text: str, end: int) -> int:
    tail = text[max(0, end - 12) : end]
    if tail.endswith(("'s", "\u2019s")):
        return end - 2
    if tail.endswith(("'", "\u2019")):
        return end - 1
    return end + 1 if text[end : end + 1] == "." and _ABBREVIATED_END.search(tail) else end


def _mention(text: str, start: int, end: int, known: Mapping[str, EntityType]) -> Mention:
    name = text[start:end]
    folded = name.casefold()
    if folded in known:
        return Mention(name, known[folded], start, end, 1.0)
    people = [candidate for candidate, kind in known.items() if kind is EntityType.PERSON]
    if alias_of(name, people) is not None:
        return Mention(name, EntityType.PERSON, start, end, 0.9)
    confidence = 0.9 if " " in name else 0.7
    return Mention(name, _type_by_context(text, start, end), start, end, confidence)


def _type_by_context(text: str, start: int, end: int) -> EntityType:
    name, before, after = text[start:end], text[max(0, start - 40) : start], text[end : end + 24]
    if _ORGANISATION.search(name):
        return EntityType.ORGANISATION
    if _TITLE_BEFORE.search(before) or _KIN_BEFORE.search(before) or _PERSON_AFTER.match(after):
        return EntityType.PERSON
    if _PLACE.search(name) and " " in name:
        return EntityType.PLACE
    if _PLACE_BEFORE.search(before):
        return EntityType.PLACE
    return EntityType.OTHER
