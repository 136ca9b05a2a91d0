"""Feeds: event streams that stay open, for the price of one database connection and one thread, however many there are.

While somebody follows, one task asks once in a while, in one statement, how far each followed cube is, and wakes those
for whom there is news; they then read their own page, on the same connection. So feeds take nothing from the pool and
the threads that answer requests, and a slow reader holds up nobody: nothing is buffered for it but its place.

Polling instead of LISTEN/NOTIFY: a notifying transaction takes a lock of the whole database at its commit, and would
make the writers of all cubes queue for it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from memos.errors import MemosError, TooBusy
from memos.rules.access import Scope
from memos.services import feed
from memos.store import events
from memos.store.engine import Database
from memos.store.events import Event
from memos.wiring import App, login_url

POLL_S = 0.5
HEARTBEAT_S = 15.0
"""A comment, so that proxies keep the line; and the moment to look whether the key still opens the cube."""
LONGEST_S = 3_600.0
"""Then the follower comes back where it was, perhaps to another process."""
PAGE = 100
RETRY_MS = 2_000

T = TypeVar("T")
log = structlog.get_logger("memos.feeds")


@dataclass(eq=False, slots=True)
class Place:
    """One follower."""

    tenant_id: UUID
    cube_id: UUID
    news: asyncio.Event = field(default_factory=asyncio.Event)
    left: bool = False


class Feeds:
    """Who follows what, in this process. Used from the event loop only."""

    def __init__(self, app: App, *, most: int) -> None:
        self._app = app
        self._most = most
        self._places: set[Place] = set()
        self._of_tenant: Counter[UUID] = Counter()
        self._seen: dict[tuple[UUID, UUID], int] = {}
        self._database: Database | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._polling: asyncio.Task[None] | None = None
        self.closing = False

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, tenant_id: UUID, cube_id: UUID) -> Place:
        """A place, to be given back with `leave`. Raises `TooBusy` when all are taken, or half of them by one tenant."""
        if self.closing or len(self._places) >= self._most or self._of_tenant[tenant_id] >= max(1, self._most // 2):
            raise TooBusy("too many feeds are open; read the events as pages meanwhile", retry_after_s=5)
        place = Place(tenant_id, cube_id)
        self._places.add(place)
        self._of_tenant[tenant_id] += 1
        if self._polling is None or self._polling.done():
            self._polling = asyncio.get_running_loop().create_task(self._poll())
        return place

    def leave(self, place: Place) -> None:
        if not place.left:
            place.left = True
            self._places.discard(place)
            self._of_tenant[place.tenant_id] -= 1

    async def ask(self, question: Callable[[Database], T]) -> T:
        """Run on the feeds' own connection, in their own thread."""
        if self._thread is None or self._database is None:
            settings = self._app.settings.model_copy(update={"pool_size": 1})
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="feeds")
            self._database = Database(login_url(settings), settings, application_name="memos-feeds")
        return await asyncio.get_running_loop().run_in_executor(self._thread, question, self._database)

    def end(self) -> None:
        """Let every follower go: the process is about to stop, and another one will have them."""
        self.closing = True
        for place in self._places:
            place.news.set()

    async def close(self) -> None:
        self.end()
        if self._polling is not None:
            self._polling.cancel()
        if self._thread is not None and self._database is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
            self._thread.shutdown(wait=False)

    async def _poll(self) -> None:
        while self._places and not self.closing:
            followed = {(place.tenant_id, place.cube_id) for place in self._places}
            try:
                heads = await self.ask(lambda database: events.heads(database, followed))  # noqa: B023 - awaited here
            except SQLAlchemyError as error:
                log.warning("feeds_wait", error=type(error).__name__)
                heads = self._seen
            for place in self._places:
                stream = (place.tenant_id, place.cube_id)
                if heads.get(stream, 0) != self._seen.get(stream, 0):
                    place.news.set()
            self._seen = heads
            await asyncio.sleep(POLL_S)


async def follow(feeds: Feeds, place: Place, authorization: str, after: int | None) -> AsyncIterator[bytes]:
    """The lines of one feed, until the follower leaves, may no longer listen, or the process ends."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + LONGEST_S
    try:
        head = await feeds.ask(lambda database: _last(database, place))
        seen = head if after is None else min(after, head)
        yield f"retry: {RETRY_MS}\n".encode() + _lines("ready", seen, {"seq": seen})
        while not feeds.closing and loop.time() < ends:
            place.news.clear()
            found = await feeds.ask(lambda database: _page(database, place, seen))  # noqa: B023 - awaited here
            for event in found:
                if event.seq > seen + 1:
                    yield _lines("gap", event.seq - 1, {"from": seen + 1, "to": event.seq - 1})
                seen = event.seq
                yield _lines(event.kind, seen, event.wire())
            if len(found) == PAGE:
                continue
            try:
                await asyncio.wait_for(place.news.wait(), HEARTBEAT_S)
            except TimeoutError:
                if not await feeds.ask(lambda database: _may_listen(database, place, authorization)):
                    return
                yield b": still here\n\n"
    except SQLAlchemyError as error:
        log.warning("feed_ended", error=type(error).__name__)  # the follower comes back by itself
    finally:
        feeds.leave(place)


def _lines(kind: str, number: int, data: dict[str, Any]) -> bytes:
    body = json.dumps(data, separators=(",", ":"))
    return f"event: {kind}\nid: {number}\ndata: {body}\n\n".encode()


def _last(database: Database, place: Place) -> int:
    with database.transaction(place.tenant_id, read_only=True) as tx:
        return events.last(tx, place.cube_id)


def _page(database: Database, place: Place, after: int) -> list[Event]:
    with database.transaction(place.tenant_id, read_only=True) as tx:
        return events.page(tx, place.cube_id, after, PAGE)


def _may_listen(database: Database, place: Place, authorization: str) -> bool:
    """Whether the key still works and the cube is still there."""
    try:
        who = database.authenticate(authorization.partition(" ")[2].strip())
        who.require(Scope.READ)
        with database.transaction(place.tenant_id, read_only=True) as tx:
            feed.cube_of(tx, who, str(place.cube_id))
    except MemosError:
        return False
    return who.tenant_id == place.tenant_id
