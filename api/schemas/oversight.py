"""What an operator oversees, on the wire: counts, queues, cubes, storage, the audit trail."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from api.schemas.base import Output, example
from api.schemas.fields import Time
from api.schemas.jobs import JobOut
from api.schemas.lifecycle import DecisionOut
from api.schemas.reading import HIT

_KEY_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c12"
_CUBE_ID = HIT["cube"]
_HASH = "5e1f0c9e8d0b7f5c8a46d6a1fbb7ae7d0c6bd5ce2d3b7a3f1c5a9d8b7e6f5a4b"

# ---------------------------------------------------------------- the overview

MEMORIES = {
    "total": 412,
    "by_kind": {"fact": 60, "turn": 352},
    "by_state": {"activated": 90, "archived": 22, "generated": 300},
    "by_tier": {"plaintext": 412},
    "strength": [0, 0, 1, 3, 6, 10, 30, 60, 90, 190],
    "estimated": False,
}


class MemoriesOut(Output):
    """Memories on `main` branches."""

    model_config = example(**MEMORIES)

    total: int
    by_kind: dict[str, int]
    by_state: dict[str, int]
    by_tier: dict[str, int]
    strength: list[int]
    """What can be recalled, by how well it is retained, in tenths from weakest to strongest."""
    estimated: bool
    """Whether it was drawn from a sample, as it is for a large tenant."""


BUCKET = {"start": "2026-08-01T09:00:00Z", "count": 120, "p50": 8.1, "p95": 14.0}


class BucketOut(Output):
    """An hour of answers; the percentiles are null for one without any."""

    model_config = example(**BUCKET)

    start: Time
    count: int
    p50: float | None
    p95: float | None


RECALLS = {"answers": 120, "p50_ms": 8.1, "p95_ms": 14.0, "hours": [BUCKET]}


class RecallsOut(Output):
    """How fast the traced questions of the last day were answered."""

    model_config = example(**RECALLS)

    answers: int
    p50_ms: float | None
    p95_ms: float | None
    hours: list[BucketOut]


LEVEL = {"at": "2026-08-01T09:30:00Z", "open": 3}


class LevelOut(Output):
    """Jobs that were waiting or running at a moment."""

    model_config = example(**LEVEL)

    at: Time
    open: int


QUEUE: dict[str, Any] = {
    "kind": "extract",
    "queued": 3,
    "due": 1,
    "running": 1,
    "lapsed": 0,
    "failed": 0,
    "oldest_due_at": "2026-08-01T09:29:58Z",
}


class QueueOut(Output):
    """What waits, runs or has failed, of one kind of job."""

    model_config = example(**QUEUE)

    kind: str
    queued: int
    due: int
    """Of the queued, those whose time has come."""
    running: int
    lapsed: int
    """Of the running, those whose worker has not been heard of in time; they will be taken up again."""
    failed: int
    oldest_due_at: Time | None


class QueuesOut(Output):
    """Every kind of job that has any."""

    model_config = example(items=[QUEUE])

    items: list[QueueOut]


# ---------------------------------------------------------------- lists


class CubeRowOut(Output):
    """A cube as a line in a list."""

    model_config = example(
        id=_CUBE_ID,
        name="travel-agent",
        description="What the travel agent knows",
        revision=12,
        memories=412,
        branches=2,
        created_at="2026-08-01T09:30:00Z",
        written_at="2026-08-02T09:30:00Z",
    )

    id: UUID
    name: str
    description: str
    revision: int
    memories: int
    """That can be recalled on `main`; a counter."""
    branches: int
    created_at: Time
    written_at: Time | None


_JOB: dict[str, Any] = {
    "id": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c14",
    "cube_id": _CUBE_ID,
    "kind": "index",
    "state": "queued",
    "attempts": 0,
    "error": None,
    "progress": None,
    "result": None,
    "revision": None,
    "created_at": "2026-08-01T09:30:00Z",
    "started_at": None,
    "finished_at": None,
}


class AdminJobOut(JobOut):
    """A job with what it was given."""

    model_config = example(**_JOB, payload={"branch": "main"}, run_after="2026-08-01T09:30:02Z")

    payload: dict[str, Any]
    run_after: Time


_DECISION: dict[str, Any] = {
    "id": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c16",
    "kind": "decay",
    "memory_id": HIT["memory_id"],
    "outcome": "archive",
    "score": 0.41,
    "inputs": {"retrievability": 0.41},
    "reason": "score 0.410 is below 0.5",
    "policy_version": "forget-1",
    "applied": True,
    "branch": "main",
    "job_id": "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c14",
    "revision": 13,
    "decided_at": "2026-08-01T09:30:00Z",
}


class AdminDecisionOut(DecisionOut):
    """A decision with the cube it is about."""

    model_config = example(**_DECISION, cube_id=_CUBE_ID)

    cube_id: UUID


class ActOut(Output):
    """One act of the audit trail. Its hash is over the one before it, so that none can be changed or taken out."""

    model_config = example(
        seq=7,
        at="2026-08-01T09:30:00Z",
        key_id=_KEY_ID,
        action="cube.rollback",
        cube_id=_CUBE_ID,
        target="",
        detail={"revision": 13, "to": 12},
        previous=_HASH,
        hash=_HASH,
    )

    seq: int
    at: Time
    key_id: UUID | None
    action: str
    cube_id: UUID | None
    target: str
    detail: dict[str, Any]
    previous: str
    hash: str


class VerifiedOut(Output):
    """Whether the audit trail is whole."""

    model_config = example(rows=7, intact=True, broken_at=None, head=_HASH)

    rows: int
    """Read and computed anew."""
    intact: bool
    broken_at: int | None
    """The first row that does not follow from the one before it, or that is missing at the end."""
    head: str
    """Hash of the newest row. Kept elsewhere, it proves later that nothing before it was changed."""


class ReceiptRowOut(Output):
    """An erasure as a line in a list; `GET /v1/receipts/{id}` has the signed document."""

    model_config = example(
        id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c15",
        cube_id=_CUBE_ID,
        job_id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c14",
        requested_by=_KEY_ID,
        requested_at="2026-08-01T09:30:00Z",
        signed_at="2026-08-01T09:30:03Z",
    )

    id: UUID
    cube_id: UUID
    job_id: UUID
    requested_by: UUID | None
    requested_at: Time
    signed_at: Time | None
    """Null until the erasure has happened."""


# ---------------------------------------------------------------- storage

PART = {"tier": "plaintext", "table": "contents", "rows": 412, "bytes": 480_000, "estimated": False}


class PartOut(Output):
    """Rows of one's own tenant in one table, without their indexes."""

    model_config = example(**PART)

    tier: str
    table: str
    rows: int
    bytes: int
    estimated: bool
    """Whether it was reckoned from a sample."""


TABLE = {"table": "contents", "rows": 412, "heap_bytes": 540_000, "index_bytes": 120_000}


class TableOut(Output):
    """A table of the whole service, all tenants together."""

    model_config = example(**TABLE)

    table: str
    rows: int
    """As the planner knows it."""
    heap_bytes: int
    index_bytes: int


class StorageOut(Output):
    """What memory takes up."""

    model_config = example(parts=[PART], by_tier={"plaintext": 480_000}, tables=[TABLE])

    parts: list[PartOut]
    by_tier: dict[str, int]
    """Bytes of one's own tenant."""
    tables: list[TableOut]
    """Only for keys of the operating tenant; empty for others."""
