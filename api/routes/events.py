"""The events of a cube: as pages, or as a feed that stays open."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from api.call import Call, answer
from api.dependencies import Caller, CubeRef, CursorQuery, LimitQuery
from api.feeds import Feeds, follow
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.events import EventOut
from memos.rules.access import Scope
from memos.services import feed

routes = Routes("Events")

STREAM = "text/event-stream"


@routes.add(
    "GET",
    "/v1/cubes/{cube}/events",
    scope=Scope.READ,
    summary="Follow a cube's events",
    answer=Page[EventOut],
    fails=(404, 429),
    responses={200: {"content": {STREAM: {"schema": {"type": "string"}}}}},
)
async def list_events(
    request: Request,
    call: Caller,
    cube: CubeRef,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
    last_event_id: Annotated[str | None, Header(max_length=30, description="Where a feed was left.")] = None,
) -> Response:
    """Oldest first; kept for seven days. With `Accept: text/event-stream` the answer stays open (server-sent events):
    it goes on from `Last-Event-ID` or `cursor`, else from now; the first event, `ready`, says from where. An event
    `gap` says that some were forgotten meanwhile. The number of open feeds is bounded: 429."""
    if STREAM not in request.headers.get("accept", ""):
        return await run_in_threadpool(_page, call, cube, limit, cursor)
    after = feed.place(last_event_id if last_event_id is not None else cursor)
    cube_id = await run_in_threadpool(_cube, call, cube)
    feeds: Feeds = request.app.state.feeds
    place = feeds.enter(call.who.tenant_id, cube_id)
    request.scope["streams"] = True  # how long it stays open is no latency
    lines = follow(feeds, place, request.headers.get("authorization", ""), after)
    return StreamingResponse(lines, media_type=STREAM, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


def _page(call: Call, cube: str, limit: int, cursor: str | None) -> Response:
    with call.reading() as tx:
        found = feed.read(tx, call.who, cube, cursor=cursor, limit=limit)
    return answer(Page[EventOut], found)


def _cube(call: Call, cube: str) -> UUID:
    with call.reading() as tx:
        return feed.cube_of(tx, call.who, cube)
