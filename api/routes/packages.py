"""Packages: cubes on their way out and in, whole with their past, or as lines."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from typing import IO, Annotated, Any

from fastapi import Body, Query
from starlette.responses import Response, StreamingResponse

from api.dependencies import AtQuery, BranchQuery, Caller, CubeRef, RawBody
from api.routing import Routes
from api.schemas.fields import Name
from api.schemas.packages import ExportIn, ImportedOut
from memos.rules.access import Scope
from memos.rules.packages import Profile, Trust
from memos.services import export_lines, package_export, package_import, signing

routes = Routes("Packages")

# A small package never touches the disk; a large one never fills the memory.
SPOOLED_BYTES = 8 * 2**20
_STEP_BYTES = 2**18
_PUBLIC_KEY = r"^[0-9a-f]{64}$"


class Ndjson(StreamingResponse):
    """One JSON object a line."""

    media_type = "application/x-ndjson"


def _ndjson(sample: str) -> dict[str, Any]:
    return {"content": {Ndjson.media_type: {"schema": {"type": "string"}, "example": sample}}}


_PACKAGE = (
    '{"package":{"format":"memos.cube-package/1","cube":{"id":"019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c13","name":"travel-agent"}}}\n'
    '{"manifest":{"counts":{},"sha256":"...","signature":"..."}}\n'
)
_LINES = '{"kind":"fact","content":"Ana lives in Lisbon.","created_at":"2026-03-01T09:30:00.000000+00:00"}\n'


@routes.add(
    "POST",
    "/v1/cubes/{cube}/export",
    scope=Scope.ADMIN,
    summary="Export a cube with its history",
    answer=None,
    fails=(404,),
    repeatable=False,
    response=Ndjson,
    responses={200: _ndjson(_PACKAGE)},
)
def export_cube(call: Caller, cube: CubeRef, body: Annotated[ExportIn, Body(default_factory=ExportIn)]) -> Response:
    """A signed package: every revision, branch, tag and version with its header, derivations, entities, usage and receipts, from
    one snapshot. What was erased is not in it. It changes nothing, so an `Idempotency-Key` is not needed."""
    profile = Profile(
        max_sensitivity=body.max_sensitivity, vectors=body.vectors, usage=body.usage, decisions=body.decisions
    )
    keys = signing.keyring(call.app.settings)
    found = package_export.export(call.app.database, call.app.embedder, keys, call.who, cube, profile, now=call.now)
    return _spooled(found, f"{cube}.memos")


@routes.add(
    "GET",
    "/v1/cubes/{cube}/export",
    scope=Scope.READ,
    summary="Export the memories of a branch as lines",
    answer=None,
    fails=(404,),
    response=Ndjson,
    responses={200: _ndjson(_LINES)},
)
def export_memories(call: Caller, cube: CubeRef, branch: BranchQuery = "main", at: AtQuery = None) -> Response:
    """What is alive on the branch, one item a line, as `POST .../import` takes it."""
    return _spooled(export_lines.lines(call.app.database, call.who, cube, branch, at), f"{cube}.jsonl")


@routes.add(
    "POST",
    "/v1/packages",
    scope=Scope.ADMIN,
    summary="Import a cube with its history",
    answer=ImportedOut,
    status=201,
    fails=(409, 413),
    repeatable=False,
    responses={200: {"model": ImportedOut, "description": "The cube was here already, with the same history."}},
    extra={"requestBody": {"required": True, **_ndjson(_PACKAGE)}},
)
def import_cube(
    call: Caller,
    body: RawBody,
    name: Annotated[Name | None, Query(description="Another name for the cube.")] = None,
    trust: Annotated[
        str | None,
        Query(
            pattern=_PUBLIC_KEY, description="A public key (64 hexadecimal digits) whose packages are to be trusted."
        ),
    ] = None,
) -> Response:
    """Whole or not at all: the signature is checked, and every hash computed anew. Packages of this service are trusted, others
    by the key named. Sent again it does nothing, so an `Idempotency-Key` is not needed. Larger files than a body may be:
    `memos import`."""
    imported = package_import.import_package(
        call.app.database,
        call.app.embedder,
        signing.keyring(call.app.settings),
        call.who,
        lambda: io.BytesIO(body),
        now=call.now,
        name=name,
        trust=Trust.of([bytes.fromhex(trust)] if trust else []),
    )
    shaped = ImportedOut.model_validate(imported, from_attributes=True)
    status = 200 if imported.outcome == "known" else 201
    return Response(shaped.model_dump_json(), status, media_type="application/json",
                    headers={"Location": f"/v1/cubes/{imported.cube_id}"})  # fmt: skip


def _spooled(found: Iterator[bytes], name: str) -> Response:
    """Taken to the end before the first byte leaves: no slow reader holds a snapshot, and an answer begun is whole."""
    file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=SPOOLED_BYTES)  # noqa: SIM115 - the stream closes it
    try:
        for line in found:
            file.write(line)
    except BaseException:  # whatever ended it, also a shutdown: a spooled file may lie on the disk
        file.close()
        raise
    length = file.tell()
    file.seek(0)
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)
    return Ndjson(
        _steps(file), headers={"Content-Length": str(length), "Content-Disposition": f'attachment; filename="{safe}"'}
    )


def _steps(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while step := file.read(_STEP_BYTES):
            yield step
