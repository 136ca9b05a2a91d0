"""Which memories of a cube say the same: candidates by vectors, decided by `memos.rules.duplicates`.

Only what is new since the last run is compared, with everything of its kind and speaker; a cube that has not changed
costs one query.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from memos.rules.duplicates import DEFAULT_POLICY, DuplicatePolicy, Group, Item, group_duplicates, similar_pairs
from memos.store import derivations, memories
from memos.store.cubes import View
from memos.store.derivations import Mergeable
from memos.store.transaction import Transaction

Pair = tuple[UUID, UUID, float]
# 1,024 x 100,000 cosines at a time are 400 MB; with this many they are 100.
BLOCK = 256


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a run compares: rows with the vectors of their texts, [n, d]."""

    rows: Sequence[Mergeable]
    vectors: NDArray[np.float32]


def candidates(tx: Transaction, view: View, since_version_id: int) -> Candidates:
    """Everything to compare, or nothing when nothing is new."""
    rows = derivations.mergeable(tx, view, since_version_id)
    vectors = derivations.vectors(tx, [row.content_id for row in rows]) if any(row.fresh for row in rows) else {}
    kept = [row for row in rows if row.content_id in vectors]
    if not kept:
        return Candidates((), np.zeros((0, 0), dtype=np.float32))
    return Candidates(kept, np.stack([vectors[row.content_id] for row in kept]))


def near(found: Candidates, policy: DuplicatePolicy = DEFAULT_POLICY) -> list[Pair]:
    """Pairs of one kind and speaker, at least one of them new, at or above the kind's cosine."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(found.rows):
        groups.setdefault((row.kind, row.speaker), []).append(place)
    pairs: list[Pair] = []
    for (kind, _), places in groups.items():
        threshold = policy.cosine.get(kind, policy.default_cosine)
        ids = [found.rows[place].memory_id for place in places]
        vectors = found.vectors[places]
        fresh = [index for index, place in enumerate(places) if found.rows[place].fresh]
        if len(fresh) == len(places):
            pairs += similar_pairs(ids, vectors, threshold, BLOCK)
        else:
            pairs += _across(ids, vectors, fresh, threshold)
    return pairs


def group(
    tx: Transaction, view: View, found: Candidates, pairs: Sequence[Pair], pin_tags: Collection[str]
) -> list[Group]:
    """Decide about the pairs. Texts that were not loaded are fetched now: only of those that have a neighbour."""
    paired = {memory_id for first, second, _ in pairs for memory_id in (first, second)}
    rows = [row for row in found.rows if row.memory_id in paired]
    absent = [row.memory_id for row in rows if row.text is None]
    texts = {memory_id: row.text or "" for memory_id, row in memories.get_many(tx, view, absent).items()}
    return group_duplicates([_item(row, texts, pin_tags) for row in rows], pairs)


def _across(ids: Sequence[UUID], vectors: NDArray[np.float32], fresh: Sequence[int], threshold: float) -> list[Pair]:
    """Pairs of a new memory with any other; two new ones once."""
    new = np.zeros(len(ids), dtype=bool)
    new[list(fresh)] = True
    pairs: list[Pair] = []
    for begin in range(0, len(fresh), BLOCK):
        block = list(fresh[begin : begin + BLOCK])
        scores = vectors[block] @ vectors.T
        for row, column in zip(*np.nonzero(scores >= threshold), strict=True):
            first, second = block[int(row)], int(column)
            if first != second and (not new[second] or first < second):
                pairs.append((ids[first], ids[second], float(scores[row, column])))
    return pairs


def _item(row: Mergeable, texts: dict[UUID, str], pin_tags: Iterable[str]) -> Item:
    return Item(
        row.memory_id,
        row.kind,
        row.text if row.text is not None else texts.get(row.memory_id, ""),
        row.created_at,
        speaker=row.speaker,
        trust=row.trust,
        recalls=row.recalls,
        pinned=any(tag in row.tags for tag in pin_tags),
        frozen=row.state == "frozen",
    )
