"""Slot files over HTTP: what engines that keep their caches to themselves (llama.cpp) leave here and fetch again."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Path, Query
from starlette.responses import Response

from api.call import answer
from api.dependencies import BranchQuery, Caller, RawBody
from api.routing import Routes
from api.schemas.fields import Reference
from api.schemas.kv import HexKey, SlotFileOut, SlotFilesOut
from api.streaming import OCTETS, asked_range, held, immutable_headers, steps, unchanged
from memos.rules.access import Scope
from memos.rules.activation_policy import BUDGET_TOKENS_MAX
from memos.services import kv_slots

routes = Routes("Activation")

_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}, "example": "ggsq..."}
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {OCTETS: _BINARY}, "description": "The file."},
    206: {"description": "The range asked for."},
    304: {"description": "The caller has it."},
}
SlotFileId = Annotated[UUID, Path()]
CubeQuery = Annotated[Reference, Query(description="A cube's id or name.")]
Profile = Annotated[HexKey, Query(description="SHA-256 over build, model, context size and cache types of the server.")]


@routes.add(
    "PUT",
    "/v1/kv/slot-files",
    scope=Scope.KV,
    summary="Keep a slot file",
    answer=SlotFileOut,
    status=201,
    fails=(404, 409, 413, 507),
    repeatable=False,
    answer_description="The file that is kept: this one, or the one that was kept of this plan and profile before.",
    extra={"requestBody": {"required": True, "content": {OCTETS: _BINARY}}},
)
def put_slot_file(
    call: Caller,
    body: RawBody,
    cube: CubeQuery,
    profile: Profile,
    source_digest: Annotated[HexKey, Query(description="Of the plan whose text was evaluated in the slot.")],
    tokens_sha256: Annotated[HexKey, Query(description="Over the server's token ids, as u32 big-endian.")],
    n_tokens: Annotated[int, Query(ge=1, le=10_000_000)],
    branch: BranchQuery = "main",
    model: Annotated[Reference | None, Query(description="As the plan was asked for.")] = None,
    budget_tokens: Annotated[int | None, Query(ge=64, le=BUDGET_TOKENS_MAX)] = None,
) -> Response:
    """A server's cache of a plan's text, as the server saved it. Nobody here can check what is in it: whoever holds scope
    `kv` vouches for it. It is refused once the plan has changed. It says what is kept, so a repeat needs no Idempotency-Key."""
    offered = kv_slots.Offered(
        cube=cube, branch=branch, model=model, budget_tokens=budget_tokens, source_digest=source_digest, profile=profile,
        tokens_sha256=tokens_sha256, n_tokens=n_tokens, data=body,
    )  # fmt: skip
    kept = kv_slots.keep(call.app.kv, call.app.database, call.who, offered, now=call.now)
    return answer(SlotFileOut, kv_slots.view(kept), status=201)


@routes.add("GET", "/v1/kv/slot-files", scope=Scope.READ, summary="Find slot files", answer=SlotFilesOut, fails=(404,))
def list_slot_files(
    call: Caller,
    cube: CubeQuery,
    profile: Annotated[HexKey | None, Query()] = None,
    source_digest: Annotated[HexKey | None, Query()] = None,
) -> Response:
    """Of a cube; of one server's profile, of one plan."""
    with call.reading() as tx:
        found = kv_slots.listed(tx, call.who, cube, profile, source_digest)
    return answer(SlotFilesOut, {"items": [kv_slots.view(file) for file in found]})


@routes.add(
    "GET",
    "/v1/kv/slot-files/{slot_file_id}",
    scope=Scope.READ,
    summary="Download a slot file",
    answer=None,
    fails=(404, 416),
    response=Response,
    responses=_BYTES,
)
def get_slot_file(
    call: Caller,
    slot_file_id: SlotFileId,
    range_: Annotated[str | None, Header(alias="Range", include_in_schema=False)] = None,
    if_range: Annotated[str | None, Header(alias="If-Range", include_in_schema=False)] = None,
    if_none_match: Annotated[str | None, Header(alias="If-None-Match", include_in_schema=False)] = None,
) -> Response:
    """The bytes that were handed in. They never change."""
    with call.reading() as tx:
        file = kv_slots.find(tx, call.who, slot_file_id)
        headers = immutable_headers(file.sha256.hex())
        if unchanged(if_none_match, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        part = asked_range(range_, if_range, headers["ETag"], file.wire_bytes)
        cipher = call.app.kv.cipher(tx, file.cube_id)
    data = kv_slots.content(call.app.kv, call.app.database, call.who.tenant_id, file, cipher)
    start, end = part or (0, len(data))
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return held(steps([data], start, end), end - start, headers, 200 if part is None else 206, OCTETS)


@routes.add(
    "DELETE",
    "/v1/kv/slot-files/{slot_file_id}",
    scope=Scope.WRITE,
    summary="Give up a slot file",
    answer=SlotFileOut,
    fails=(404,),
)
def delete_slot_file(call: Caller, slot_file_id: SlotFileId) -> Response:
    """The file and its bytes go. The memories are not touched."""
    with call.writing() as tx:
        removed = kv_slots.remove(tx, call.app.kv, call.who, slot_file_id, now=call.now)
        return call.keep(tx, 200, SlotFileOut, kv_slots.view(removed))
