"""What a caller was given to read: one event, on its way to the audit of reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from memos.rules.access import Principal


@dataclass(frozen=True, slots=True)
class Read:
    """`found` are (memory, version, sensitivity); never a text."""

    tenant_id: UUID
    who: Principal
    door: str
    cube_id: UUID
    policy: Mapping[str, Any]
    found: tuple[tuple[UUID, int, str], ...]
    detail: Mapping[str, object]


Reader = Callable[[Read], None]
"""Takes an event; returns at once and never raises."""
