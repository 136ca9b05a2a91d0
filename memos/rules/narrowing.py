"""Narrowing: what every memory that a filter lets through must have, as far as lists of it are kept.

A filter that lets few through must not be left to the vector graph: a walk through it gives up after so many rows, and the
nearest of those few may stand behind them. Where a list tells the few, they are compared one by one, exactly; where it tells
many, the graph finds enough of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isqrt
from typing import Any, Final

from memos.rules.filters import METADATA, Condition, Filter, Group, Not, Type

LISTED: Final = frozenset({"session_id", "name", "tags"})
"""Fields of which lists are kept, beside every string, number and boolean of `metadata`."""

_EQUALLY_LONG: Final = 60
"""n * n / N where scoring n of N memories takes as long as finding them by the indexes; see `few`."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """A memory must have one of these: pairs of a field and a JSON scalar."""

    values: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A memory must be created in `begin <= created_at <= until`; None where a side is open."""

    begin: datetime | None
    until: datetime | None


Must = OneOf | Span


def necessary(tree: Filter | None) -> tuple[Must, ...]:
    """Conditions that all matches fulfil, and others may too: none where no list is kept of what is asked."""
    match tree:
        case Condition():
            found = _of_condition(tree)
            return () if found is None else (found,)
        case Group(operator="and"):
            return _together([must for part in tree.parts for must in necessary(part)])
        case Group():
            return _either([necessary(part) for part in tree.parts])
        case None | Not():
            return ()


def told(tree: Filter | None) -> bool:
    """Whether the conditions of `necessary` are all that the filter asks, but for the edges of a stretch of time."""
    match tree:
        case Condition():
            return _of_condition(tree) is not None
        case Group(operator="and"):
            return all(told(part) for part in tree.parts)
        case Group():
            parts = [necessary(part) for part in tree.parts]
            return all(told(part) for part in tree.parts) and all(
                len(part) == 1 and isinstance(part[0], OneOf) for part in parts
            )
        case None | Not():
            return False


def few(memories: int) -> int:
    """How many of so many memories are compared one by one rather than found by the indexes.

    Comparing n of N takes time in proportion to n; the indexes must pass N / n memories for each that fits, so their time is in
    proportion to N / n. Measured, both take equally long at about 800 of 10,000 and 2,500 of 100,000.
    """
    return isqrt(_EQUALLY_LONG * memories)


def fewest(counts: Sequence[int], most: int) -> int | None:
    """The place of the smallest of some lists, None when all of them hold more than `most`."""
    place = min(range(len(counts)), key=counts.__getitem__, default=None)
    return None if place is None or counts[place] > most else place


def _of_condition(one: Condition) -> Must | None:
    if one.field == "created_at":
        return _span(one)
    if one.field not in LISTED and not one.field.startswith(METADATA):
        return None
    if one.operator == "in":
        wanted = tuple(one.value)
    elif one.operator == "eq" or (one.operator == "contains" and one.type is Type.WORDS):
        wanted = (one.value,)
    else:
        return None
    # No list tells who has nothing, or null.
    return None if any(value is None for value in wanted) else OneOf(tuple((one.field, value) for value in wanted))


def _span(one: Condition) -> Span | None:
    match one.operator:
        case "eq":
            return Span(one.value, one.value)
        case "gt" | "gte":
            return Span(one.value, None)
        case "lt" | "lte":
            return Span(None, one.value)
    return None


def _together(musts: Sequence[Must]) -> tuple[Must, ...]:
    """All of them; several stretches of time are the one they share."""
    listed = [must for must in musts if isinstance(must, OneOf)]
    spans = [must for must in musts if isinstance(must, Span)]
    if not spans:
        return tuple(listed)
    begins = [span.begin for span in spans if span.begin is not None]
    untils = [span.until for span in spans if span.until is not None]
    return (*listed, Span(max(begins, default=None), min(untils, default=None)))


def _either(parts: Sequence[tuple[Must, ...]]) -> tuple[Must, ...]:
    """One condition that holds whichever part does, made of the first list each part names; none if one names no list."""
    firsts = [next((must for must in part if isinstance(must, OneOf)), None) for part in parts]
    if any(first is None for first in firsts):
        return ()
    return (OneOf(tuple(pair for first in firsts if first is not None for pair in first.values)),)
