"""The audit trail as a file: one JSON object a line, each chained to the one before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from api.call import Call
from api.dependencies import Caller
from api.routing import Routes
from api.schemas.fields import Time
from api.schemas.governance import AuditEntry
from memos.rules.access import Scope
from memos.services import trail
from memos.services.trail import Wanted

routes = Routes("Admin")

MEDIA = "application/x-ndjson"
After = Annotated[
    int, Query(ge=0, le=2**62, description="Only rows beyond this `seq`: to go on where an export ended.")
]
Since = Annotated[Time | None, Query(description="Only rows from this time on.")]
Until = Annotated[Time | None, Query(description="Only rows before this time.")]
Of = Annotated[UUID | None, Query(description="Only what is about this memory, or gave it to somebody.")]


class Ndjson(StreamingResponse):
    """One JSON object a line."""

    media_type = MEDIA


@routes.add(
    "GET",
    "/admin/v1/audit/export",
    scope=Scope.ADMIN,
    summary="Export the audit trail",
    answer=None,
    response=Ndjson,
    responses={
        200: {
            "content": {
                MEDIA: {
                    "schema": {"type": "string"},
                    "x-line-schema": AuditEntry.model_json_schema(),
                    "example": '{"tenant_id":"019d1f6e-7a50-7e9c-b7d8-2f4f5d0a9c16","seq":7,"at":"2026-08-01T09:30:00Z",'
                    '"key_id":null,"action":"cube.create","cube_id":null,"target":"travel-agent","detail":{},'
                    '"previous":"00","hash":"00"}\n',
                }
            }
        }
    },
)
def export_audit(
    call: Caller, after: After = 0, since: Since = None, until: Until = None, memory_id: Of = None
) -> Response:
    """Writes, administration, and the reads the cubes' policies want kept, in order. Reads of this process are written
    down first. Without filters, each line's `previous` is the `hash` of the line before."""
    call.app.reads.flush()
    return Ndjson(_lines(call, Wanted(after, since, until, memory_id)))


def _lines(call: Call, wanted: Wanted) -> Iterator[bytes]:
    with call.reading() as tx:
        for entry in trail.export(tx, call.who, wanted):
            line = AuditEntry(
                tenant_id=call.who.tenant_id,
                **{**entry, "previous": entry["previous"].hex(), "hash": entry["hash"].hex()},
            )
            yield line.model_dump_json().encode() + b"\n"
