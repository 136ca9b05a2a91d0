"""How long memories are kept: classes of a cube's policy, by kind, tag, label and age.

    "retention": [{"name": "chat", "kinds": ["turn"], "max_age_days": 365, "then": "erase"},
                  {"name": "personal", "sensitivity": ["personal", "secret"], "max_age_days": 90, "then": "expire"}]

A class holds what fits every part it names; the age counts from when a memory was first written here, so that nobody
keeps something longer by dating it later. What several classes hold goes by the shortest of them, and of equals by the
one that erases.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from memos.errors import Invalid
from memos.rules.header import Kind, Sensitivity

WHERE: Final = ("body", "policy", "retention")
ERASE, EXPIRE = "erase", "expire"
MOST_CLASSES: Final = 32
MOST_DAYS: Final = 36_500
_PARTS: Final = ("name", "kinds", "tags", "sensitivity", "max_age_days", "then")


@dataclass(frozen=True, slots=True)
class Class:
    name: str
    max_age: timedelta
    then: str = EXPIRE
    kinds: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    sensitivity: frozenset[str] = frozenset()

    def holds(self, kind: str, tags: Collection[str], sensitivity: str) -> bool:
        return (
            (not self.kinds or kind in self.kinds)
            and (not self.tags or not self.tags.isdisjoint(tags))
            and (not self.sensitivity or sensitivity in self.sensitivity)
        )


def due(
    classes: Sequence[Class], *, kind: str, tags: Collection[str], sensitivity: str, written_at: datetime, now: datetime
) -> Class | None:
    """The class by which a memory's time is over; None while it may stay."""
    holding = [one for one in classes if one.holds(kind, tags, sensitivity)]
    shortest = min(holding, key=lambda one: (one.max_age, one.then != ERASE), default=None)
    return shortest if shortest is not None and written_at + shortest.max_age <= now else None


def parse(given: object) -> tuple[Class, ...]:
    """Raise `Invalid`, with the place, for anything that is no list of classes."""
    if not isinstance(given, list) or len(given) > MOST_CLASSES:
        raise _invalid(f"must be a list of at most {MOST_CLASSES} classes")
    return tuple(_class(one, str(place)) for place, one in enumerate(given))


def _class(given: object, place: str) -> Class:
    if not isinstance(given, Mapping) or set(given) - set(_PARTS):
        raise _invalid(f"must be an object with any of {', '.join(_PARTS)}", place)
    days, then, name = given.get("max_age_days"), given.get("then", EXPIRE), given.get("name", "")
    whole = isinstance(days, int | float) and not isinstance(days, bool)
    if not whole or not 0 < float(days) <= MOST_DAYS:  # type: ignore[arg-type]
        raise _invalid(f"must be a number of days above 0, at most {MOST_DAYS}", place, "max_age_days")
    if then not in (ERASE, EXPIRE):
        raise _invalid("must be 'erase' or 'expire'", place, "then")
    if not isinstance(name, str) or len(name) > 100:
        raise _invalid("must be a name of at most 100 characters", place, "name")
    return Class(
        name=name or place,
        max_age=timedelta(days=float(days)),  # type: ignore[arg-type]
        then=then,
        kinds=_words(given, "kinds", place, {kind.value for kind in Kind}),
        tags=_words(given, "tags", place, None),
        sensitivity=_words(given, "sensitivity", place, {label.value for label in Sensitivity}),
    )


def _words(given: Mapping[str, Any], part: str, place: str, known: Collection[str] | None) -> frozenset[str]:
    words = given.get(part, [])
    fine = isinstance(words, list) and len(words) <= 32 and all(isinstance(w, str) and w for w in words)
    if not fine or (known is not None and not set(words) <= set(known)):
        raise _invalid(
            "must be a list of words" if known is None else f"must be any of {', '.join(sorted(known))}", place, part
        )
    return frozenset(words)


def _invalid(problem: str, *place: str) -> Invalid:
    return Invalid(f"policy.{'.'.join(('retention', *place))} {problem}", where=[*WHERE, *place])
