"""Wire shapes of the activation tier: plans, lookups, promotions, outcomes, figures. Chunks travel as bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, PlainSerializer, StringConstraints, model_validator

from api.schemas.base import Input, Output, example
from api.schemas.fields import Reference
from memos.rules.activation_policy import BUDGET_TOKENS_MAX
from memos.rules.kv_layout import Group

Codec = Literal["int8", "bf16", "raw", "int4"]
HexKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ModelName = Annotated[Reference, Field(description="The configured model's name, or a model key.")]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Milliseconds = Annotated[float, Field(ge=0, le=86_400_000)]
AsHex = Annotated[bytes, PlainSerializer(lambda value: value.hex(), return_type=str)]

MAX_KEYS = 1_024
_KEY = "7b0c9a4e5d1f2a3b7b0c9a4e5d1f2a3b7b0c9a4e5d1f2a3b7b0c9a4e5d1f2a3b"
_SHA = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_ID = "01997c6e-8f52-7cc0-9e3a-0d6d2f4f9a11"


class BreakpointOut(Output):
    """A place where a provider's prompt cache is best cut."""

    char: int
    token: int | None


class PlanItemOut(Output):
    """What a memory version wrote: characters and tokens `[start, end)`."""

    memory_id: UUID
    version: int
    char_start: int
    char_end: int
    token_start: int | None
    token_end: int | None


class ActivationPlanOut(Output):
    model_config = example(
        plan_id=_ID, cube_id=_ID, branch="main", revision=12, model="smollm2", model_key=_KEY,
        prefix_text="What is remembered, oldest first; a later entry corrects an earlier one.\n- [2026-01-02] Ana lives in "
        "Lisbon.\n",
        token_ids=[1780, 314, 4910], n_tokens=3, source_digest=_SHA, cache_salt=_SHA, prompt_cache_key=_SHA,
        breakpoints=[{"char": 112, "token": 3}],
        items=[{"memory_id": _ID, "version": 1, "char_start": 73, "char_end": 112, "token_start": 1, "token_end": 3}],
        left_out=0, kv="none", kv_tokens=0, rebuild_job=None,
    )  # fmt: skip

    plan_id: UUID | None
    """Null when this service has no tokenizer for the model: the text is just as stable."""
    cube_id: UUID
    branch: str
    revision: int
    model: str | None
    model_key: str | None
    prefix_text: str
    token_ids: list[int] | None
    n_tokens: int | None
    source_digest: str
    cache_salt: str
    """For engines with a prefix cache of their own."""
    prompt_cache_key: str
    """For providers: the same for every edition of the plan."""
    breakpoints: list[BreakpointOut]
    items: list[PlanItemOut]
    left_out: int
    """Memories that did not fit."""
    kv: Literal["none", "partial", "full"]
    kv_tokens: int
    """Tokens of the longest prefix that can be restored now."""
    rebuild_job: UUID | None


class PlanChunkStoredOut(Output):
    group: Group
    codec: str
    state: str


class PlanChunkOut(Output):
    key: str
    parent: str
    index: int
    start: int
    end: int
    stored: list[PlanChunkStoredOut]


class StoredPlanOut(Output):
    """A remembered plan and the address of each of its chunks."""

    model_config = example(
        plan_id=_ID, cube_id=_ID, model_key=_KEY, n_tokens=300, state="current", promoted=True, pinned=False,
        chunks=[{"key": _KEY, "parent": _SHA, "index": 0, "start": 0, "end": 256,
                 "stored": [{"group": "full", "codec": "int8", "state": "verified"}]}],
    )  # fmt: skip

    plan_id: UUID
    cube_id: UUID
    model_key: str
    n_tokens: int
    state: str
    promoted: bool
    pinned: bool
    chunks: list[PlanChunkOut]


class LookupIn(Input):
    model_config = example(cube="travel-agent", model="fake", token_ids=[1780, 314, 4910], codecs=["int8", "bf16"])

    cube: Reference
    model: ModelName
    plan_id: UUID | None = None
    token_ids: Annotated[list[TokenId], Field(min_length=1, max_length=BUDGET_TOKENS_MAX)] | None = None
    codecs: Annotated[tuple[Codec, ...], Field(min_length=1, max_length=4)] = ("int8", "bf16", "raw", "int4")
    """What the caller can decode, best liked first."""
    branch: Reference = "main"

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.plan_id is None) == (self.token_ids is None):
            raise ValueError("send either plan_id or token_ids")
        return self


class FoundChunkOut(Output):
    key: str
    index: int
    start: int
    end: int
    group: Group
    codec: str
    bytes: int
    """As served."""
    etag: str
    sha256: str
    url: str
    gate: dict[str, Any] | None
    """What the codec was measured to do to the model's answers."""


class EstimateOut(Output):
    load_ms: float
    prefill_ms: float
    basis: Literal["calibrated", "default"]


class LookupOut(Output):
    model_config = example(
        model_key=_KEY, plan_id=None, total_tokens=300, matched_tokens=256,
        chunks=[{"key": _KEY, "index": 0, "start": 0, "end": 256, "group": "full", "codec": "int8", "bytes": 3_025_113,
                 "etag": f'"{_SHA}"', "sha256": _SHA, "url": f"/v1/kv/chunks/{_KEY}?group=full&codec=int8",
                 "gate": {"kl": 2e-5, "top1": 0.998, "delta_nll": 1e-4, "max_dlogit": 0.2, "windows": 8, "tokens": 1528}}],
        est={"load_ms": 21.0, "prefill_ms": 640.0, "basis": "calibrated"}, advice="load",
    )  # fmt: skip

    model_key: str
    plan_id: UUID | None
    total_tokens: int
    matched_tokens: int
    chunks: list[FoundChunkOut]
    """Exactly what a restore at `matched_tokens` needs, in order of the prefix."""
    est: EstimateOut
    advice: Literal["load", "prefill"]


class BundleChunkIn(Input):
    key: HexKey
    group: Group = Group.FULL
    codec: Codec


class BundleIn(Input):
    model_config = example(chunks=[{"key": _KEY, "group": "full", "codec": "int8"}])

    chunks: Annotated[list[BundleChunkIn], Field(min_length=1, max_length=MAX_KEYS)]


class UploadedOut(Output):
    model_config = example(
        key=_KEY, group="full", codec="int8", bytes=3_025_113, sha256=_SHA, state="quarantine", job_id=_ID
    )

    key: AsHex
    group: Group
    codec: str
    bytes: int
    sha256: AsHex
    state: Literal["quarantine", "verified"]
    job_id: UUID | None
    """The check it has to pass before it is served."""


class PromotionIn(Input):
    model_config = example(cube="travel-agent", pin=False, codecs=["int8", "bf16", "raw"])

    cube: Reference
    branch: Reference = "main"
    model: ModelName | None = None
    plan_id: UUID | None = None
    pin: bool = False
    """Keep it whatever else has to go."""
    codecs: Annotated[list[Codec], Field(min_length=1, max_length=4)] | None = None
    """The first that is admitted for the model is used."""
    budget_tokens: Annotated[int, Field(ge=64, le=BUDGET_TOKENS_MAX)] | None = None


class RemovedPlanOut(Output):
    model_config = example(plan_id=_ID, chunks_removed=4, bytes_freed=12_100_452)

    plan_id: UUID
    chunks_removed: int
    bytes_freed: int


class SlotFileOut(Output):
    """A slot file of an engine that keeps its caches to itself."""

    model_config = example(
        id=_ID, cube_id=_ID, profile=_KEY, source_digest=_SHA, tokens_sha256=_SHA, n_tokens=1_180, bytes=48_300_032, sha256=_SHA,
        created_at="2026-01-02T03:04:05Z",
    )  # fmt: skip

    id: UUID
    cube_id: UUID
    profile: str
    """Names build, model, context size and cache types of the server that wrote it."""
    source_digest: str
    """Of the plan whose text it holds."""
    tokens_sha256: str
    n_tokens: int
    bytes: int
    sha256: AsHex
    created_at: datetime


class SlotFilesOut(Output):
    model_config = example(
        items=[{"id": _ID, "cube_id": _ID, "profile": _KEY, "source_digest": _SHA, "tokens_sha256": _SHA, "n_tokens": 1_180,
                "bytes": 48_300_032, "sha256": _SHA, "created_at": "2026-01-02T03:04:05Z"}],
    )  # fmt: skip

    items: list[SlotFileOut]


class OutcomeIn(Input):
    model_config = example(
        cube="travel-agent", model="fake", keys=[_KEY], loaded=True, used_tokens=1_180, ttft_ms=61.5, category="chat"
    )

    cube: Reference
    model: ModelName
    plan_id: UUID | None = None
    keys: Annotated[tuple[HexKey, ...], Field(max_length=MAX_KEYS)] = ()
    loaded: bool
    used_tokens: Annotated[int, Field(ge=0, le=10_000_000)]
    ttft_ms: Milliseconds
    prefill_ms: Milliseconds | None = None
    category: Literal["chat", "api", "agent"] = "api"


class OutcomeOut(Output):
    model_config = example(recorded=True, saved_ms=2_588.5)

    recorded: bool
    saved_ms: float
    """Against prefilling the same tokens; below zero when loading was slower."""


class KVModelOut(Output):
    name: str
    model_key: str
    bytes_per_token: int
    prefill: dict[str, float] | None
    load: dict[str, Any] | None
    gates: dict[str, Any]


class KVObjectsOut(Output):
    codec: str
    group: Group
    state: str
    objects: int
    bytes: int


class BudgetOut(Output):
    model_config = example(scope="travel-agent", bytes_max=268_435_456, bytes_used=12_100_452)

    scope: str
    bytes_max: int
    bytes_used: int


class OutcomeSumsOut(Output):
    loads: int
    prefills: int
    tokens_loaded: int
    saved_s: float
    mean_ttft_ms_loaded: float | None
    mean_ttft_ms_prefilled: float | None


class KVStatsOut(Output):
    model_config = example(
        models=[{"name": "smollm2", "model_key": _KEY, "bytes_per_token": 46_080, "gates": {}, "load": None,
                 "prefill": {"linear_s": 0.0025, "quadratic_s": 1e-7}}],
        plans=1, chunks=5, objects=[{"codec": "int8", "group": "full", "state": "verified", "objects": 5, "bytes": 15_100_452}],
        bytes=15_100_452, budget={"scope": "tenant", "bytes_max": 2_147_483_648, "bytes_used": 15_100_452},
        outcomes={"loads": 3, "prefills": 1, "tokens_loaded": 3_540, "saved_s": 7.9, "mean_ttft_ms_loaded": 61.5,
                  "mean_ttft_ms_prefilled": 2_650.0},
        blobs="filesystem",
    )  # fmt: skip

    models: list[KVModelOut]
    plans: int
    chunks: int
    objects: list[KVObjectsOut]
    bytes: int
    budget: BudgetOut
    outcomes: OutcomeSumsOut
    blobs: Literal["filesystem", "postgres"]


class BudgetIn(Input):
    model_config = example(bytes_max=268_435_456)

    bytes_max: Annotated[int, Field(ge=0, le=2**53)]
