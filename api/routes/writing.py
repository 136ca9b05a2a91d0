"""Writing: what is to be remembered. Everything is searchable when the call returns."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from api.call import Call
from api.dependencies import BranchQuery, Caller, CubeRef, RawBody
from api.importing import import_lines
from api.routing import Routes
from api.schemas.writing import DocumentIn, ImportResult, MemoriesIn, MessagesIn, WrittenOut
from memos.rules.access import Scope
from memos.services import remember
from memos.services.remember import Prepared

routes = Routes("Writing")

Format = Annotated[
    Literal["items", "mem0", "letta", "langgraph"],
    Query(alias="format", description="Whose format the body is in; `items` is ours."),
]


class Ndjson(StreamingResponse):
    """One JSON object a line."""

    media_type = "application/x-ndjson"


@routes.add(
    "POST",
    "/v1/cubes/{cube}/messages",
    scope=Scope.WRITE,
    summary="Remember turns of a conversation",
    answer=WrittenOut,
    status=201,
    fails=(404, 409, 412, 413),
)
def add_messages(call: Caller, cube: CubeRef, body: MessagesIn) -> Response:
    """One request is one revision. A turn known already (same session and external id, or same session, speaker, time
    and text) is made stronger instead of being doubled."""
    prepared = remember.prepare_messages(
        call.embedder(cube),
        cube,
        session_id=body.session_id,
        messages=[remember.MessageIn(**dict(message)) for message in body.messages],
        branch=body.branch,
        now=call.now,
    )
    return _write(call, prepared, body.reason)


@routes.add(
    "POST",
    "/v1/cubes/{cube}/documents",
    scope=Scope.WRITE,
    summary="Remember a document",
    answer=WrittenOut,
    status=201,
    fails=(404, 409, 412, 413),
)
def add_document(call: Caller, cube: CubeRef, body: DocumentIn) -> Response:
    """It is cut into passages. Sent again under its `external_id` with another text, it replaces the former one."""
    prepared = remember.prepare_document(
        call.embedder(cube),
        cube,
        text=body.text,
        title=body.title,
        source=body.source,
        external_id=body.external_id,
        created_at=body.created_at,
        metadata=body.metadata,
        branch=body.branch,
        now=call.now,
    )
    return _write(call, prepared, body.reason)


@routes.add(
    "POST",
    "/v1/cubes/{cube}/memories",
    scope=Scope.WRITE,
    summary="Remember facts and other single memories",
    answer=WrittenOut,
    status=201,
    fails=(404, 409, 412, 413),
)
def add_memories(call: Caller, cube: CubeRef, body: MemoriesIn) -> Response:
    """One request is one revision. A memory known already (same external id, or same text) is made stronger."""
    prepared = remember.prepare_items(
        call.embedder(cube),
        cube,
        items=[remember.ItemIn(**dict(item)) for item in body.items],
        branch=body.branch,
        now=call.now,
    )
    return _write(call, prepared, body.reason)


@routes.add(
    "POST",
    "/v1/cubes/{cube}/import",
    scope=Scope.WRITE,
    summary="Import memories, one JSON object a line",
    answer=None,
    fails=(404, 413),
    repeatable=False,
    response=Ndjson,
    responses={
        200: {
            "content": {
                Ndjson.media_type: {
                    "x-line-schema": {"$ref": f"#/components/schemas/{ImportResult.__name__}"},
                    "example": '{"line":1,"status":"ok","id":"019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13","version":1,'
                    '"outcome":"added","revision":12}\n'
                    '{"line":2,"status":"error","code":"invalid","detail":"content: Field required"}\n',
                }
            }
        }
    },
    extra={
        "requestBody": {
            "required": True,
            "content": {
                Ndjson.media_type: {
                    "schema": {"type": "string"},
                    "example": '{"kind": "fact", "content": "Ana lives in Lisbon."}\n'
                    '{"kind": "fact", "content": "Ana is a nurse."}\n',
                }
            },
        }
    },
)
def import_memories(
    call: Caller, cube: CubeRef, body: RawBody, branch: BranchQuery = "main", system: Format = "items"
) -> Response:
    """Each line is an item as in `POST .../memories` and gets one result line (`ImportResult`), in order. Nothing of a
    bad line is kept; every other line is. An `Idempotency-Key` is not needed: what was imported before is `repeated`.

    With another `format` the body is a file of that system: what mem0's `get_all` or export returns, a Letta agent file, or
    items of a LangGraph store, as one JSON document or one a line. What is no memory there is `skipped`, by name."""
    return Ndjson(import_lines(call, cube, branch, body, system))


def _write(call: Call, prepared: Prepared, reason: str) -> Response:
    with call.writing() as tx:
        written = remember.write(tx, call.who, prepared, now=call.now, reason=reason, if_match=call.if_match)
        return call.keep(tx, 201, WrittenOut, written, etag=written.revision)
