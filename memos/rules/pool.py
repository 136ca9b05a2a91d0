"""The candidates of one query as columns: what ranking reads, in arrays, one place per candidate.

A query looks at hundreds of candidates and shows ten. As objects, making them took longer than ranking them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

NOWHERE: Final = -1
"""The ordinal of what has no place in a session."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Columns of equal length n.

    `counts` [n, terms asked for] says how often each term stands in the text. `dense` is the cosine with the query, NaN
    where it was not computed. `session` numbers sessions: equal means the same one, 0 none. `ordinal` is the place in it.
    `spoken` is 1 where somebody whom the query names speaks, -1 where somebody else does, 0 where nobody is named as the
    speaker; `in_role` the same for the role whose words the query is after. `asks`: the text holds a question. `strength`
    and `trust` run from 0 to 1. `folded` candidates have a source at hand.
    """

    version_id: Integers
    turn: Booleans
    session: Integers
    ordinal: Integers
    spoken: Integers
    in_role: Integers
    dense: Floats
    counts: Floats
    length: Floats
    asks: Booleans
    trust: Floats
    strength: Floats
    superseded: Booleans
    folded: Booleans

    def __len__(self) -> int:
        return len(self.version_id)

    def take(self, places: NDArray[np.intp]) -> Pool:
        """The candidates at some places, in that order."""
        return Pool(**{field.name: getattr(self, field.name)[places] for field in fields(self)})

    def sorted(self) -> Pool:
        """By version id, each version once: equal sets of candidates give equal columns."""
        _, places = np.unique(self.version_id, return_index=True)
        return self if len(places) == len(self) and bool((np.diff(places) == 1).all()) else self.take(places)


def empty(terms: int) -> Pool:
    none = np.zeros(0)
    whole, truth = none.astype(np.int64), none.astype(np.bool_)
    return Pool(
        whole, truth, whole, whole, whole, whole, none, np.zeros((0, terms)), none, truth, none, none, truth, truth
    )  # fmt: skip


def joined(pools: Sequence[Pool]) -> Pool:
    """The candidates of several cubes as one pool. Sessions of two cubes may share a number and nothing else."""
    if len(pools) == 1:
        return pools[0]
    return concatenated([replace(pool, session=_apart(pool.session, place)) for place, pool in enumerate(pools)])


def concatenated(pools: Sequence[Pool]) -> Pool:
    """Candidates of one cube, found in several ways."""
    columns = {field.name: np.concatenate([getattr(pool, field.name) for pool in pools]) for field in fields(Pool)}
    return Pool(**columns)


def _apart(session: Integers, place: int) -> Integers:
    shifted = session.view(np.uint64) * np.uint64(2 * place + 1) + np.uint64(place)
    return np.where(session == 0, 0, shifted.view(np.int64))
