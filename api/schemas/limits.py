"""The bounds on what a caller may send, in one place.

Bounds that the operator sets (`memos.settings`) are not known when the schemas are declared, so validators ask for the
limits of the app that is parsing. Fixed bounds are constants here.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

from memos.settings import Settings

MAX_NAME = 200
MAX_LABEL = 500
"""Characters in a session id or an external id."""
MAX_TITLE = 1_000
MAX_SOURCE = 4_000
"""Characters in a document's source, usually a URL."""
MAX_REASON = 2_000
MAX_CURSOR = 1_000
MAX_TAGS = 32
MAX_TAG = 100
MAX_CUBES = 100
"""Cubes in one search."""
MAX_BUDGET_TOKENS = 1_000_000
MAX_METADATA_BYTES = 64 * 2**10
MAX_METADATA_DEPTH = 8
MAX_FILTER_DEPTH = 24
"""JSON levels: the eight of the filter grammar, each an object, perhaps in a list."""
MAX_REVISION = 2**31 - 1
"""What the database's integers hold."""
MAX_TTL_S = 100 * 366 * 86_400
"""A century: beyond it a lifespan means "for ever", and `now + ttl` must stay a date."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The operator's bounds: bytes in one text, items in one request, items in one answer, bytes in one body."""

    text_bytes: int
    items: int
    page: int
    body_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.max_text_bytes, settings.max_items, settings.max_limit, settings.max_body_bytes)


_limits: ContextVar[Limits] = ContextVar("limits")


def apply_limits(limits: Limits) -> None:
    """From here on, in this request, validators use these bounds."""
    _limits.set(limits)


def current_limits() -> Limits:
    """The bounds of the app that is parsing; outside a request, those of the default settings."""
    try:
        return _limits.get()
    except LookupError:
        return Limits.of(Settings.model_construct())
