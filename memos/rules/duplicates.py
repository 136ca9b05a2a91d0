"""Near-duplicate memories: which may be folded into which without losing anything.

Cosine alone is not enough: at 0.85 it refuses 12 % of distinct conversation turns, because "I love my new job" and
"I love my old job" are neighbours in any embedding. A memory is folded only when all of this holds against its own
survivor, never through a chain of neighbours:
- same kind and same speaker, and the survivor is trusted at least as much;
- cosine at or above the kind's threshold, and most of its words among the survivor's (and the other way round);
- every number and every name it holds is also in the survivor, and both are equally negated;
- no "yesterday" or "last week" that means another day because the two were said on different days.

Survivors are chosen first, best first, and every other memory joins the first survivor it duplicates. So each group
has exactly one survivor, and the outcome does not depend on the order in which memories or pairs are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from memos.rules.grounding import names_in, numbers_in
from memos.rules.lexical import terms
from memos.rules.negation import is_negated
from memos.rules.times import has_relative_time


@dataclass(frozen=True, slots=True)
class Item:
    """A memory that may be a duplicate. `trust` runs from 0 to 1.

    Pinned ones are never folded away, frozen ones take no part at all: nothing may be merged while frozen.
    """

    memory_id: UUID
    kind: str
    text: str
    created_at: datetime
    speaker: str = ""
    trust: float = 1.0
    recalls: int = 0
    pinned: bool = False
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class DuplicatePolicy:
    version: str = "duplicates-1"
    cosine: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({"turn": 0.97, "passage": 0.95, "episode": 0.95})
    )
    """Threshold by kind; raw turns are evidence, so only all but identical ones are folded."""
    default_cosine: float = 0.92
    overlap: float = 0.8
    """Share of the folded memory's terms that its survivor must hold."""
    reverse_overlap: float = 0.6
    """Share of the survivor's terms that the folded memory must hold: a long text does not swallow short ones."""


DEFAULT_POLICY: Final = DuplicatePolicy()


@dataclass(frozen=True, slots=True)
class Group:
    """One survivor and at least one memory folded into it; `cosines` belong to `folded_ids` one by one."""

    survivor_id: UUID
    folded_ids: tuple[UUID, ...]
    cosines: tuple[float, ...]


def group_duplicates(
    items: Sequence[Item],
    similar: Iterable[tuple[UUID, UUID, float]],
    policy: DuplicatePolicy = DEFAULT_POLICY,
) -> list[Group]:
    """Group near-duplicates given candidate pairs (id, id, cosine), sorted by survivor id.

    Pairs may come from an index and in any order; pairs that name an unknown id are ignored, so that a store may pass
    neighbours it did not lock.
    """
    by_id = {item.memory_id: item for item in items}
    cosines = _neighbours(by_id, similar)
    prints = {memory_id: _fingerprint(by_id[memory_id]) for memory_id in cosines}
    folded: dict[UUID, list[tuple[UUID, float]]] = {}
    survivors: dict[UUID, int] = {}
    for item in sorted((by_id[memory_id] for memory_id in cosines), key=_preference):
        home = _home(item, cosines[item.memory_id], survivors, by_id, prints, policy)
        if home is None:
            survivors[item.memory_id] = len(survivors)
        else:
            folded.setdefault(home, []).append((item.memory_id, cosines[item.memory_id][home]))
    return [
        Group(survivor, tuple(name for name, _ in sorted(gone)), tuple(value for _, value in sorted(gone)))
        for survivor, gone in sorted(folded.items())
    ]


def similar_pairs(
    ids: Sequence[UUID], vectors: NDArray[np.float32], threshold: float, block: int = 1024
) -> list[tuple[UUID, UUID, float]]:
    """All pairs at or above a cosine, from unit vectors [n, d], in blocks so that memory stays at block x n floats."""
    if vectors.ndim != 2 or len(ids) != vectors.shape[0]:
        raise ValueError(f"expected one row of vectors per id, got {len(ids)} ids and shape {vectors.shape}")
    pairs: list[tuple[UUID, UUID, float]] = []
    for begin in range(0, len(ids), block):
        scores = vectors[begin : begin + block] @ vectors[begin:].T
        rows, columns = np.nonzero(scores >= threshold)
        ahead = columns > rows
        pairs.extend(
            (ids[begin + row], ids[begin + column], float(scores[row, column]))
            for row, column in zip(rows[ahead].tolist(), columns[ahead].tolist(), strict=True)
        )
    return pairs


@dataclass(frozen=True, slots=True)
class _Fingerprint:
    terms: frozenset[str]
    details: frozenset[str]
    negated: bool
    relative_time: bool


def _fingerprint(item: Item) -> _Fingerprint:
    return _Fingerprint(
        terms=frozenset(terms(item.text)),
        details=frozenset(numbers_in(item.text)) | frozenset(names_in(item.text)),
        negated=is_negated(item.text),
        relative_time=has_relative_time(item.text),
    )


def _neighbours(
    by_id: Mapping[UUID, Item], similar: Iterable[tuple[UUID, UUID, float]]
) -> dict[UUID, dict[UUID, float]]:
    cosines: dict[UUID, dict[UUID, float]] = {}
    for first, second, cosine in similar:
        if first == second or first not in by_id or second not in by_id:
            continue
        if by_id[first].frozen or by_id[second].frozen:
            continue
        if by_id[first].kind != by_id[second].kind or by_id[first].speaker != by_id[second].speaker:
            continue
        for one, other in ((first, second), (second, first)):
            known = cosines.setdefault(one, {})
            known[other] = max(cosine, known.get(other, -1.0))
    return cosines


def _preference(item: Item) -> tuple[bool, float, int, int, datetime, UUID]:
    """Sort key, best survivor first: protected, trusted, the fuller text, the more used, the older."""
    return (
        not item.pinned,
        -item.trust,
        -len(item.text),
        -item.recalls,
        item.created_at,
        item.memory_id,
    )


def _home(
    item: Item,
    cosines: Mapping[UUID, float],
    survivors: Mapping[UUID, int],
    by_id: Mapping[UUID, Item],
    prints: Mapping[UUID, _Fingerprint],
    policy: DuplicatePolicy,
) -> UUID | None:
    if item.pinned:
        return None
    threshold = policy.cosine.get(item.kind, policy.default_cosine)
    for other in sorted(cosines, key=lambda name: (-cosines[name], survivors.get(name, -1), name)):
        if cosines[other] < threshold:
            break
        if other in survivors and _same_content(item, by_id[other], prints, policy):
            return other
    return None


def _same_content(item: Item, survivor: Item, prints: Mapping[UUID, _Fingerprint], policy: DuplicatePolicy) -> bool:
    mine, theirs = prints[item.memory_id], prints[survivor.memory_id]
    if survivor.trust < item.trust or mine.negated != theirs.negated or not mine.details <= theirs.details:
        return False
    if mine.relative_time and item.created_at.date() != survivor.created_at.date():
        return False
    shared = len(mine.terms & theirs.terms)
    return shared >= policy.overlap * len(mine.terms) and shared >= policy.reverse_overlap * len(theirs.terms) > 0
