"""What a memory says appears in no log line: not when it is written, searched, worked on, or when something breaks."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from uuid import UUID

import pytest
import structlog
from fastapi.testclient import TestClient
from structlog._config import BoundLoggerLazyProxy

from api.app import create_app
from memos.observing import configure_logging
from memos.rules.access import Principal
from memos.services import extract, remember, work
from memos.services.attempt import Attempt, Outcome
from memos.settings import Settings
from memos.store import search
from memos.wiring import App
from tests.conftest import OWNER_KEY

SECRET = "Zerafina buried the amethyst beside the mulberry"
WORDS = ("zerafina", "amethyst", "mulberry")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged from debug on, as JSON. Leaves logging as it was found."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers, root.level
    configure_logging(Settings(log_json=True, log_level="DEBUG"), process="test", stream=stream)
    structlog.configure(cache_logger_on_first_use=False)  # or later tests would log into this stream
    for module in tuple(sys.modules.values()):  # and what an earlier test has bound would go on logging into its own
        if isinstance(bound := vars(module).get("log"), BoundLoggerLazyProxy):
            vars(bound).pop("bind", None)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # the test's own client, not the service
    yield stream
    logging.getLogger("httpx2").setLevel(logging.NOTSET)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def explode(*_: object, **__: object) -> None:
    raise ValueError(f"cannot digest {SECRET!r}")


def test_nothing_of_it_appears(app: App, owner: Principal, log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    api = create_app(app)
    with TestClient(api, headers={"Authorization": f"Bearer {OWNER_KEY}"}, raise_server_exceptions=False) as client:
        client.post("/v1/cubes", json={"name": "garden"})
        message = {"role": "user", "content": SECRET, "external_id": "m1", "metadata": {"note": SECRET}}
        written = client.post(
            "/v1/cubes/garden/messages", json={"session_id": SECRET, "messages": [message], "reason": SECRET}
        )
        assert written.status_code == 201
        memory = written.json()["memories"][0]["id"]
        for path, body in (
            ("search", {"query": SECRET, "explain": True}), ("context", {"query": SECRET}),
            ("search", {"query": SECRET, "filter": {"tags": {"contains": SECRET}}}),
        ):  # fmt: skip
            assert client.post(f"/v1/cubes/garden/{path}", json=body).status_code == 200
        # Refused: unknown names, broken JSON, a session in the query string, a path that is none.
        client.post("/v1/cubes/garden/search", json={SECRET: 1})
        client.post("/v1/cubes/garden/search", content=SECRET, headers={"Content-Type": "application/json"})
        client.get("/v1/cubes/garden/memories", params={"session_id": SECRET, SECRET: "x"})
        client.get(f"/v1/nowhere/{SECRET}")
        client.patch(f"/v1/cubes/garden/memories/{memory}", json={"content": f"{SECRET} no more", "reason": SECRET})

        with app.database.transaction(owner.tenant_id) as tx:
            tx.run("UPDATE jobs SET run_after = now() WHERE tenant_id = :tenant AND state = 'queued'")
        for job_id in written.json()["jobs"]:
            assert work.run_job(app, owner.tenant_id, UUID(job_id)) == "succeeded"

        # Defects: in a request, in a statement, in a job.
        with monkeypatch.context() as patch:
            patch.setattr(search, "candidates", explode)
            assert client.post("/v1/cubes/garden/search", json={"query": SECRET}).status_code == 500
        with monkeypatch.context() as patch:
            patch.setattr(remember, "write", _bad_statement)
            refused = client.post("/v1/cubes/garden/messages", json={"session_id": "s", "messages": [message]})
            assert refused.status_code == 500

    def broken(_: Attempt) -> Outcome:
        explode()
        return Outcome()

    again = client_job(app, owner)
    assert work.run_job(app, owner.tenant_id, again, handlers={"extract": broken}) == "queued"

    lines = log.getvalue()
    assert lines.count('"event": "request"') >= 10
    assert '"unexpected error"' in lines
    assert '"job_failed"' in lines
    found = [line for line in lines.splitlines() if any(word in line.lower() for word in WORDS)]
    assert found == []


def _bad_statement(tx: object, *_: object, **__: object) -> None:
    tx.rows("SELECT CAST(:text AS integer)", text=SECRET)  # type: ignore[attr-defined]


def client_job(app: App, owner: Principal) -> UUID:
    from memos.store import jobs

    with app.database.transaction(owner.tenant_id) as tx:
        return jobs.promise(tx, "extract", payload={"branch": "main"})


def test_the_handlers_tried_are_the_real_ones() -> None:
    assert work.HANDLERS["extract"] is extract.extract
