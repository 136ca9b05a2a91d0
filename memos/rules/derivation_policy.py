"""What a cube's policy says about the memories made in the background; absent parts mean the defaults here.

    {"extraction":    {"enabled": true, "admission": 0.3, "llm": true},
     "consolidation": {"enabled": true, "min_coverage": 0.2, "llm": true, "merge": true, "episodes": true,
                       "profile": true, "procedures": true}}

A policy is the owner's to write, so a part that makes no sense is refused when it is set and read as its default where
it is met anyway: background work must not stop for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from memos.errors import Invalid
from memos.rules.admission import DEFAULT_THRESHOLD


@dataclass(frozen=True, slots=True)
class ExtractionPolicy:
    """`admission` is the score from 0 to 1 below which a statement is not stored; `llm` lets a configured model read."""

    enabled: bool = True
    admission: float = DEFAULT_THRESHOLD
    llm: bool = True

    @classmethod
    def of(cls, policy: Mapping[str, Any]) -> Self:
        return cls(**_sane(cls, policy.get("extraction")))


@dataclass(frozen=True, slots=True)
class ConsolidationPolicy:
    """Whether the clock starts runs, and which parts a run has. `min_coverage` is the share of the facts of a topic, 0
    to 1, that its summary must hold."""

    enabled: bool = True
    min_coverage: float = 0.2
    llm: bool = True
    merge: bool = True
    episodes: bool = True
    profile: bool = True
    procedures: bool = True

    @classmethod
    def of(cls, policy: Mapping[str, Any]) -> Self:
        return cls(**_sane(cls, policy.get("consolidation")))


def check(policy: Mapping[str, Any]) -> None:
    """Raise `Invalid` for an unknown or impossible part of `extraction` or `consolidation`; other keys are not ours."""
    for section, shape in (("extraction", ExtractionPolicy), ("consolidation", ConsolidationPolicy)):
        given = policy.get(section)
        if given is None:
            continue
        if not isinstance(given, Mapping):
            raise Invalid(f"policy.{section} must be an object", where=["body", "policy", section])
        for name, value in given.items():
            if not _fits(shape, name, value):
                raise Invalid(
                    f"policy.{section}.{name} is unknown or out of range", where=["body", "policy", section, str(name)]
                )


def _sane(shape: type[ExtractionPolicy] | type[ConsolidationPolicy], given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {}
    return {str(name): value for name, value in given.items() if _fits(shape, name, value)}


def _fits(shape: type[ExtractionPolicy] | type[ConsolidationPolicy], name: object, value: object) -> bool:
    defaults = {field.name: field.default for field in fields(shape)}
    if name not in defaults:
        return False
    if isinstance(defaults[str(name)], bool):
        return isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
