"""Forgetting, promoting and erasing, on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from api.schemas.base import Input, Output, example
from api.schemas.fields import FilterObject, Flag, Reason, Reference, Time, few_enough

_MEMORY_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c12"
_FACT_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13"
_JOB_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c14"
_RECEIPT_ID = "019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c15"
_INPUTS = {"kind": "turn", "state": "generated", "retrievability": 0.41, "recalls": 0, "priority": 0.5, "pinned": False}


class RunIn(Input):
    """Go through a branch by the cube's policy."""

    model_config = example(dry_run=True)

    dry_run: Flag = False
    branch: Reference = "main"
    now: Time | None = None
    """Decide as if it were that time: for replays, and to see what is to come."""


PLANNED = {
    "memory_id": _MEMORY_ID,
    "outcome": "archive",
    "score": 0.41,
    "inputs": _INPUTS,
    "reason": "score 0.410 is below 0.5",
    "policy_version": "forget-2",
}


class PlannedOut(Output):
    """A decision a run would take."""

    model_config = example(**PLANNED)

    memory_id: UUID | None
    outcome: str
    """Of a decay `archive`, `evict`, `expire` or `restore`; of a promotion `promote`, `demote` or (cold) `archive`."""
    score: float | None
    inputs: dict[str, Any]
    reason: str
    policy_version: str
    """The defaults' version, and a digest of what the cube's policy changes."""


class RunPreviewOut(Output):
    """What a run would do; nothing was written."""

    model_config = example(
        branch="main", revision=12, policy_version="forget-2", counts={"archive": 1}, decisions=[PLANNED]
    )

    branch: str
    revision: int
    policy_version: str
    counts: dict[str, int]
    """Decisions by outcome."""
    decisions: list[PlannedOut]
    """The first thousand of those that change something."""


class DecisionOut(Output):
    """A decision of a worker, from what inputs it was taken, and what came of it."""

    model_config = example(
        id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c16",
        kind="decay",
        memory_id=_MEMORY_ID,
        outcome="archive",
        score=0.41,
        inputs=_INPUTS,
        reason="score 0.410 is below 0.5",
        policy_version="forget-2",
        applied=True,
        branch="main",
        job_id=_JOB_ID,
        revision=13,
        decided_at="2026-08-01T09:30:00Z",
    )

    id: UUID
    kind: str
    memory_id: UUID | None
    outcome: str
    score: float | None
    inputs: dict[str, Any]
    reason: str
    policy_version: str
    applied: bool
    """Whether it had its effect; false for a wish that somebody else has to fulfil."""
    branch: str
    job_id: UUID | None
    revision: int | None
    """The revision it went into, if history was written."""
    decided_at: Time


# ---------------------------------------------------------------- erasure


class ForgetIn(Input):
    """Memories to erase, by id or by a filter on a branch; what was derived from them goes with them."""

    model_config = example(memory_ids=[_MEMORY_ID], dry_run=True)

    memory_ids: Annotated[list[UUID], Field(min_length=1), few_enough] | None = None
    filter: FilterObject | None = None
    """The grammar of search filters. It finds memories in every state."""
    branch: Reference = "main"
    """Where the filter looks. The erasure itself reaches every branch."""
    dry_run: Flag = False
    reason: Reason = ""
    """Kept with the revision for good, so it should not repeat what is erased."""

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if (self.memory_ids is None) == (self.filter is None):
            raise ValueError("must hold either memory_ids or a filter")
        return self


class ReachedOut(Output):
    """A memory an erasure would take."""

    model_config = example(memory_id=_FACT_ID, why="derived", via=_MEMORY_ID)

    memory_id: UUID
    why: Literal["asked", "derived", "duplicate"]
    via: UUID | None
    """The memory it hangs on."""


class ErasurePreviewOut(Output):
    """What an erasure would take; nothing was written."""

    model_config = example(
        asked=1,
        taken=2,
        versions=3,
        memories=[
            {"memory_id": _MEMORY_ID, "why": "asked", "via": None},
            {"memory_id": _FACT_ID, "why": "derived", "via": _MEMORY_ID},
        ],
        frozen=[],
        sources_left=[],
        same_text=[],
    )

    asked: int
    taken: int
    versions: int
    memories: list[ReachedOut]
    """The first thousand."""
    frozen: list[UUID]
    """Those that stand against it: the erasure would be refused."""
    sources_left: list[UUID]
    """Sources of what would go that would stay, and may say the same."""
    same_text: list[UUID]
    """Other memories with the very same text, which would stay."""


class ForgetOut(Output):
    """A promised erasure."""

    model_config = example(job_id=_JOB_ID, receipt_id=_RECEIPT_ID)

    job_id: UUID
    receipt_id: UUID
    """404 until the erasure has happened."""


class ReceiptOut(Output):
    """The signed receipt of an erasure, as `memos verify-receipt` takes it. Every part of it is covered by the signature."""

    model_config = example(
        kind="memos.erasure-receipt/1",
        id=_RECEIPT_ID,
        tenant_id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c10",
        cube_id="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c11",
        requested_by="019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c17",
        requested_at="2026-08-01T09:30:00.000000+00:00",
        erased_at="2026-08-01T09:30:02.000000+00:00",
        erased={"memories": 1, "versions": 1, "texts": 1},
        reached={"asked": 1},
        rows={"contents": 1, "memory_versions": 1, "memories": 1},
        revisions=[{"branch": "main", "revision": 13, "hash": "5f" * 32, "removed": 1}],
        tombstones={
            "algorithm": "HMAC-SHA256 leaves, RFC 6962 root",
            "root": "a1" * 32,
            "leaves": [[_MEMORY_ID, 1, "b2" * 32]],
        },
        probes={"id": {"asked": 1, "found": 0}, "vector": {"asked": 1, "found": 0}},
        return_refused=False,
        proves=["..."],
        does_not_prove=["Backups, replicas, write-ahead logs ..."],
        key_id="0123456789abcdef",
        signature="c3RhbmRzIGhlcmU=",
    )

    kind: str
    id: UUID
    tenant_id: UUID
    cube_id: UUID
    requested_by: UUID
    requested_at: str
    erased_at: str
    erased: dict[str, int]
    reached: dict[str, int]
    """Memories by why they were taken."""
    rows: dict[str, int]
    """Rows emptied or deleted, by table."""
    revisions: list[dict[str, Any]]
    """The revisions of the erasure, with the hashes that chain them into the cube's history."""
    tombstones: dict[str, Any]
    """A keyed mark of each erased version, and the Merkle root over all of them."""
    probes: dict[str, dict[str, int]]
    """How often each door was tried after the erasure, and how often it found something: never."""
    return_refused: bool
    """Whether the cube's policy refuses the same texts from now on."""
    proves: list[str]
    does_not_prove: list[str]
    key_id: str
    signature: str


KEY = {
    "algorithm": "Ed25519",
    "key_id": "0123456789abcdef",
    "public_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
}


class ReceiptKeyOut(Output):
    """A public key."""

    model_config = example(**KEY)

    algorithm: str
    key_id: str
    public_key: str
    """32 bytes in base64."""


class ReceiptKeysOut(Output):
    """The keys receipts are checked with: first the one that signs now, then those that signed before it."""

    model_config = example(keys=[KEY])

    keys: list[ReceiptKeyOut]
