"""What speakers say about themselves: "I", "we", "my", and the clipped forms of chat ("Lost my job yesterday").

The word after "I" is a verb, so no tagger is needed; what has to be told apart is how it is meant. "I am going to move",
"I want to move" and "I moved" are a plan, a plan and a fact; "I could move" is neither and is dropped. Verbs of thinking
and politeness ("I think", "I appreciate") state nothing to remember.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum
from typing import Final

from memos.rules.attributes import Form
from memos.rules.entities import is_capitalised
from memos.rules.life_changes import ADVERBS, NO_VALUE, changes_of
from memos.rules.statements import Statement, clean_value, complement, moment, predicate, without_adverbs
from memos.rules.words import EMPTY_VERBS, verb_base, word_set

_PAST_ONLY: Final = frozenset({"see", "miss", "come", "help"})
"""Empty in the present ("I see", "I miss you"), telling in the past ("I saw a bear")."""
_PLANNING: Final = word_set("want plan hope intend aim decide wish try")
_BE: Final = word_set("am are is was were been be being")
_EMPTY_VALUE: Final = re.compile(
    rf"^(?:(?:{'|'.join(sorted(NO_VALUE))}|those|these|your|yours)\b|the (?:idea|thought|sound|look|way)\b)",
    re.IGNORECASE,
)
_MOODS: Final = word_set(
    """
    happy excited glad thrilled proud tired busy sorry sure grateful thankful ready stoked swamped pumped
    lucky okay ok fine good great well here there back home sad upset nervous curious surprised impressed
    amazed jealous confident hopeful optimistic determined feeling doing so super really very over up down in
    on all about able able blessed honored honoured delighted alright all much more less out there young
    happier better sunk freaked after overwhelmed exhausted stressed bummed psyched positive certain afraid
    inspired touched touching available free late early done right wrong same looking trying thinking hoping
    wondering guessing getting loving enjoying having sending crossing keeping
    """
)
_VALUABLE_ING: Final = frozenset({"having", "getting", "enjoying", "loving", "trying", "keeping"})
_KIN: Final = (
    r"husband|wife|partner|spouse|fianc[e\u00e9]e?|boyfriend|girlfriend|son|daughter|brother|sister|mother|father|mum|mom|dad"
    r"|uncle|aunt|cousin|grandmother|grandfather|grandma|grandpa|nephew|niece|roommate|flatmate|housemate|boss|manager|dog|cat"
    r"|puppy|kitten|horse|rabbit|parrot|hamster"
)
_INTRODUCED: Final = re.compile(rf"\b(?:my|our)\s+(?P<who>(?i:{_KIN})),?\s+(?P<name>[A-Z][a-z]+)\b(?!'s\b)")
_GERUND_SUBJECT: Final = re.compile(
    r"\b(?:is|are|was|were|makes?|made|brings?|brought|helps?|helped|gives?|gave|has|can|will|keeps?|feels?|means|sounds?"
    r"|takes?|seems?|allows?|lets?|must|should|would|could|may|might|reminds?|needs?)\b"
)
_JOINING: Final = word_set("with at in on from to for of about by and")
"""Before a name these make it part of the thing: my meeting with Anna is not Anna."""
_FIXED_OPENINGS: Final = word_set("speaking talking based considering regarding including depending according")
_NAMED_ATTRIBUTE: Final = re.compile(
    r"^(?:favou?rite\b.*|.*\b(?:name|job|age|birthday|goal|dream|plan|hobby|address|number|email|nickname|hometown|major"
    r"|school|profession|role|title|passion|specialty|budget|deadline|diet|nationality|religion|language|salary|size"
    r"|weight|height|blood type|password|account|timezone|time zone|manager|boss))s?$",
    re.IGNORECASE,
)

_CHOICE: Final = re.compile(
    r"^(?P<value>[\w' -]{2,40}?) (?:is|are) (?:[a-z]+ ){0,2}my (?P<thing>(?:favou?rite|fave|fav|go-to|top|number one)"
    r" [\w -]{2,40}?)(?=[,.;!]|$| because| and | but )",
    re.IGNORECASE,
)


def parse_first_person(clause: str, speaker: str) -> list[Statement]:
    """The statements of a clause whose subject is the speaker, stated or left out; none when it has another."""
    first, _, rest = clause.partition(" ")
    lowered = first.lower()
    if lowered in {"i", "we"} and rest:
        return [*_introduced(rest, speaker), *_body(rest, speaker)]
    if lowered in {"my", "our"} and rest:
        return _possession(rest, speaker)
    choice = _CHOICE.match(clause)
    if choice:
        return [Statement(speaker, choice["thing"], choice["value"], Form.DEFINITE, confidence=0.85)]
    return [replace(item, confidence=0.6) for item in _clipped(clause, speaker)]


def _introduced(body: str, speaker: str) -> list[Statement]:
    """ "I went with my husband Tom" also says who the husband is."""
    return [
        Statement(speaker, match["who"].lower(), match["name"], Form.DEFINITE, confidence=0.75)
        for match in _INTRODUCED.finditer(body)
    ]


def is_first_person(clause: str) -> bool:
    return clause.partition(" ")[0].lower() in {"i", "we", "my", "our"}


def expand_clipped(clause: str) -> str | None:
    """A clipped clause with its "I" restored ("Lost my job" is "I lost my job"), or nothing when it is not one."""
    words = without_adverbs(clause[:1].lower() + clause[1:]).split()
    if len(words) < 3 or not words[0].isalpha():
        return None
    word, base = words[0], verb_base(words[0])
    if word == "been":
        return "I have " + " ".join(words)
    if words[:2] == ["going", "to"]:
        return "I am " + " ".join(words)
    if base is None or word == base or is_capitalised(words[1]) or word in _FIXED_OPENINGS:
        return None
    if word.endswith("ing"):
        return None if _GERUND_SUBJECT.search(clause) else "I am " + " ".join(words)
    return None if word.endswith("s") else "I " + " ".join(words)


def _clipped(clause: str, speaker: str) -> list[Statement]:
    expanded = expand_clipped(clause)
    return _body(expanded[2:], speaker) if expanded else []


def _body(body: str, speaker: str) -> list[Statement]:
    changed = changes_of(body, speaker)
    if changed:
        return changed
    found = _verb_phrase(body.split(), speaker)
    return [found] if found is not None else []


def _verb_phrase(words: list[str], speaker: str) -> Statement | None:
    """Walk over adverbs and auxiliaries to the main verb, noting negation, ending and intention on the way."""
    negated = ended = planned = False
    index = 0
    while index < len(words):
        if words[index].lower() in _BE:
            found = _be(words[index + 1 :], speaker, negated=negated, ended=ended, planned=planned)
            return found and replace(found, past=words[index].lower() in {"was", "were"})
        taken, sign = _auxiliary(words, index)
        if sign is _Sign.DROP:
            return None
        if taken == 0:
            found = _main_verb(words[index:], speaker, negated=negated, ended=ended, planned=planned)
            perfect = any(word.lower() in {"have", "has"} for word in words[:index])
            base_form = verb_base(words[index]) == words[index].lower() or words[index].lower() in {"have", "do"}
            return found and replace(found, past=not base_form and not perfect)
        negated = negated or sign in {_Sign.NEGATED, _Sign.ENDED}
        ended = ended or sign is _Sign.ENDED
        planned = planned or sign is _Sign.PLANNED
        index += taken
    return None


class _Sign(Enum):
    NONE = 0
    NEGATED = 1
    ENDED = 2
    PLANNED = 3
    DROP = 4
    """Ability, duty, possibility: no statement about what is."""


def _auxiliary(words: list[str], index: int) -> tuple[int, _Sign]:
    """How many words at `index` come before the main verb, and what they say about it; 0 words at the main verb."""
    word = words[index].lower().strip(",")
    following = [item.lower() for item in words[index + 1 : index + 3]]
    if word in {"not", "never"}:
        return 1, _Sign.NEGATED
    if word in {"can", "cannot", "could"} and "stand" in following:
        # "I can not stand it" is no lack of ability, and the verb itself says the dislike.
        return following.index("stand") + 1, _Sign.NONE
    if following[:1] == ["to"] and word in {"have", "had", "need", "got"}:
        return 0, _Sign.DROP
    if word in _FIXED_AUXILIARIES:
        follower, taken, sign = _FIXED_AUXILIARIES[word]
        return (taken, sign) if not follower or " ".join(following).startswith(follower) else (0, _Sign.NONE)
    if word == "would":
        return (3, _Sign.PLANNED) if following in (["love", "to"], ["like", "to"]) else (0, _Sign.DROP)
    if following[:1] == ["to"] and verb_base(word) in _PLANNING:
        return 2, _Sign.PLANNED
    auxiliary_do = word in {"do", "did", "does"} and _is_auxiliary_do(following)
    auxiliary_have = word in {"have", "has", "had"} and _is_participle(words, index + 1)
    adverb = word in ADVERBS or word.endswith("ly")
    return (1, _Sign.NONE) if adverb or auxiliary_do or auxiliary_have else (0, _Sign.NONE)


def _be(words: list[str], speaker: str, *, negated: bool, ended: bool, planned: bool) -> Statement | None:
    """After a form of "be": an action going on, or a complement worth remembering."""
    rest = " ".join(words)
    while words and (words[0].lower() in ADVERBS or words[0].lower() in {"not", "never"}):
        negated = negated or words[0].lower() in {"not", "never"}
        words = words[1:]
    if not words:
        return None
    if words[:2] == ["going", "to"] and len(words) > 2 and verb_base(words[2]):
        return _main_verb(words[2:], speaker, negated=negated, ended=ended, planned=True)
    word = words[0].lower().strip(",.!")
    if word in {"trying", "planning", "hoping"} and words[1:2] == ["to"]:
        return _main_verb(words[2:], speaker, negated=negated, ended=ended, planned=True) if words[2:] else None
    if word.endswith("ing") and (verb_base(word) or len(words) > 1):
        if word in _MOODS and word not in _VALUABLE_ING:
            return None
        if word == "considering" or " ".join(words[:2]).lower() in {"thinking of", "thinking about"}:
            planned = True
        return _main_verb(words, speaker, negated=negated, ended=ended, planned=planned)
    over = [other.lower() for other in words[:2]] == ["no", "longer"]
    if not over and ((word in _MOODS and words[:2] != ["afraid", "of"]) or word in NO_VALUE):
        return None
    found = complement(speaker, re.sub(r"^(?:been|being)\s+", "", rest))
    if found is None:
        return None
    return replace(found, negated=found.negated or negated, ended=found.ended or ended, planned=planned)


def _main_verb(words: list[str], speaker: str, *, negated: bool, ended: bool, planned: bool) -> Statement | None:
    word = words[0].lower().strip(",.!")
    base = {"have": "have", "has": "have", "had": "have", "do": "do", "did": "do", "done": "do", "doing": "do"}.get(
        word, verb_base(word) or ""
    )
    if word == "having":
        base = "have"
    past = word != base
    if not base or (base in EMPTY_VERBS and not (past and base in _PAST_ONLY)):
        return None
    rest = " ".join(words[1:])
    if re.search(r"\b(?:any ?more|any longer)\b", rest) and negated:
        ended = True
    found = predicate(speaker, base, rest)
    if found is None or _EMPTY_VALUE.match(found.value):
        return None
    if found.ended:
        # "I never stopped playing" says that it goes on.
        return replace(found, negated=not negated, ended=not negated, planned=False) if not planned else None
    return replace(found, negated=negated, ended=ended, planned=planned)


_FIXED_AUXILIARIES: Final[dict[str, tuple[str, int, _Sign]]] = {
    "no": ("longer", 2, _Sign.ENDED),
    "used": ("to", 2, _Sign.ENDED),
    "will": ("", 1, _Sign.PLANNED),
    **dict.fromkeys(("can", "could", "may", "might", "should", "must", "shall"), ("", 0, _Sign.DROP)),
}
"""A word, what has to follow it, how many words they take together, and their meaning."""


def _is_auxiliary_do(following: list[str]) -> bool:
    return bool(following) and (following[0] in {"not", "never", "really"} or verb_base(following[0]) == following[0])


def _is_participle(words: list[str], index: int) -> bool:
    """Whether "have" is an auxiliary here: what follows is "been" or a verb that is not in its base form."""
    while index < len(words) and (words[index].lower() in ADVERBS or words[index].lower() in {"not", "never"}):
        index += 1
    if index >= len(words):
        return False
    word = words[index].lower()
    if word in {"been", "had", "done", "got", "become"}:
        return True
    base = verb_base(word)
    return (
        base is not None and not word.endswith(("ing", "s")) and (word != base or word in {"come", "run", "put", "set"})
    )


def _possession(rest: str, speaker: str) -> list[Statement]:
    """ "My <thing> is ..." and "My <thing> <verb> ...": about the speaker when the thing is an attribute, else about it."""
    if re.fullmatch(rf"(?:{_KIN}),? [A-Z][a-z]+[.!]?", rest):
        return _naming(rest.rstrip(".!").replace(",", "").split(), speaker)
    rest = re.sub(r"^(?:new|current|latest|present)\s+(?=[a-z])", "", rest)
    match = re.match(r"(?P<thing>[^,;]{1,60}?) (?P<link>is|are|was|were|has been|have been) (?P<value>\S.*)$", rest)
    if match and len(match["thing"].split()) <= 6:
        return _owned(match["thing"], match["value"], speaker)
    words = rest.split()
    for index in range(1, min(len(words) - 1, 7)):
        base = verb_base(words[index])
        if words[index - 1].endswith((",", ":")):
            return []
        plural = words[index - 1].endswith("s") and words[index - 1].islower()
        if base is None or not words[index].islower() or base in EMPTY_VERBS or (words[index] == base and not plural):
            continue
        thing = [word for word in words[:index] if word not in ADVERBS and not word.endswith("ly")]
        return [*_naming(thing, speaker), *_about_thing(thing, base, words[index:], speaker)]
    return []


def _about_thing(thing: list[str], base: str, words: list[str], speaker: str) -> list[Statement]:
    """What the speaker's sister or dog did; somebody named is the subject under that name."""
    if not thing:
        return []
    name = [word for word in thing if is_capitalised(word)]
    subject = " ".join(name) if name and not is_capitalised(thing[0]) else _owner(speaker, " ".join(thing))
    changed = changes_of(" ".join(words), subject)
    found = predicate(subject, base, " ".join(words[1:]))
    return changed or ([replace(found, confidence=0.7)] if found else [])


def _owned(thing: str, value: str, speaker: str) -> list[Statement]:
    named = re.match(r"^(?:called|named)\s+(?P<name>\S.*)$", value)
    if named:
        return [Statement(speaker, thing, clean_value(named["name"]), Form.DEFINITE, confidence=0.9)]
    bare = without_adverbs(value)
    short = clean_value(bare)
    nominal = re.match(r"^(?:the|my|to)\s|^[\d$\u20ac\u00a3]", bare) or is_capitalised(bare.split(" ", 1)[0])
    if (
        short
        and " and " not in thing
        and (_NAMED_ATTRIBUTE.match(thing) or (nominal and not re.match(r"^(?:not|never)\b", bare)))
    ):
        return [Statement(speaker, thing, short, Form.DEFINITE, confidence=0.85)]
    found = complement(_owner(speaker, thing), value)
    if found is not None and found.form is Form.DEFINITE:
        # "My store is open" says how the store is, not what "store" stands for.
        owned = _owner(speaker, thing)
        found = moment(owned, bare) or replace(found, subject=owned, attribute="is", form=Form.PROPERTY)
    return [*_naming(thing.split(), speaker), *([replace(found, confidence=0.6)] if found else [])]


def _naming(words: list[str], speaker: str) -> list[Statement]:
    """ "My sister Anna ..." also says who the sister is."""
    if len(words) >= 2 and is_capitalised(words[-1]) and not is_capitalised(words[0]):
        cut = next(index for index, word in enumerate(words) if is_capitalised(word))
        if words[cut - 1].lower() in _JOINING:
            return []
        return [Statement(speaker, " ".join(words[:cut]), " ".join(words[cut:]), Form.DEFINITE, confidence=0.85)]
    return []


def _owner(speaker: str, thing: str) -> str:
    return f"{speaker}'s {thing}"
