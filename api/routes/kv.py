"""The activation tier over HTTP: plans, lookup, chunks, bundles, promotions, outcomes."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Path, Query
from starlette.responses import Response

from api.call import answer
from api.dependencies import BranchQuery, Caller, CubeRef, RawBody
from api.routing import Routes
from api.schemas.fields import Reference
from api.schemas.jobs import JobOut
from api.schemas.kv import (
    ActivationPlanOut,
    BudgetIn,
    BudgetOut,
    BundleIn,
    Codec,
    HexKey,
    KVStatsOut,
    LookupIn,
    LookupOut,
    OutcomeIn,
    OutcomeOut,
    PromotionIn,
    RemovedPlanOut,
    StoredPlanOut,
    UploadedOut,
)
from api.streaming import OCTETS, asked_range, held, immutable_headers, made, steps, unchanged
from memos.errors import Invalid
from memos.rules.access import Scope
from memos.rules.activation_policy import BUDGET_TOKENS_MAX, CODEC_NAMES
from memos.rules.kv_layout import Group
from memos.services import kv_feedback, kv_plan, kv_serve, kv_verify, kv_views
from memos.services import kv_lookup as looking

routes = Routes("Activation")

BUNDLE = "application/vnd.memos.kv-bundle"
KeyPath = Annotated[HexKey, Path(description="A chunk's address.")]
GroupQuery = Annotated[Group, Query(description="Layers that attend to everything, or through a sliding window.")]
CodecQuery = Annotated[Codec | None, Query(description="By default the best liked of those that are there.")]
RangeHeader = Annotated[str | None, Header(alias="Range", include_in_schema=False)]
IfRange = Annotated[str | None, Header(alias="If-Range", include_in_schema=False)]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", include_in_schema=False)]
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}, "example": "MKV1..."}
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {OCTETS: _BINARY},
        "description": "The opened container.",
    },
    206: {"description": "The range asked for."},
    304: {"description": "The caller has it."},
}


@routes.add(
    "GET",
    "/v1/cubes/{cube}/activation-plan",
    scope=Scope.READ,
    summary="Read the prefix plan",
    answer=ActivationPlanOut,
    fails=(404,),
)
def activation_plan(
    call: Caller,
    cube: CubeRef,
    model: Annotated[Reference | None, Query(description="Whose prompt it will stand in; any name will do.")] = None,
    branch: BranchQuery = "main",
    budget_tokens: Annotated[int | None, Query(ge=64, le=BUDGET_TOKENS_MAX)] = None,
) -> Response:
    """What to put in front of a prompt: the same bytes for the same memories, what changed last standing last, so that
    any engine's or provider's prefix cache hits. With the model this service runs, token ids and what is stored as KV.
    A process loads that model and its tokenizer at its first such request, which therefore takes seconds; later ones do
    not."""
    kv_plan.warm(call.app.kv, model)
    with call.writing() as tx:
        made = kv_plan.current(
            tx, call.app.kv, call.who, cube, branch=branch, model=model, budget_tokens=budget_tokens, now=call.now
        )
        found = kv_views.plan_view(tx, call.app.kv, made, model)
    response = answer(ActivationPlanOut, found)
    response.headers["ETag"] = f'"{found["source_digest"]}"'
    return response


@routes.add(
    "GET",
    "/v1/kv/plans/{plan_id}",
    scope=Scope.READ,
    summary="Read a remembered plan",
    answer=StoredPlanOut,
    fails=(404,),
)
def get_plan(call: Caller, plan_id: Annotated[UUID, Path()]) -> Response:
    """Its chunks' addresses, and what is stored of each: what an engine needs to hand in caches."""
    with call.reading() as tx:
        return answer(StoredPlanOut, kv_verify.plan_chunks(tx, call.app.kv, call.who, plan_id))


@routes.add("POST", "/v1/kv/lookup", scope=Scope.READ, summary="Find a stored prefix", answer=LookupOut, fails=(404,))
def kv_lookup(call: Caller, body: LookupIn) -> Response:
    """The longest prefix of a plan or of token ids that can be restored, what to fetch for it, and whether it pays."""
    with call.reading() as tx:
        found = looking.lookup(
            tx, call.app.kv, call.who, cube=body.cube, model=body.model, plan_id=body.plan_id, token_ids=body.token_ids,
            codecs=list(dict.fromkeys(body.codecs)),
        )  # fmt: skip
    return answer(LookupOut, kv_views.lookup_view(found))


def _chunk(call: Caller, key: str, group: Group, codec: str | None) -> kv_serve.Serving:
    wanted = kv_serve.Wanted(bytes.fromhex(key), group, [codec] if codec else CODEC_NAMES)
    with call.reading() as tx:
        return kv_serve.find(tx, call.app.kv, call.who, wanted)


def _chunk_headers(serving: kv_serve.Serving) -> dict[str, str]:
    found = serving.found
    return {
        **immutable_headers(found.sha256.hex()),
        "X-KV-Group": found.group.value,
        "X-KV-Codec": found.codec,
        "X-KV-Start": str(found.start),
        "X-KV-Tokens": str(found.n_tokens),
        "X-KV-Model": found.model_key,
    }


@routes.add(
    "GET",
    "/v1/kv/chunks/{key}",
    scope=Scope.READ,
    summary="Download a chunk",
    answer=None,
    fails=(404, 416),
    response=Response,
    responses=_BYTES,
)
def get_chunk(
    call: Caller,
    key: KeyPath,
    group: GroupQuery = Group.FULL,
    codec: CodecQuery = None,
    range_: RangeHeader = None,
    if_range: IfRange = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One group of one chunk, opened: a container of safetensors. It never changes. Ranges work."""
    serving = _chunk(call, key, group, codec)
    headers = _chunk_headers(serving)
    if unchanged(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    size = serving.found.wire_bytes
    part = asked_range(range_, if_range, headers["ETag"], size)
    body = kv_serve.body(call.app.kv, call.app.database, call.who.tenant_id, serving)
    start, end = part or (0, size)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return held(steps(body, start, end), end - start, headers, 200 if part is None else 206, OCTETS)


@routes.add(
    "HEAD",
    "/v1/kv/chunks/{key}",
    scope=Scope.READ,
    summary="Look whether a chunk is there",
    answer=None,
    fails=(404,),
    response=Response,
)
def head_chunk(call: Caller, key: KeyPath, group: GroupQuery = Group.FULL, codec: CodecQuery = None) -> Response:
    """The headers of the download."""
    serving = _chunk(call, key, group, codec)
    headers = {**_chunk_headers(serving), "Content-Length": str(serving.found.wire_bytes)}
    return Response(status_code=200, headers=headers, media_type=OCTETS)


@routes.add(
    "PUT",
    "/v1/kv/chunks/{key}",
    scope=Scope.KV,
    summary="Hand in a chunk",
    answer=UploadedOut,
    status=202,
    fails=(404, 413, 507),
    repeatable=False,
    answer_description="Stored and put aside until it has been recomputed.",
    responses={200: {"model": UploadedOut, "description": "It was there already, and is verified."}},
    extra={"requestBody": {"required": True, "content": {OCTETS: _BINARY}}},
)
def put_chunk(
    call: Caller,
    key: KeyPath,
    body: RawBody,
    plan_id: Annotated[UUID, Query(description="The plan whose chunk it is.")],
    codec: Annotated[Codec, Query()] = "raw",
    group: GroupQuery = Group.FULL,
) -> Response:
    """What an engine computed anyway: the open container. Its form is checked now; its content by recomputation, before
    anybody gets it. The key must be one of the plan's. It says what is stored, so a repeat needs no Idempotency-Key."""
    with call.writing() as tx:
        slot = kv_verify.slot(tx, call.app.kv, call.who, plan_id, bytes.fromhex(key), group, codec)
    if not body:
        raise Invalid("send the container as the body", where=["body"])
    stored = kv_verify.upload(call.app.kv, call.app.database, call.who, slot, group, codec, body)
    return answer(UploadedOut, stored, status=200 if stored.job_id is None else 202)


@routes.add(
    "POST",
    "/v1/kv/bundles",
    scope=Scope.READ,
    summary="Download many chunks",
    answer=None,
    fails=(404,),
    response=Response,
    responses={200: {"content": {BUNDLE: _BINARY}, "description": "One stream."}},
)
def kv_bundle(call: Caller, body: BundleIn) -> Response:
    """A whole prefix in one stream of frames: header, body, header, body. All of it, or 404 before the first byte."""
    wanted = [kv_serve.Wanted(bytes.fromhex(each.key), each.group, [each.codec]) for each in body.chunks]
    with call.reading() as tx:
        servings = kv_serve.find_all(tx, call.app.kv, call.who, wanted)
    stream = kv_serve.bundle(call.app.kv, call.app.database, call.who.tenant_id, servings)
    return made(stream, kv_serve.bundle_bytes(servings), {"Cache-Control": "no-store"}, 200, BUNDLE)


@routes.add(
    "POST",
    "/v1/kv/promotions",
    scope=Scope.WRITE,
    summary="Build the caches of a plan",
    answer=JobOut,
    status=202,
    fails=(404,),
    answer_description="The job that builds what is missing.",
)
def promote_plan(call: Caller, body: PromotionIn) -> Response:
    """Prefill the plan of a branch and keep its KV, and that of whatever plan replaces it. Only what is missing is built."""
    with call.writing() as tx:
        job = kv_feedback.promote(
            tx, call.app.kv, call.who, cube=body.cube, branch=body.branch, model=body.model, plan_id=body.plan_id,
            pin=body.pin, codecs=body.codecs, budget_tokens=body.budget_tokens, now=call.now,
        )  # fmt: skip
        return call.keep(tx, 202, JobOut, job, location=f"/v1/jobs/{job.id}")


@routes.add(
    "DELETE", "/v1/kv/plans/{plan_id}", scope=Scope.WRITE, summary="Give up a plan", answer=RemovedPlanOut, fails=(404,)
)
def delete_plan(call: Caller, plan_id: Annotated[UUID, Path()]) -> Response:
    """Its caches go, but for the chunks another plan of the cube begins with. The memories are not touched."""
    with call.writing() as tx:
        removed = kv_feedback.remove_plan(tx, call.app.kv, call.who, plan_id, now=call.now)
        return call.keep(tx, 200, RemovedPlanOut, removed)


@routes.add("POST", "/v1/kv/outcomes", scope=Scope.KV, summary="Report a use", answer=OutcomeOut, fails=(404,))
def kv_outcome(call: Caller, body: OutcomeIn) -> Response:
    """How a prefix served: the truth that eviction and promotion go by."""
    with call.writing() as tx:
        saved_ms = kv_feedback.record_outcome(
            tx, call.who, cube=body.cube, model=body.model, keys=[bytes.fromhex(key) for key in body.keys],
            loaded=body.loaded, used_tokens=body.used_tokens, ttft_ms=body.ttft_ms, category=body.category, now=call.now,
        )  # fmt: skip
        return call.keep(tx, 200, OutcomeOut, {"recorded": True, "saved_ms": saved_ms})


@routes.add("GET", "/v1/kv/stats", scope=Scope.READ, summary="Read the tier's figures", answer=KVStatsOut, fails=(404,))
def kv_stats(call: Caller, cube: Annotated[Reference | None, Query()] = None) -> Response:
    """Models, sizes, budget, and what was saved; of one cube, or of all the key reaches."""
    with call.reading() as tx:
        return answer(KVStatsOut, kv_feedback.stats(tx, call.app.kv, call.who, cube))


@routes.add("PUT", "/v1/kv/budgets/{cube}", scope=Scope.WRITE, summary="Set a budget", answer=BudgetOut, fails=(404,))
def put_budget(
    call: Caller,
    cube: Annotated[Reference, Path(description="A cube's id or name, or the word `tenant`.")],
    body: BudgetIn,
) -> Response:
    """Bytes the caches of a cube, or of all cubes, may take. What is over it is evicted."""
    with call.writing() as tx:
        return call.keep(tx, 200, BudgetOut, kv_feedback.set_budget(tx, call.who, cube, body.bytes_max, now=call.now))
