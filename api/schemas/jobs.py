"""Background work on the wire."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from api.schemas.base import Output, example
from api.schemas.fields import Time

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class JobOut(Output):
    """A promise of background work, and what became of it."""

    model_config = example(
        id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c14",
        cube_id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c11",
        kind="index",
        state="succeeded",
        attempts=1,
        error=None,
        progress=None,
        result={"moved": 400},
        revision=None,
        created_at="2026-08-01T09:30:00Z",
        started_at="2026-08-01T09:30:02Z",
        finished_at="2026-08-01T09:30:03Z",
    )

    id: UUID
    cube_id: UUID | None
    kind: str
    state: JobState
    attempts: int
    error: dict[str, Any] | None
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    revision: int | None
    """The revision the job wrote, if it wrote one."""
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
