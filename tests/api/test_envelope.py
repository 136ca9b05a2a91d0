"""What surrounds every request: ids, limits on bodies, measurements, and answers to the unforeseen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import exc

from api.app import create_app
from api.problems import document, invalid, translate
from memos.errors import MemosError, Misconfigured, TooBusy, Unavailable
from memos.store.engine import Database
from memos.wiring import App
from tests.conftest import OWNER_KEY


@pytest.fixture
def small(app: App) -> TestClient:
    """The same service with room for 64 KiB."""
    api = create_app(app)
    object.__setattr__(api.state.limits, "body_bytes", 2**16)
    return TestClient(api, headers={"Authorization": f"Bearer {OWNER_KEY}"})


def test_a_request_id_is_kept_or_made(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = {
        client.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"] for bad in ("", "a b", "x" * 200)
    }
    assert len(made) == 3
    assert not made & {"", "a b", "x" * 200}


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_413(small: TestClient, announced: bool) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"name": "'
        for _ in range(70):
            yield b"x" * 1024
        yield b'"}'

    content: Any = b"".join(chunks()) if announced else chunks()
    answer = small.post("/v1/cubes", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    fine = small.post(
        "/v1/cubes",
        content=iter([b'{"name": ', f'"chunked-{announced}"}}'.encode()]),
        headers={"Content-Type": "application/json"},
    )
    assert fine.status_code == 201, fine.text


def test_requests_are_measured_by_route_template(client: TestClient, cube: str) -> None:
    client.get(f"/v1/cubes/{cube}")
    client.get("/no/such/path")
    measured = client.get("/metrics").text
    assert 'memos_request_seconds_count{method="GET",route="/v1/cubes/{cube}",status="200"}' in measured
    assert 'route="unmatched",status="404"' in measured
    assert "memos_requests_in_flight 1.0" in measured
    assert "memos_connections_in_use 0.0" in measured
    assert cube not in measured


def test_metrics_are_for_the_operator_unless_made_public(client: TestClient, stranger: TestClient, app: App) -> None:
    assert stranger.get("/metrics").status_code == 401
    settings = app.settings.model_copy(update={"metrics_public": True})
    public = TestClient(create_app(replace(app, settings=settings)))
    assert public.get("/metrics").status_code == 200


def test_metrics_answer_whoever_asks_from_this_machine(api: FastAPI) -> None:
    here = TestClient(api, client=("127.0.0.1", 40_000))
    assert here.get("/metrics").status_code == 200
    assert here.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 401  # a proxy, for others
    assert here.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert TestClient(api, client=("203.0.113.9", 40_000)).get("/metrics").status_code == 401


def test_health_and_readiness_need_no_key(stranger: TestClient) -> None:
    assert stranger.get("/healthz").json() == {"status": "ok"}
    ready = stranger.get("/readyz")
    assert ready.status_code == 200, ready.text
    assert ready.json()["ready"]
    assert {check["name"] for check in ready.json()["checks"]} >= {"database", "migrations", "broker", "model"}


def test_the_log_names_the_request_and_none_of_its_content(client: TestClient, cube: str) -> None:
    with structlog.testing.capture_logs() as logs:
        client.post(f"/v1/cubes/{cube}/search", json={"query": "a private matter"})
        client.get(f"/v1/cubes/{cube}/memories", params={"session_id": "private-session"})
        client.post(f"/v1/cubes/{cube}/search", json={"query": ["a private matter"]})
    lines = [line for line in logs if line["event"] == "request"]
    assert [line["status"] for line in lines] == [200, 200, 422]
    assert lines[0]["route"] == "/v1/cubes/{cube}/search"
    assert lines[0]["tenant"]
    assert "private" not in json.dumps(logs, default=str)


def test_the_unforeseen_is_500_with_a_log_entry_and_no_details(app: App) -> None:
    api = create_app(app)

    def explode() -> None:
        raise ZeroDivisionError("a secret detail")

    api.router.add_api_route("/explode", explode)
    with structlog.testing.capture_logs() as logs:
        answer = TestClient(api, raise_server_exceptions=False).get("/explode")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "internal_error"
    assert answer.json()["instance"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text
    [entry] = [line for line in logs if line["event"] == "unexpected error"]
    assert isinstance(entry["exc_info"], ZeroDivisionError)


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (TooBusy("later", retry_after_s=7), 429, "7"),
        (Unavailable("gone"), 503, "2"),
        (exc.TimeoutError("QueuePool limit"), 503, "2"),
        (exc.OperationalError("SELECT secret", {}, Exception("server closed")), 503, "2"),
        (Misconfigured("the password is hunter2"), 500, None),
        (exc.DataError("SELECT secret", {}, Exception("hunter2")), 500, None),
    ],
)
def test_failures_of_what_we_depend_on(app: App, error: Exception, status: int, retry_after: str | None) -> None:
    api = create_app(app)

    def fail() -> None:
        raise error

    api.router.add_api_route("/fail", fail)
    answer = TestClient(api).get("/fail")
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == retry_after
    assert "hunter2" not in answer.text
    assert "secret" not in answer.text


def test_a_database_that_is_away_is_503(app: App) -> None:
    gone = Database("postgresql://nobody:x@127.0.0.1:1/none", app.settings)
    api = create_app(replace(app, database=gone))
    away = TestClient(api, headers={"Authorization": "Bearer mk_whatever"})
    answer = away.get("/v1/cubes")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert away.get("/healthz").status_code == 200
    assert away.get("/readyz").status_code == 503
    gone.close()


def test_a_problem_can_always_be_written() -> None:
    error = MemosError("a lone \ud800 surrogate", extra={"number": float("nan")})
    error.__class__ = Unavailable  # its detail is shown, unlike an internal error's
    assert json.loads(document(error, "id"))["detail"] == "a lone ? surrogate"
    faults = invalid([{"type": "x", "loc": ("body", "\ud800" * 500), "msg": "Value error, no"}])
    assert len(json.loads(document(faults, "id"))["errors"][0]["where"][1]) == 200


def test_only_what_is_expected_is_translated() -> None:
    assert translate(ZeroDivisionError()) is None


def test_importing_builds_nothing() -> None:
    import api.app

    assert not any(isinstance(value, FastAPI) for value in vars(api.app).values())


def test_a_caller_who_hangs_up_is_no_error_of_ours(api: FastAPI) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(f"nobody listens any more, yet there is {message}")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/cubes",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {OWNER_KEY}".encode())],
    }
    with structlog.testing.capture_logs() as logs:
        asyncio.run(api(scope, receive, send))
    assert [(line["event"], line.get("status")) for line in logs if line["log_level"] != "debug"] == [("request", 499)]
