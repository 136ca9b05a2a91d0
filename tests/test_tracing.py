"""Traces say where the time went, and nothing of what was remembered."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from api.app import create_app
from memos import tracing
from memos.rules.access import Principal
from memos.services import work
from memos.tracing import class_of, configure_tracing, span, stop_tracing
from memos.wiring import App
from tests.conftest import OWNER_KEY

SECRET = "Wilhelmina keeps pralines under the stairs"


def told(found: ReadableSpan) -> str:
    return json.dumps([found.name, dict(found.attributes or {}), found.status.description, str(found.events)])


def test_a_request_and_its_jobs_are_told_without_a_word_of_memory(
    app: App, owner: Principal, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with TestClient(create_app(app), headers={"Authorization": f"Bearer {OWNER_KEY}"}) as client:
        client.post("/v1/cubes", json={"name": "pralines"})
        body = {"session_id": SECRET, "messages": [{"role": "user", "content": SECRET, "name": "Wilhelmina"}]}
        written = client.post("/v1/cubes/pralines/messages", json=body).json()
        found = client.post("/v1/cubes/pralines/search", json={"query": SECRET}, headers={"traceparent": caller}).json()
        assert found["items"]
        with app.database.transaction(owner.tenant_id) as tx:
            tx.run("UPDATE jobs SET run_after = now() WHERE tenant_id = :tenant AND state = 'queued'")
        for job_id in written["jobs"]:
            work.run_job(app, owner.tenant_id, UUID(job_id))
    finished = spans.get_finished_spans()
    assert not [one for one in finished if "praline" in told(one).lower() or "wilhelmina" in told(one).lower()]

    [search] = [s for s in finished if (s.attributes or {}).get("http.route") == "/v1/cubes/{cube}/search"]
    assert search.context is not None
    assert search.parent is not None
    assert f"{search.context.trace_id:032x}" == "ab" * 16
    assert f"{search.parent.span_id:016x}" == "cd" * 8
    inside = [s for s in finished if s.context and s.context.trace_id == search.context.trace_id and s is not search]
    assert {"embed", "candidates", "rank"} <= {s.name for s in inside}
    assert any(s.name.startswith("db SELECT") for s in inside)
    kinds = {str((s.attributes or {}).get("kind")) for s in finished if s.name == "job"}
    assert kinds >= {"extract", "index"}
    ids = {s.context.span_id for s in finished if s.context}
    jobs = [s for s in finished if s.name == "job" and s.context]
    assert any(s.parent and s.parent.span_id == jobs[0].context.span_id for s in finished)  # type: ignore[union-attr]
    assert len(ids) == len(finished)


def test_an_error_is_told_by_its_kind(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="pralines"), span("step"):
        raise ValueError(SECRET)
    [one] = spans.get_finished_spans()
    assert one.status.description == "ValueError"
    assert "praline" not in told(one)


def test_a_refused_statement_ends_its_span(app: App, owner: Principal, spans: InMemorySpanExporter) -> None:
    with pytest.raises(Exception, match="does_not_exist"), app.database.transaction(owner.tenant_id) as tx:
        tx.rows("SELECT does_not_exist FROM cubes")
    [refused] = [s for s in spans.get_finished_spans() if s.name == "db SELECT cubes"]
    assert refused.status.description
    assert "does_not_exist" not in told(refused)


def test_off_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tracing.SWITCHES:
        monkeypatch.delenv(name, raising=False)
    assert not configure_tracing("test")
    with span("step") as nothing:
        assert nothing is None


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT a, 'FROM nowhere' FROM heads WHERE x = 1", "SELECT nowhere"),
        ("WITH x AS (SELECT 1 FROM memory_versions) SELECT * FROM x", "WITH memory_versions"),
        ("INSERT INTO jobs (id) VALUES (1)", "INSERT jobs"),
        ("UPDATE contents SET text = NULL", "UPDATE contents"),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT set_config('memos.tenant_id', 'x', true)", "BEGIN"),
        ("", "statement"),
    ],
)
def test_the_class_of_a_statement(statement: str, kind: str) -> None:
    assert class_of(statement) == kind


def test_the_exporter_is_the_one_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that is a plain server here gets what the process sends."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        assert configure_tracing("api")
        with span("step"):
            pass
        stop_tracing()
        server.shutdown()
        thread.join()
    assert [path for path, _ in got] == ["/v1/traces"]
    assert b"memos-api" in got[0][1]
    assert b"step" in got[0][1]
