"""The closed filter grammar: parsed into a small tree, or refused with the place and the reason.

    filter    = {"and": [filter, ...]} | {"or": [filter, ...]} | {"not": filter} | {field: {operator: value, ...}, ...}
    operator  = eq | ne | in | gt | gte | lt | lte | contains

Nothing is ignored: an unknown field, an operator a field does not know, or a value of the wrong type is an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from memos.errors import Invalid

MAX_DEPTH = 8
MAX_CONDITIONS = 64
MAX_LIST = 1_000
METADATA = "metadata."


class Type(StrEnum):
    WORD = "word"
    WORDS = "words"
    TIME = "time"
    NUMBER = "number"
    JSON = "json"


FIELDS: Mapping[str, Type] = {
    "kind": Type.WORD,
    "state": Type.WORD,
    "session_id": Type.WORD,
    "external_id": Type.WORD,
    "name": Type.WORD,
    "role": Type.WORD,
    "sensitivity": Type.WORD,
    "origin": Type.WORD,
    "tags": Type.WORDS,
    "created_at": Type.TIME,
    "valid_from": Type.TIME,
    "valid_to": Type.TIME,
    "trust": Type.NUMBER,
    "priority": Type.NUMBER,
}
ORDERED = frozenset({"gt", "gte", "lt", "lte"})
OPERATORS: Mapping[Type, frozenset[str]] = {
    Type.WORD: frozenset({"eq", "ne", "in", "contains"}),
    Type.WORDS: frozenset({"contains", "eq", "ne", "in"}),
    Type.TIME: frozenset({"eq", "ne"}) | ORDERED,
    Type.NUMBER: frozenset({"eq", "ne", "in"}) | ORDERED,
    Type.JSON: frozenset({"eq", "ne", "in", "contains"}) | ORDERED,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """`value` is parsed: a time is an aware datetime, a list a tuple."""

    field: str
    type: Type
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


@dataclass(frozen=True, slots=True)
class Group:
    operator: Literal["and", "or"]
    parts: tuple[Filter, ...]


Filter = Condition | Not | Group


def parse(raw: object) -> Filter:
    """The tree of a filter as it came from JSON. Raises `Invalid` with the path of what is wrong."""
    budget = [MAX_CONDITIONS]
    return _parse(raw, ["filter"], 0, budget)


def mentions(tree: Filter | None, field: str) -> bool:
    """Whether a filter says anything about a field."""
    match tree:
        case None:
            return False
        case Condition():
            return tree.field == field
        case Not():
            return mentions(tree.part, field)
        case Group():
            return any(mentions(part, field) for part in tree.parts)


def _parse(raw: object, where: list[str | int], depth: int, budget: list[int]) -> Filter:
    if not isinstance(raw, Mapping) or not raw:
        raise Invalid("a filter is a non-empty object", where=where)
    if depth > MAX_DEPTH:
        raise Invalid(f"a filter nests at most {MAX_DEPTH} deep", where=where)
    parts: list[Filter] = []
    for name, body in raw.items():
        here = [*where, name]
        if name in ("and", "or"):
            if not isinstance(body, list) or not body:
                raise Invalid(f"'{name}' takes a non-empty list of filters", where=here)
            inner = tuple(_parse(part, [*here, i], depth + 1, budget) for i, part in enumerate(body))
            parts.append(Group(name, inner))
        elif name == "not":
            parts.append(Not(_parse(body, here, depth + 1, budget)))
        else:
            parts += _conditions(name, body, here, budget)
    return parts[0] if len(parts) == 1 else Group("and", tuple(parts))


def _conditions(name: str, body: object, where: list[str | int], budget: list[int]) -> list[Filter]:
    kind = Type.JSON if name.startswith(METADATA) and len(name) > len(METADATA) else FIELDS.get(name)
    if kind is None:
        known = ", ".join([*FIELDS, "metadata.<key>"])
        raise Invalid(f"unknown field {name!r}; known: {known}; or 'and', 'or', 'not'", where=where)
    if not isinstance(body, Mapping) or not body:
        raise Invalid(f"write a condition as {{operator: value}}, with one of: {_names(kind)}", where=where)
    found: list[Filter] = []
    for operator, value in body.items():
        here = [*where, operator]
        budget[0] -= 1
        if budget[0] < 0:
            raise Invalid(f"a filter holds at most {MAX_CONDITIONS} conditions", where=here)
        if operator not in OPERATORS[kind]:
            raise Invalid(f"unknown operator {operator!r} for {name}; known: {_names(kind)}", where=here)
        found.append(Condition(name, kind, operator, _value(kind, operator, value, here)))
    return found


def _value(kind: Type, operator: str, value: object, where: list[str | int]) -> object:
    if operator == "in":
        if not isinstance(value, list) or not value or len(value) > MAX_LIST:
            raise Invalid(f"'in' takes a list of 1 to {MAX_LIST} values", where=where)
        return tuple(_scalar(kind, item, [*where, i]) for i, item in enumerate(value))
    if kind is Type.JSON and operator in ORDERED and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise Invalid("metadata is ordered by numbers only", where=where)
    return _scalar(kind, value, where)


def _scalar(kind: Type, value: object, where: list[str | int]) -> object:
    match kind:
        case Type.WORD | Type.WORDS if isinstance(value, str) and _storable(value):
            return value
        case Type.TIME if isinstance(value, str):
            return _time(value, where)
        case Type.NUMBER if isinstance(value, int | float) and not isinstance(value, bool) and _finite(value):
            return float(value)
        case Type.JSON if isinstance(value, str) and _storable(value):
            return value
        case Type.JSON if isinstance(value, bool) or value is None:
            return value
        case Type.JSON if isinstance(value, int | float) and _finite(value):
            return value
    expected = {
        Type.WORD: "a string", Type.WORDS: "a string", Type.TIME: "an RFC 3339 time", Type.NUMBER: "a number",
        Type.JSON: "a string, number, boolean or null",
    }[kind]  # fmt: skip
    raise Invalid(f"expected {expected}", where=where)


def _time(value: str, where: list[str | int]) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Invalid("expected an RFC 3339 time with its zone, such as 2026-01-31T12:00:00Z", where=where)
    return moment


def _finite(value: float) -> bool:
    return math.isfinite(value) and abs(value) < 1e300


def _storable(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def _names(kind: Type) -> str:
    return ", ".join(sorted(OPERATORS[kind]))
