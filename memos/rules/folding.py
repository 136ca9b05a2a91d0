"""Derived memories and what they were made from: the source speaks for itself, and what was made of it stands back.

A fact read out of a turn says nothing the turn does not, so beside the turn it would only take a place. It is shown where
somebody wrote it directly, or where none of its sources can be shown. Kinds that a question asks for by its class (an
overview asks for episodes) are shown too, but never before the best of their sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from memos.rules.header import Kind

_FOLDED_ALWAYS = frozenset({Kind.TURN, Kind.PASSAGE, Kind.FACT})
Item = TypeVar("Item")


def beside_sources(granularities: Iterable[str]) -> list[str]:
    """The kinds that a question is answered with even beside what they were made from."""
    return [kind for kind in granularities if kind not in _FOLDED_ALWAYS]


@dataclass(frozen=True, slots=True)
class Origin:
    """A memory, its kind, and the memories it was made from: none for one that was written directly."""

    memory_id: UUID
    kind: str
    sources: Sequence[UUID]


def after_sources(ranked: Sequence[tuple[Item, Origin]]) -> list[Item]:
    """The same order, but each derived memory right after the best of its sources, if that is in the list at all."""
    places = {origin.memory_id: place for place, (_, origin) in enumerate(ranked)}
    keyed = []
    for place, (item, origin) in enumerate(ranked):
        best = min((places[source] for source in origin.sources if source in places), default=-1)
        keyed.append(((max(place, best), place if best <= place else len(ranked) + place), item))
    return [item for _, item in sorted(keyed, key=lambda one: one[0])]
