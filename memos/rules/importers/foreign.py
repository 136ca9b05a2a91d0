"""What all importers share: the values of a file, times in any spelling, and the three things that can become of an item."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from memos.errors import Invalid

# Beyond this a number of seconds would lie in the year 5138: it counts milliseconds.
_MILLISECONDS_FROM: Final = 1e11


@dataclass(frozen=True, slots=True)
class Foreign:
    """One thing of a file. `item` is in our import format; without one, `why` says what stands against it, and `skipped`
    whether that is as it should be. `name` is what the other system calls the thing."""

    name: str
    item: dict[str, Any] | None = None
    why: str = ""
    skipped: bool = False

    @classmethod
    def fault(cls, name: str, why: str) -> Self:
        return cls(name, None, why)

    @classmethod
    def skip(cls, name: str, why: str) -> Self:
        return cls(name, None, why, skipped=True)


def documents(body: bytes) -> list[Any]:
    """The values of a file: one JSON document, or one on each line."""
    try:
        return [json.loads(body)]
    except (ValueError, RecursionError):
        pass
    found = []
    for number, line in enumerate(body.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError):
            raise Invalid(f"the file is neither one JSON document nor JSON lines: line {number} is not JSON") from None
    if not found:
        raise Invalid("the file is empty")
    return found


def entries(values: list[Any], *keys: str) -> Iterator[Any]:
    """The things in a file, whether they stand in a list, under one of these keys, or by themselves."""
    for value in values:
        if isinstance(value, list):
            yield from value
        elif isinstance(value, Mapping) and (key := next((k for k in keys if isinstance(value.get(k), list)), None)):
            yield from value[key]
        else:
            yield value


def moment(value: object) -> str | None:
    """A time as RFC 3339 in UTC; one without an offset is taken as UTC. None for none. Raises `ValueError`."""
    match value:
        case None | "":
            return None
        case bool():
            raise ValueError("is no time")
        case int() | float():
            seconds = value / 1_000 if abs(value) >= _MILLISECONDS_FROM else value
            if not math.isfinite(seconds):
                raise ValueError("is no time")
            try:
                found = datetime.fromtimestamp(seconds, UTC)
            except (OverflowError, OSError):
                raise ValueError("is no time") from None
        case str():
            try:
                found = datetime.fromisoformat(value.strip())
            except ValueError:
                raise ValueError("is no time in ISO 8601") from None
            try:
                found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
            except OverflowError:
                raise ValueError("lies outside the years 1 to 9999") from None
        case _:
            raise ValueError("is no time")
    return found.isoformat().replace("+00:00", "Z")


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not there."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def text_of(value: object) -> str | None:
    """A string with something in it."""
    return value if isinstance(value, str) and value.strip() else None
