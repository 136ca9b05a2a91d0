"""The kinds of field every schema is made of: what a string, a time, a number or a JSON object may hold.

PostgreSQL text holds no NUL and UTF-8 no lone surrogates, so neither gets past here; nor do numbers JSON cannot say.
No message repeats what was sent: it may be the very thing that cannot be written down.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sized
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema
from pydantic_core import to_json

from api.schemas.limits import (
    MAX_FILTER_DEPTH,
    MAX_LABEL,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    MAX_NAME,
    MAX_REASON,
    MAX_REVISION,
    MAX_SOURCE,
    MAX_TAG,
    MAX_TAGS,
    MAX_TITLE,
    MAX_TTL_S,
    current_limits,
)
from memos.errors import TooLarge

_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_NAIVE = re.compile(r"\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?", re.ASCII)

# ---------------------------------------------------------------- strings


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain NUL characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("must be valid Unicode: it contains a lone surrogate") from None
    return value


def _not_blank(value: str) -> str:
    if not value or value.isspace():
        raise ValueError("must not be empty")
    return value


def _fits(value: str) -> str:
    most = current_limits().text_bytes
    # A character is at most four bytes in UTF-8, so most texts need no counting.
    if len(value) * 4 > most and len(value.encode()) > most:
        raise TooLarge(f"a text may hold {most:,} bytes of UTF-8; post longer ones as documents")
    return value


def _nameable(value: str) -> str:
    """Names stand in paths: `/` would split one, `..` be resolved away, and an id must not be shadowed."""
    if value != value.strip():
        raise ValueError("must not begin or end with a space")
    if "/" in value or value in {".", ".."} or any(unicodedata.category(c) in {"Cc", "Cs"} for c in value):
        raise ValueError("must not contain '/' or control characters, or be '.' or '..'")
    try:
        UUID(value)
    except ValueError:
        return value
    raise ValueError("must not look like an id")


def _not_a_number(value: str) -> str:
    """A tag stands where a revision number or a time may stand too."""
    if value.isdigit() or _NAIVE.match(value):
        raise ValueError("must not look like a revision number or a time")
    return value


Storable = Annotated[str, AfterValidator(_storable)]
Text = Annotated[Storable, AfterValidator(_not_blank), AfterValidator(_fits), Field(min_length=1)]
"""A message, fact or query: something, and at most `max_text_bytes`."""
DocumentText = Annotated[Storable, AfterValidator(_not_blank), Field(min_length=1)]
"""A document may fill the request body."""
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_storable), AfterValidator(_nameable)]
TagName = Annotated[Name, AfterValidator(_not_a_number)]
Label = Annotated[str, Field(min_length=1, max_length=MAX_LABEL), AfterValidator(_storable)]
"""The caller's own id of something."""
Speaker = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_storable)]
Title = Annotated[str, Field(max_length=MAX_TITLE), AfterValidator(_storable)]
SourceName = Annotated[str, Field(max_length=MAX_SOURCE), AfterValidator(_storable)]
Reason = Annotated[str, Field(max_length=MAX_REASON), AfterValidator(_storable)]
Description = Annotated[str, Field(max_length=MAX_REASON), AfterValidator(_storable)]
Tag = Annotated[str, Field(min_length=1, max_length=MAX_TAG), AfterValidator(_storable)]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]
Reference = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_storable)]
"""A cube by id or name, or a branch or tag by name, as an existing one is addressed."""

# ---------------------------------------------------------------- times


def _rfc3339(value: object) -> object:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a string like 2026-08-01T09:30:00Z")  # noqa: TRY004 - pydantic wants ValueError
    if not _RFC3339.fullmatch(value):
        if _NAIVE.fullmatch(value):
            raise ValueError("must name its offset from UTC, like 2026-08-01T09:30:00Z")
        raise ValueError("must be an RFC 3339 time like 2026-08-01T09:30:00Z")
    return value


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from None


Time = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc3339),
    AfterValidator(_to_utc),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment. The offset is required, and kept as UTC."""


def _moment(value: object) -> int | str | datetime:
    """A revision number, a tag's name, or a time: `12`, `"12"`, `"before-import"`, `"2026-08-01T09:30:00Z"`."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= MAX_REVISION:
            raise ValueError(f"a revision number lies between 0 and {MAX_REVISION}")
        return value
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME:
        raise ValueError("must be a revision number, a tag's name or an RFC 3339 time")
    if _NAIVE.match(value):
        try:
            return _to_utc(datetime.fromisoformat(str(_rfc3339(value)).upper()))
        except ValueError as error:
            raise ValueError(str(error) if "must" in str(error) else "no such date or time") from None
    return _storable(value)


Moment = Annotated[
    Any,
    BeforeValidator(_moment),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": MAX_REVISION},
                {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
            ],
            "description": "A revision number, a tag's name or an RFC 3339 time.",
        }
    ),
]

# ---------------------------------------------------------------- numbers and collections

Count = Annotated[int, Field(strict=True, ge=0, le=MAX_REVISION)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Lifespan = Annotated[float, Field(strict=True, gt=0, le=MAX_TTL_S, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]

_Several = TypeVar("_Several", bound=Sized)


def _few_enough(value: _Several) -> _Several:
    most = current_limits().items
    if isinstance(value, list) and len(value) > most:
        raise TooLarge(f"one request may hold {most:,} items; send the rest in further requests")
    return value


few_enough = BeforeValidator(_few_enough)
"""Bounds a list by `max_items`, before its items are looked at."""


def _page_size(value: int) -> int:
    most = current_limits().page
    if value > most:
        raise ValueError(f"must be at most {most}")
    return value


PageSize = Annotated[int, Field(ge=1), AfterValidator(_page_size)]

# ---------------------------------------------------------------- JSON


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    return _checked_json(value, MAX_METADATA_DEPTH)


def _filter_object(value: dict[str, Any]) -> dict[str, Any]:
    return _checked_json(value, MAX_FILTER_DEPTH)


def _checked_json(value: dict[str, Any], depth: int) -> dict[str, Any]:
    _check_json(value, depth, depth)
    if len(to_json(value)) > MAX_METADATA_BYTES:
        raise ValueError(f"must be at most {MAX_METADATA_BYTES:,} bytes of JSON")
    return value


def _check_json(value: object, depth: int, most: int) -> None:
    if isinstance(value, str):
        _storable(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("must not contain numbers beyond the range of a double")
    elif isinstance(value, int):
        if abs(value) >= 2**63:
            raise ValueError("must not contain integers beyond 64 bits; send them as strings")
    elif isinstance(value, list | dict):
        if depth == 0:
            raise ValueError(f"must not be nested deeper than {most} levels")
        for key in value if isinstance(value, dict) else ():
            _storable(key)
        for item in value.values() if isinstance(value, dict) else value:
            _check_json(item, depth - 1, most)


JsonObject = Annotated[dict[str, Any], AfterValidator(_json_object)]
"""Free-form JSON: at most 64 KiB, nested at most eight levels."""
FilterObject = Annotated[dict[str, Any], AfterValidator(_filter_object)]
"""A filter tree. The grammar is `memos.rules.filters`; here it is only made sure that it is a small JSON object."""
