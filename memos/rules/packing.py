"""Context for a token budget: which memories, how much of each, in what order and in what words.

Every memory has a value, the odds that it answers the query relative to the best one's, less what better memories say
already; and a cost, its tokens. A token has a price too: packing stops where more text is unlikely to help, which on the
LoCoMo dev set costs half a point of the evidence and saves a quarter of the tokens. What remains is a knapsack, solved
exactly (see `knapsack`). Long memories compete with their own excerpts.

The text is ordered by session and time, not by score, so that two similar questions give texts with equal beginnings, which a
prefix cache can reuse, and a reader sees events in their order. Each session's day stands once above its lines.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from memos.rules.excerpts import excerpt, squeezed
from memos.rules.knapsack import Option, Packet, choose

Reason = Literal["budget", "unlikely", "redundant"]
Count = Callable[[str], int]
Starts = Callable[[str], Sequence[int]]
"""Where each token of a text begins: as many as `Count` counts, ascending."""

PRICE: Final = 1e-4
"""Value a token must bring, of the best memory's value."""
LONG_TOKENS: Final = 96
"""Memories longer than this are also offered as excerpts, of this length and of twice it."""
MOST_PIECES: Final = 64
_SAME_WORDS: Final = 0.85
_SIMILAR_WORDS: Final = 0.5
_FEWEST_WORDS: Final = 4
_CITATION_TOKENS: Final = 5
_ELLIPSIS: Final = "\u2026"


@dataclass(frozen=True, slots=True)
class Piece:
    """A memory that may be packed. `value` is positive; `tokens` counts `text`; `rank` is its place, best first.

    `heading` stands above all pieces with the same `group`; `order` sorts the text: by group first, then inside it.
    """

    rank: int
    value: float
    text: str
    tokens: int
    speaker: str | None
    heading: str
    group: tuple[str, ...]
    order: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class PackedPiece:
    """A piece in the text, as its `number`-th citation. `excerpt` is a part of its text, or all of it."""

    piece: Piece
    number: int
    excerpt: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Dropped:
    piece: Piece
    reason: Reason


@dataclass(frozen=True, slots=True)
class Packed:
    text: str
    tokens: int
    items: tuple[PackedPiece, ...]
    dropped: tuple[Dropped, ...]


def pack(
    pieces: Sequence[Piece],
    weights: Mapping[str, float],
    budget_tokens: int,
    count: Count,
    starts: Starts,
    *,
    price: float = PRICE,
) -> Packed:
    """Pack into at most `budget_tokens` tokens as `count` counts the whole text. Not empty while any piece is given
    and its first character fits.

    `weights` are the query's terms by how much each says; they place excerpts. The result does not depend on the
    order of `pieces`.
    """
    ranked = sorted(pieces, key=lambda piece: piece.rank)
    novel = novelty([piece.text for piece in ranked])
    dropped = [Dropped(piece, "redundant") for piece, share in zip(ranked, novel, strict=True) if share <= 0.0]
    kept = [(piece, float(share)) for piece, share in zip(ranked, novel, strict=True) if share > 0.0]
    offers = [_offers(piece, share, weights, budget_tokens, price) for piece, share in kept]
    chosen = _chosen([piece for piece, _ in kept], offers, budget_tokens, price, count)
    text, tokens, items = _fitted(chosen, budget_tokens, starts)
    if not items and ranked and budget_tokens > 0:
        text, tokens, items = _only(ranked[0], weights, budget_tokens, count)
    inside = {item.piece.rank for item in items}
    for (piece, _), options in zip(kept, offers, strict=True):
        if piece.rank not in inside:
            likely = any(option.value > 0 for option, _ in options)
            dropped.append(Dropped(piece, "budget" if likely else "unlikely"))
    dropped = [one for one in dropped if one.piece.rank not in inside]
    return Packed(text, tokens, tuple(items), tuple(sorted(dropped, key=lambda one: one.piece.rank)))


def novelty(texts: Sequence[str]) -> NDArray[np.float64]:
    """Return how much of each text, best first, the texts before it leave to say: 0 for a repeat, 1 for a new one.

    Measured by shared words (Jaccard). Below half of them shared nothing is taken off: one conversation shares words.
    """
    words = [frozenset(text.casefold().split()) for text in texts]
    places = {word: at for at, word in enumerate(sorted(frozenset().union(*words)))}
    held = np.zeros((len(texts), len(places)), dtype=np.float32)
    for row, bag in enumerate(words):
        held[row, [places[word] for word in bag]] = 1.0
    sizes = held.sum(axis=1)
    shared = held @ held.T
    jaccard = shared / np.maximum(sizes[:, None] + sizes[None, :] - shared, 1.0)
    # "Yes, I did" twice are two answers; only texts long enough to say something repeat each other.
    jaccard[:, sizes < _FEWEST_WORDS] = 0.0
    most = np.tril(jaccard, -1).max(axis=1, initial=0.0).astype(np.float64)
    left = 1.0 - np.clip((most - _SIMILAR_WORDS) / (_SAME_WORDS - _SIMILAR_WORDS), 0.0, 1.0)
    return np.asarray(np.round(left, 6), dtype=np.float64)


def _offers(
    piece: Piece, share: float, weights: Mapping[str, float], budget_tokens: int, price: float
) -> list[tuple[Option, str]]:
    """A piece whole and, if it is long, in excerpts; values are net of what their tokens cost."""
    frame = _CITATION_TOKENS + len((piece.speaker or "").split()) * 2
    value = piece.value * share
    found = [(_priced(value, piece.tokens + frame, price), piece.text)]
    if piece.tokens > min(LONG_TOKENS, budget_tokens // 2):
        # Cut as in a budget that halves: so a small budget gets small excerpts.
        sizes = {most for most in (2 * LONG_TOKENS, LONG_TOKENS, budget_tokens // 2) if 0 < most < piece.tokens}
        for most in sorted(sizes, reverse=True):
            part = excerpt(piece.text, weights, piece.tokens, most)
            length = 2 + -(-piece.tokens * len(part.text) // max(len(piece.text), 1))
            found.append((_priced(value * part.kept, length + frame, price), part.text))
    return found


def _priced(value: float, cost: int, price: float) -> Option:
    return Option(value - price * cost, max(cost, 1))


def _chosen(
    pieces: Sequence[Piece], offers: Sequence[list[tuple[Option, str]]], budget_tokens: int, price: float, count: Count
) -> list[tuple[Piece, str]]:
    """Solve the knapsack over sessions, items and excerpts."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for at, piece in enumerate(pieces):
        groups.setdefault(piece.group, []).append(at)
    packets = []
    for places in groups.values():
        overhead = count(_heading(pieces[places[0]]))
        items = tuple(tuple(option for option, _ in offers[at]) for at in places)
        packets.append(Packet(overhead, items, price * overhead))
    taken = choose(packets, budget_tokens)
    members = list(groups.values())
    return [(pieces[members[p][i]], offers[members[p][i]][option][1]) for (p, i), option in taken.items()]


def _fitted(
    chosen: Sequence[tuple[Piece, str]], budget_tokens: int, starts: Starts
) -> tuple[str, int, list[PackedPiece]]:
    """Write it down and count exactly. Estimates may err by a token here and there: then the worst piece goes.

    The whole is tokenised once, and where its tokens begin tells how many are each line's.
    """
    left = sorted(chosen, key=lambda one: one[0].rank)
    while left:
        text, lines = _written(left)
        tokens = starts(text)
        if len(tokens) <= budget_tokens:
            return (
                text,
                len(tokens),
                [
                    PackedPiece(
                        line.piece, number, line.part, bisect_left(tokens, line.end) - bisect_left(tokens, line.start)
                    )
                    for number, line in enumerate(lines, 1)
                ],
            )
        left.pop()
    return "", 0, []


@dataclass(frozen=True, slots=True)
class _Line:
    """What was written of a piece, and where in the text its citation stands."""

    piece: Piece
    part: str
    start: int
    end: int


def _written(chosen: Sequence[tuple[Piece, str]]) -> tuple[str, list[_Line]]:
    written: list[str] = []
    cited: list[_Line] = []
    heading, place = None, 0
    for number, (piece, part) in enumerate(sorted(chosen, key=lambda one: (one[0].order, one[0].rank)), 1):
        if piece.heading != heading:
            heading = piece.heading
            written.append(_heading(piece))
            place += len(written[-1]) + 1
        written.append(_line(number, piece, part))
        cited.append(_Line(piece, part, place, place + len(written[-1])))
        place = cited[-1].end + 1
    return "\n".join(written), cited


def _heading(piece: Piece) -> str:
    return f"# {piece.heading}"


def _line(number: int, piece: Piece, part: str) -> str:
    body = _set_in(part.strip())
    if part != piece.text:
        start = piece.text.find(part)
        body = f"{_ELLIPSIS if start > 0 else ''}{body}{_ELLIPSIS if start + len(part) < len(piece.text) else ''}"
    return f"[{number}] {piece.speaker}: {body}" if piece.speaker else f"[{number}] {body}"


def _set_in(body: str) -> str:
    """Further lines begin with spaces, so that no memory can pass for a heading or a citation of its own."""
    return "\n  ".join(body.splitlines())


def _only(
    piece: Piece, weights: Mapping[str, float], budget_tokens: int, count: Count
) -> tuple[str, int, list[PackedPiece]]:
    """The best piece in a budget too small for anything: as much of it as fits, without its frame if need be."""
    part = excerpt(piece.text, weights, max(piece.tokens, 1), budget_tokens).text
    for framed in (f"{_heading(piece)}\n{_line(1, piece, '')}", _line(1, piece, ""), ""):
        room = budget_tokens - (count(framed) if framed else 0)
        body = squeezed(part.strip(), room, count) if room > 0 else ""
        text = f"{framed.rstrip()} {_set_in(body)}" if framed else _set_in(body)
        if body and count(text) <= budget_tokens:
            return text, count(text), [PackedPiece(piece, 1, body, count(text))]
    return "", 0, []
