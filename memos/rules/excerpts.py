"""The part of a long text that matters to a query: whole sentences around the match, within a number of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from memos.rules.lexical import terms
from memos.rules.sentences import Sentence, split_sentences

Counter = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """`text` is `source[start:end]`. `kept` estimates which share of the text's evidence it holds, from 0 to 1."""

    text: str
    start: int
    end: int
    kept: float


def excerpt(text: str, weights: Mapping[str, float], tokens: int, most: int) -> Excerpt:
    """Return the run of sentences with the most of the query's term weight whose length is about `most` tokens.

    `tokens` is the length of the whole text; lengths of parts are estimated from it by characters, so whoever must
    keep to a budget counts the result. Among equal runs the earliest wins. A sentence that is itself too long is cut
    between words around its first match.
    """
    if tokens <= most:
        return Excerpt(text, 0, len(text), 1.0)
    characters = max(1, int(len(text) * most / tokens))
    sentences = split_sentences(text)
    if not sentences:
        return _cut(text, 0, len(text), characters, weights)
    found = [frozenset(term for term in terms(sentence.text) if term in weights) for sentence in sentences]
    first, last, weight = _best_run(sentences, found, weights, characters)
    whole = _weight(frozenset().union(*found), weights)
    start, end = sentences[first].start, sentences[last].end
    if end - start > characters:
        return _cut(text, start, end, characters, weights)
    return Excerpt(text[start:end], start, end, _kept(weight, whole, end - start, len(text)))


def squeezed(text: str, most: int, count: Counter) -> str:
    """Return the longest beginning of a text, cut between words if there is one, that counts at most `most` tokens.

    The text itself when it fits; never empty while one character fits.
    """
    if count(text) <= most:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if count(text[:middle]) <= most:
            low = middle
        else:
            high = middle - 1
    part = text[:low]
    at_word = part if text[low : low + 1].isspace() else part.rpartition(" ")[0]
    shortened = at_word.rstrip() or part
    return shortened if count(shortened) <= most else part


def _best_run(
    sentences: tuple[Sentence, ...], found: list[frozenset[str]], weights: Mapping[str, float], characters: int
) -> tuple[int, int, float]:
    """First and last sentence of the best run that fits, and its weight; a single sentence always counts as a run."""
    best = (0, 0, -1.0)
    for first in range(len(sentences)):
        held: frozenset[str] = frozenset()
        for last in range(first, len(sentences)):
            if last > first and sentences[last].end - sentences[first].start > characters:
                break
            held |= found[last]
            weight = _weight(held, weights)
            # A longer run is as good as a shorter one only from the same start: it tells what follows the match.
            if weight > best[2] + 1e-9 or (first == best[0] and weight >= best[2] - 1e-9):
                best = (first, last, weight)
    return best


def _cut(text: str, start: int, end: int, characters: int, weights: Mapping[str, float]) -> Excerpt:
    """A piece of `text[start:end]` about `characters` long around the first word that matches."""
    place, at = start, start
    for word in text[start:end].split():
        at = text.index(word, at)
        if any(term in weights for term in terms(word)):
            place = at
            break
        at += len(word)
    begin = max(start, min(place - characters // 4, end - characters))
    if begin > start and (space := text.find(" ", begin, place)) >= 0:
        begin = space + 1
    stop = min(end, begin + characters)
    if stop < end and (space := text.rfind(" ", begin + 1, stop)) > 0:
        stop = space
    share = (stop - begin) / max(len(text), 1)
    return Excerpt(text[begin:stop], begin, stop, min(1.0, 1.5 * share))


def _weight(held: frozenset[str], weights: Mapping[str, float]) -> float:
    return sum(weights[term] for term in sorted(held))


def _kept(weight: float, whole: float, characters: int, of: int) -> float:
    """Half by what matches, half by length: an answer stands near the words of its question, but not always."""
    matched = weight / whole if whole > 0 else characters / max(of, 1)
    return 0.5 * matched + 0.5 * characters / max(of, 1)
