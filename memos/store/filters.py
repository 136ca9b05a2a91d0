"""A filter tree as SQL over a version `v`: constants from here, values always as parameters."""

from __future__ import annotations

import json

from memos.rules.filters import METADATA, ORDERED, Condition, Filter, Group, Not, Type

_COMPARE = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_CAST = {Type.WORD: "text", Type.TIME: "timestamptz", Type.NUMBER: "double precision"}


def compile_filter(tree: Filter | None) -> tuple[str, dict[str, object]]:
    """(condition, parameters); `true` for no filter. A missing value fails every condition but `ne` and `not`."""
    parameters: dict[str, object] = {}
    return ("true" if tree is None else _compile(tree, parameters)), parameters


def _compile(tree: Filter, parameters: dict[str, object]) -> str:
    match tree:
        case Group():
            return "(" + f" {tree.operator.upper()} ".join(_compile(part, parameters) for part in tree.parts) + ")"
        case Not():
            return f"(NOT {_compile(tree.part, parameters)})"
        case Condition():
            return f"coalesce({_condition(tree, parameters)}, {'true' if tree.operator == 'ne' else 'false'})"


def _condition(condition: Condition, parameters: dict[str, object]) -> str:
    value = condition.value
    if condition.type is Type.JSON:
        return _metadata(condition, parameters)
    if condition.type is Type.WORDS:
        words = list(value) if condition.operator == "in" else [value]
        operator = "&&" if condition.operator == "in" else "@>"
        found = f"v.tags {operator} CAST({_bind(words, parameters)} AS text[])"
        return f"NOT ({found})" if condition.operator == "ne" else found
    column, cast = f"v.{condition.field}", _CAST[condition.type]
    if condition.operator == "in":
        return f"{column} = ANY(CAST({_bind(list(value), parameters)} AS {cast}[]))"
    if condition.operator == "contains":
        return f"position(CAST({_bind(value, parameters)} AS text) IN {column}) > 0"
    if condition.type is Type.NUMBER:
        # Stored as four-byte reals: 0.7 must equal the 0.7 that was written.
        return f"{column} {_COMPARE[condition.operator]} CAST(CAST({_bind(value, parameters)} AS double precision) AS real)"
    return f"{column} {_COMPARE[condition.operator]} CAST({_bind(value, parameters)} AS {cast})"


def _metadata(condition: Condition, parameters: dict[str, object]) -> str:
    key = _bind(condition.field.removeprefix(METADATA), parameters)
    found = f"(v.metadata -> CAST({key} AS text))"
    if condition.operator == "in":
        options = _bind(json.dumps(list(condition.value)), parameters)
        return f"{found} IN (SELECT o FROM jsonb_array_elements(CAST({options} AS jsonb)) AS o)"
    value = _bind(json.dumps(condition.value), parameters)
    if condition.operator in ORDERED:
        return f"(jsonb_typeof({found}) = 'number' AND {found} {_COMPARE[condition.operator]} CAST({value} AS jsonb))"
    if condition.operator == "contains":
        # A string contains a string; a list or object contains a value as jsonb means it.
        if isinstance(condition.value, str):
            text = _bind(condition.value, parameters)
            return (
                f"(({found} @> CAST({value} AS jsonb)) OR (jsonb_typeof({found}) = 'string' "
                f"AND position(CAST({text} AS text) IN {found} #>> '{{}}') > 0))"
            )
        return f"{found} @> CAST({value} AS jsonb)"
    return f"{found} {_COMPARE[condition.operator]} CAST({value} AS jsonb)"


def _bind(value: object, parameters: dict[str, object]) -> str:
    name = f"f{len(parameters)}"
    parameters[name] = value
    return f":{name}"
