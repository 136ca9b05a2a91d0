"""Probes: after an erasure, and before it is committed, every door is tried for what must be gone.

Each probe asks as a reader would, by the same statements, and says how often it asked and how often it found something. A
single find undoes the erasure: a receipt that is not true is worse than none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from memos.rules.header import Kind
from memos.store import cubes, erasure, found, memories, search
from memos.store.cubes import Branch, Cube, View
from memos.store.erasure import ErasedText, ErasedVersion
from memos.store.search import Depth
from memos.store.transaction import Transaction

Item = TypeVar("Item")

# Searches cost more than looking; more of them would not find what these miss.
MOST_SEARCHED = 25
MOST_PAST_STATES = 10
_DEPTH = Depth(per_channel=50, postings=500, neighbours=1, rim=50, whole=1_000)


@dataclass(frozen=True, slots=True)
class Taken:
    """What an erasure took, as it was before."""

    memory_ids: Collection[UUID]
    versions: Sequence[ErasedVersion]
    texts: Sequence[ErasedText]
    dedup_keys: Sequence[bytes]


@dataclass(slots=True)
class Probe:
    """One way in: how often it was tried, and what it found."""

    asked: int = 0
    found: int = 0

    def add(self, found: int) -> None:
        self.asked += 1
        self.found += found


def run(tx: Transaction, cube: Cube, taken: Taken, now: datetime) -> dict[str, Probe]:
    """Try every door, on every branch and in the past."""
    doors = {
        name: Probe()
        for name in ("id", "list_and_export", "history", "exact_text", "vector", "lexical", "as_of_revision")
    }
    for memory_id in list(taken.memory_ids)[:MOST_SEARCHED]:
        rows = memories.history(tx, cube.id, memory_id, limit=1_000, before=None)
        doors["history"].add(sum(_speaks(row) for row in rows))
    known_again = memories.by_dedup_key(tx, cube.id, taken.dedup_keys)
    doors["exact_text"].add(sum(memory_id in taken.memory_ids for memory_id in known_again.values()))
    branches = cubes.list_branches(tx, cube.id)
    for branch in branches:
        view = cubes.view(tx, str(cube.id), branch.name)
        doors["id"].add(len(memories.get_many(tx, view, taken.memory_ids)))
        doors["list_and_export"].add(
            len(erasure.matching(tx, view, "v.memory_id = ANY(:ids)", {"ids": list(taken.memory_ids)}))
        )
        for text in _some(taken.texts, MOST_SEARCHED):
            doors["vector"].add(_searched(tx, view, taken, text, now, words=False))
            doors["lexical"].add(_searched(tx, view, taken, text, now, words=True))
    for view in _past(tx, cube, branches, taken.versions):
        doors["as_of_revision"].add(len(memories.get_many(tx, view, taken.memory_ids)))
        for text in _some(taken.texts, 1):
            doors["as_of_revision"].add(_searched(tx, view, taken, text, now, words=True))
    for table, count in erasure.leftovers(tx, cube.id, taken.memory_ids, [text.id for text in taken.texts]).items():
        doors[f"stored_{table}"] = Probe(1, count)
    return doors


def _speaks(row: memories.Version) -> bool:
    """Whether a version of the history still says anything."""
    told = (row.text, row.external_id, row.session_id, row.name, row.title, row.source, row.salt, row.fingerprint)
    return row.erased_at is None or bool(row.tags or row.metadata) or any(part is not None for part in told)


def _searched(tx: Transaction, view: View, taken: Taken, text: ErasedText, now: datetime, *, words: bool) -> int:
    """How many of what was taken a search for the very text, by its own vector (and words), still finds."""
    terms = text.terms[:50] if words else []
    request = search.Request(
        embedding=text.embedding.to_numpy(),
        terms=terms,
        documents=search.document_frequencies(tx, view, terms),
        names=frozenset(),
        depth=_DEPTH,
        as_of=now,
        kinds=[kind.value for kind in Kind],
    )
    pool, _ = search.candidates(tx, view, request)
    rows = found.spell_out(tx, pool.version_id.tolist())
    return sum(row.memory_id in taken.memory_ids for row in rows.values())


def _past(tx: Transaction, cube: Cube, branches: Sequence[Branch], versions: Sequence[ErasedVersion]) -> Iterator[View]:
    """Branches as they were when some of the versions were written."""
    names = {branch.id: branch.name for branch in branches}
    moments = sorted({(v.branch_id, v.from_revision) for v in versions if v.branch_id in names})
    for branch_id, number in _some(moments, MOST_PAST_STATES):
        yield cubes.view(tx, str(cube.id), names[branch_id], number)


def _some(items: Sequence[Item], most: int) -> Sequence[Item]:
    """At most that many, spread evenly."""
    step = max(1, -(-len(items) // most))
    return items[::step]
