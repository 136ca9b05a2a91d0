"""From a sentence as typed to plain clauses a grammar rule can read: contractions opened, chatter in front removed.

"Yeah, Mel! I'm gonna move to Rome, but I'll keep my job" becomes "I am going to move to Rome" and "I will keep my job".
Clauses are only cut where a new subject follows, since a cut inside a name or a list would lose half a fact.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from memos.rules.words import verb_base, word_set

_STRAIGHT: Final = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"'})
_EMPHASIS: Final = re.compile(r"[*_]{2,}|`+|^#+\s+|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)")
_AFTER_IS: Final = (
    r"(?:a|an|not|been|so|really|now|called|named|still|always|going|getting|doing|keeping|working|living|moving|coming"
    r"|making|having|being|fitting|adjusting|growing|looking)"
)
"""What shows that "Rex's" is "Rex is" and no possessive."""
_CONTRACTIONS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), opened)
    for pattern, opened in (
        (r"\bcan't\b", "can not"),
        (r"\bcannot\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"\bshan't\b", "shall not"),
        (r"\bain't\b", "is not"),
        (r"\b(\w+)n't\b", r"\1 not"),
        (r"\bi'm\b", "I am"),
        (r"\bim\b(?= \w)", "I am"),
        (r"\b(i|you|we|they)'ve\b", r"\1 have"),
        (r"\b(i|you|we|they|he|she|it)'ll\b", r"\1 will"),
        (r"\b(i|you|we|they|he|she)'d (been|had|gone|never been)\b", r"\1 had \2"),
        (r"\b(i|you|we|they|he|she)'d\b", r"\1 would"),
        (r"\b(you|we|they)'re\b", r"\1 are"),
        (r"\b(he|she|it|that|there|here|what|who)'s (been|got|had)\b", r"\1 has \2"),
        (r"\b(he|she|it|that|there|here|what|who|where|how)'s\b", r"\1 is"),
        (rf"\b(\w+)'s (?={_AFTER_IS}\b)", r"\1 is "),
        (r"\blet's\b", "let us"),
        (r"\bgonna\b", "going to"),
        (r"\bwanna\b", "want to"),
        (r"\bgotta\b", "have to"),
        (r"(?<!\w)'?(?:cause|cuz|coz)\b(?= (?:i|we|it|he|she|they|my|you)\b)", "because"),
    )
)
_CHATTER: Final = re.compile(
    r"^(?:(?:yeah|yep|yes|yup|no|nope|nah|oh|ooh|ah|aw+|wow|whoa|well|so|and|but|plus|also|btw|by the way|actually|anyway"
    r"|honestly|sure|thanks|thank you|haha|lol|hmm|hey|hi|hello|ok|okay|right|exactly|totally|absolutely|definitely"
    r"|of course|unfortunately|luckily|fortunately|sadly|good news|guess what|you know|i mean|fyi|then|besides"
    r"|personally|basically|apparently|wish me luck|sorry|because|since|after|before|as|that|big news"
    r"|now(?=,? (?:I|we|my|our)\b)|(?:just|finally|recently|currently)(?= (?:I|we|my|our)\b))(?:,|!|\.{2,}|:| -)?\s+)+",
    re.IGNORECASE,
)
_PICTURES: Final = "\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\ufe0f\u200d"
_SUBJECT: Final = r"(?:I|we|my|our|he|she|they|it|his|her|their|you|your|there|that|this)\b"
_CUT: Final = re.compile(
    rf"\s*(?:;|\u2014|\u2013|\s-{{1,2}}\s|(?<=\w)--\s|\.{{2,}}|[{_PICTURES}]+)\s*"
    rf"|\s*,?\s+(?:and|but|so|because|since|although|though|while|whereas|plus|as|when)"
    rf"\s+(?=(?:(?:now|then|currently|just|finally|recently)\s+)?{_SUBJECT})"
    rf"|\s*,\s+(?={_SUBJECT}\s+\w)"
    r"|\s*,?\s+(?:but|so)\s+(?=(?:not|now|then|still)\b)"
)


_SECOND_VERB: Final = re.compile(
    r",?\s+and\s+(?P<rest>(?:(?:now|then|also|currently)\s+)?(?P<verb>[a-z]+)\s+(?!(?:it|them|him|her|his|their|this|that|there)\b)\S)"
)
_STATES: Final = word_set("work live have own drive study teach speak use play")


# What one of the contractions needs to match. One look for all of them, because most sentences have none.
_MAY_CONTRACT: Final = re.compile(
    rf"n't|'(?:m|ve|ll|d|re)\b|'s (?:been|got|had|{_AFTER_IS})\b|\b(?:he|she|it|that|there|here|what|who|where|how|let)'s"
    r"|cannot|\bim\b|gonna|wanna|gotta|cause|cuz|coz",
    re.IGNORECASE,
)


@lru_cache(maxsize=4_096)
def plain(sentence: str) -> str:
    """Straight quotes, opened contractions, single spaces, no Markdown emphasis."""
    text = " ".join(_EMPHASIS.sub("", sentence.translate(_STRAIGHT)).split())
    if _MAY_CONTRACT.search(text):
        for pattern, opened in _CONTRACTIONS:
            text = pattern.sub(opened, text)
    return text


def split_clauses(sentence: str, names: tuple[str, ...] = ()) -> list[str]:
    """The clauses of a plain sentence, without leading chatter or the addressed person's name, in order."""
    cut = [cleaned for clause in _CUT.split(sentence) if clause and (cleaned := _without_chatter(clause, names))]
    return [part for clause in cut for part in _without_shared_subject(clause)]


def _without_shared_subject(clause: str) -> list[str]:
    """ "I left Rome and joined the navy" is two clauses of one subject: the second gets it back.

    Only where a verb in the past follows one in the past, or one that tells of a state follows any: "and" mostly joins
    nouns, and a cut inside such a pair would lose half of it.
    """
    subject, _, body = clause.partition(" ")
    if subject not in {"I", "We", "we"}:
        return [clause]
    for match in _SECOND_VERB.finditer(body):
        verb, base = match["verb"], verb_base(match["verb"])
        first = next((word for word in body[: match.start()].split() if verb_base(word)), "")
        past = base is not None and verb != base and not verb.endswith(("ing", "s"))
        if (past and verb_base(first) != first and not first.endswith("ing")) or verb in _STATES:
            head = f"{subject} {body[: match.start()]}".strip(" ,")
            return [head, *_without_shared_subject(f"{subject} {body[match.start('rest') :]}")]
    return [clause]


def _without_chatter(clause: str, names: tuple[str, ...]) -> str:
    text = clause.strip(" ,;:!")
    while True:
        shorter = _CHATTER.sub("", text)
        for name in names:
            if name not in shorter:
                continue
            shorter = re.sub(rf"^{re.escape(name)}\s*[,!:]\s*", "", shorter)
            shorter = re.sub(rf",\s*{re.escape(name)}\b(?=[,.!?]|$)", "", shorter)
        if shorter == text:
            return text.strip(" ,;:!")
        text = shorter
