"""What route functions ask for besides their body: the call, and the parameters that many routes share."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query, Request

from api.call import Call
from api.schemas.fields import Moment, PageSize, Reference, Storable, Time
from api.schemas.limits import MAX_CURSOR, MAX_REASON


async def current_call(request: Request) -> Call:
    call: Call = request.scope["call"]
    return call


async def request_body(request: Request) -> bytes:
    """The raw body, for routes that take something else than JSON."""
    return await request.body()


Caller = Annotated[Call, Depends(current_call)]
RawBody = Annotated[bytes, Depends(request_body)]

CubeRef = Annotated[Reference, Path(description="A cube's id or name.")]
MemoryId = Annotated[UUID, Path()]
PathName = Annotated[Reference, Path()]

BranchQuery = Annotated[Reference, Query(description="The line of history.")]
AnyBranchQuery = Annotated[Reference | None, Query(description="One line of history; all of them when absent.")]
AtQuery = Annotated[
    Moment | None, Query(description="Read the past: a revision number, a tag's name or an RFC 3339 time.")
]
AsOfQuery = Annotated[Time | None, Query(description="Show what was true in the world then.")]
LimitQuery = Annotated[PageSize, Query(description="Items in one answer, up to `MEMOS_MAX_LIMIT` (200).")]
CursorQuery = Annotated[
    Storable | None, Query(max_length=MAX_CURSOR, description="Where to go on: `next_cursor` of the page before.")
]
ReasonQuery = Annotated[Storable, Query(max_length=MAX_REASON, description="Why; kept with the revision.")]
