"""Events over HTTP: pages, feeds that stay open on a real server, and webhooks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api import feeds
from api.app import create_app
from api.feeds import Feeds
from memos.errors import TooBusy
from memos.store import events
from memos.wiring import App
from tests.conftest import OWNER_KEY

Json = dict[str, Any]


@pytest.fixture(scope="module")
def served(app: App) -> Iterator[tuple[str, FastAPI]]:
    """A real server: the test client cannot read an answer that does not end."""
    api = create_app(app)
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_config=None, ws="none", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", api
    api.state.feeds.end()
    server.should_exit = True
    thread.join()


class Following:
    """A feed as a client reads it."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def next(self) -> tuple[str, int, Json]:
        """Kind, id and data of the next event; comments are skipped."""
        found: dict[str, str] = {}
        for line in self._lines:
            if not line and "data" in found:
                return found["event"], int(found["id"]), json.loads(found["data"])
            name, _, value = line.partition(": ")
            if name:
                found[name] = value
        raise EOFError

    def comment(self) -> str:
        return next(line for line in self._lines if line.startswith(":"))


@contextmanager
def following(url: str, cube: str, key: str = OWNER_KEY, **headers: str) -> Iterator[Following]:
    wanted = {"Accept": "text/event-stream", "Authorization": f"Bearer {key}"} | headers
    with (
        httpx.Client(timeout=20) as client,
        client.stream("GET", f"{url}/v1/cubes/{cube}/events", headers=wanted) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Following(answer.iter_lines())


def write(client: TestClient, cube: str, text: str) -> None:
    body = {"items": [{"kind": "fact", "content": text}]}
    assert client.post(f"/v1/cubes/{cube}/memories", json=body).status_code == 201


def test_a_feed_begins_now_and_can_be_taken_up_where_it_was_left(
    served: tuple[str, FastAPI], client: TestClient, cube: str
) -> None:
    write(client, cube, "before")
    with following(served[0], cube) as feed:
        assert feed.next() == ("ready", 2, {"seq": 2})
        write(client, cube, "during")
        kind, number, data = feed.next()
        assert (kind, number) == ("revision.committed", 3)
        assert data["data"]["revision"] == 2
    write(client, cube, "meanwhile")
    with following(served[0], cube, **{"Last-Event-ID": "3"}) as feed:
        assert feed.next()[:2] == ("ready", 3)
        assert feed.next()[:2] == ("revision.committed", 4)
    with following(served[0], cube, **{"Last-Event-ID": "0"}) as feed:
        assert [feed.next()[0] for _ in range(3)] == ["ready", "cube.created", "revision.committed"]


def test_what_was_forgotten_meanwhile_is_said(
    served: tuple[str, FastAPI], client: TestClient, app: App, cube: str, owner: Any
) -> None:
    for number in range(3):
        write(client, cube, f"number {number}")
    with app.database.transaction(owner.tenant_id) as tx:
        tx.run("DELETE FROM events WHERE tenant_id = :tenant AND seq < 4")
    with following(served[0], cube, **{"Last-Event-ID": "1"}) as feed:
        assert feed.next()[0] == "ready"
        assert feed.next() == ("gap", 3, {"from": 2, "to": 3})
        assert feed.next()[:2] == ("revision.committed", 4)


def test_many_feeds_take_nothing_from_the_pool_and_are_bounded(
    served: tuple[str, FastAPI], client: TestClient, app: App, cube: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, api = served
    opened: Feeds = api.state.feeds
    monkeypatch.setattr(opened, "_most", 12)
    stack: list[Any] = []
    try:
        readers = []
        for _ in range(6):  # half of all, which is what one tenant may have
            context = following(url, cube)
            readers.append(context.__enter__())
            stack.append(context)
        assert {reader.next()[0] for reader in readers} == {"ready"}
        assert app.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {OWNER_KEY}"}
        refused = httpx.get(f"{url}/v1/cubes/{cube}/events", headers=headers)
        assert refused.status_code == 429
        assert refused.headers["retry-after"]
        write(client, cube, "for all of them")
        assert {reader.next()[:2] for reader in readers} == {("revision.committed", 2)}
    finally:
        for context in stack:
            context.__exit__(None, None, None)
    deadline = time.monotonic() + 30
    while len(opened):
        write(client, cube, f"a line that nobody reads {uuid4()}")
        assert time.monotonic() < deadline, "places are not given back"
        time.sleep(0.1)


def test_a_revoked_key_hears_no_more(
    served: tuple[str, FastAPI], client: TestClient, cube: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "HEARTBEAT_S", 0.2)
    made = client.post("/admin/v1/keys", json={"scopes": ["read"], "name": "listener"}).json()
    with following(served[0], cube, made["key"]) as feed:
        assert feed.next()[0] == "ready"
        assert "still here" in feed.comment()
        assert client.delete(f"/admin/v1/keys/{made['id']}").status_code == 204
        with pytest.raises(EOFError):
            while True:
                feed.next()


def test_a_feed_ends_with_its_process(served: tuple[str, FastAPI], client: TestClient, app: App, cube: str) -> None:
    api = create_app(app)
    opened: Feeds = api.state.feeds
    assert opened.closing is False
    opened.end()
    with pytest.raises(TooBusy):
        opened.enter(uuid4(), uuid4())


def test_pages_hold_the_same_events(client: TestClient, cube: str) -> None:
    for number in range(3):
        write(client, cube, f"number {number}")
    first = client.get(f"/v1/cubes/{cube}/events?limit=2").json()
    assert [item["seq"] for item in first["items"]] == [1, 2]
    rest = client.get(f"/v1/cubes/{cube}/events?cursor={first['next_cursor']}").json()
    assert [item["seq"] for item in rest["items"]] == [3, 4]
    assert rest["next_cursor"] is None
    assert client.get(f"/v1/cubes/{cube}/events?cursor=yesterday").status_code == 422


def test_who_may_follow(
    client: TestClient, foreigner: TestClient, with_scopes: Callable[..., TestClient], cube: str
) -> None:
    path, stream = f"/v1/cubes/{cube}/events", {"Accept": "text/event-stream"}
    assert foreigner.get(path, headers=stream).status_code == 404
    assert with_scopes("write").get(path, headers=stream).status_code == 403
    other = f"cube-{uuid4().hex[:8]}"
    client.post("/v1/cubes", json={"name": other})
    assert with_scopes("read", cubes=[other]).get(path, headers=stream).status_code == 404


def test_a_secret_of_a_webhook_is_shown_once(client: TestClient) -> None:
    made = client.post("/v1/webhooks", json={"url": "https://hooks.example.com/x"}).json()
    assert made["id"] == made["webhook"]["id"]
    path = f"/v1/webhooks/{made['webhook']['id']}"
    rotated = client.post(f"{path}/rotate").json()
    for answer in (client.get(path), client.get("/v1/webhooks"), client.patch(path, json={"active": False})):
        assert answer.status_code == 200
        assert made["secret"] not in answer.text
        assert rotated["secret"] not in answer.text
    assert client.post(f"{path}/ping", headers={"Idempotency-Key": "p"}).json() == (
        client.post(f"{path}/ping", headers={"Idempotency-Key": "p"}).json()
    )
    assert len(client.get(f"{path}/deliveries").json()["items"]) == 1
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"url": "http://example.com"}, {"url": "https://169.254.169.254/latest"}, {"url": "https://localhost"},
        {"url": "https://example.com", "kinds": ["nothing.known"]}, {"url": "https://example.com", "cubes": []}, {},
    ],
)  # fmt: skip
def test_bad_webhooks_are_refused(client: TestClient, body: Json) -> None:
    refused = client.post("/v1/webhooks", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")


def test_a_webhook_for_an_absent_cube_is_404(client: TestClient) -> None:
    body = {"url": "https://example.com", "cubes": ["not-there"]}
    assert client.post("/v1/webhooks", json=body).status_code == 404


def test_events_have_no_number_before_the_first(app: App, owner: Any) -> None:
    with app.database.transaction(owner.tenant_id) as tx:
        assert events.last(tx, uuid4()) == 0
