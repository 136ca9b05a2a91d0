"""Cursors are opaque to callers and are the id or number of the last item to us."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from memos.errors import Invalid

T = TypeVar("T")


def id_of(cursor: str | None) -> UUID | None:
    return _parsed(cursor, UUID)


def number_of(cursor: str | None) -> int | None:
    return _parsed(cursor, int)


def tag_of(cursor: str | None) -> tuple[int, str] | None:
    return _parsed(cursor, _revision_and_name)


def _revision_and_name(cursor: str) -> tuple[int, str]:
    revision, colon, name = cursor.partition(":")
    if not colon:
        raise ValueError(cursor)
    return int(revision), name


def _parsed(cursor: str | None, parse: Callable[[str], T]) -> T | None:
    try:
        return None if cursor is None else parse(cursor)
    except ValueError:
        raise Invalid("this cursor is not one of ours", where=["query", "cursor"]) from None
