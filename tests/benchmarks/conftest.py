"""A small service that speaks API.md, for the benchmarks to talk to: word overlap, and a dict for a database.

It refuses unknown fields, as the real one does, so a benchmark that invents names fails here.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

KEY = "mk_for-tests-only-0123456789"

MESSAGE_FIELDS = {"role", "content", "name", "external_id", "created_at", "metadata"}
ITEM_FIELDS = {"kind", "content", "external_id", "valid_from", "valid_to", "tags", "metadata"}
READ_FIELDS = {"query", "limit", "granularity", "filter", "budget", "now", "budget_tokens", "explain"}


class RefusalError(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class FakeApi:
    """The state and the rules; `requests` is what was asked, in order."""

    def __init__(self) -> None:
        self.cubes: dict[str, dict[str, dict[str, Any]]] = {}
        self.policies: dict[str, Any] = {}
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.busy_writes = 0
        self.queued_polls = 0
        self.wrap_facts = False
        self.offers_context = True
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.requests.append((method, path, body))
            parts = path.partition("?")[0].strip("/").split("/")
            if parts == ["readyz"]:
                return 200, {}
            if parts == ["v1", "jobs"]:
                self.queued_polls -= 1
                return 200, {"items": [{"id": "j"}] if self.queued_polls > 0 else [], "next_cursor": None}
            if parts == ["v1", "cubes"] and method == "POST":
                return 201, self._create(body)
            return self._in_cube(method, parts[2], parts[3:], body)

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        refuse_unknown(body, {"name", "description", "policy"})
        cube_id = f"cube-{next(self._ids)}"
        self.cubes[cube_id] = {}
        self.policies[cube_id] = body.get("policy")
        return {"id": cube_id, "name": body["name"]}

    def _in_cube(self, method: str, cube: str, rest: list[str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if cube not in self.cubes:
            raise RefusalError(404, "not_found")
        memories = self.cubes[cube]
        match method, rest:
            case "DELETE", []:
                del self.cubes[cube]
                return 204, {}
            case "POST", ["messages"]:
                refuse_unknown(body, {"session_id", "messages"})
                return 201, self._store(memories, body["messages"], MESSAGE_FIELDS, "turn")
            case "POST", ["memories"]:
                refuse_unknown(body, {"items"})
                return 201, self._store(memories, body["items"], ITEM_FIELDS, "fact")
            case "GET", ["memories"]:
                return 200, {"items": list(memories.values()), "next_cursor": None}
            case "GET", ["memories", memory_id]:
                return 200, memories[memory_id]
            case "PATCH", ["memories", memory_id]:
                memories[memory_id]["content"] = body["content"]
                return 200, memories[memory_id]
            case "POST", ["search"]:
                return 200, self._search(memories, body)
            case "POST", ["context"] if self.offers_context:
                return 200, self._context(memories, body)
        raise RefusalError(404, "not_found")

    def _store(
        self, memories: dict[str, Any], items: list[dict[str, Any]], fields: set[str], kind: str
    ) -> dict[str, Any]:
        if self.busy_writes > 0:
            self.busy_writes -= 1
            raise RefusalError(429, "too_busy")
        stored = []
        for item in items:
            refuse_unknown(item, fields)
            if not item["content"]:
                raise RefusalError(422, "invalid")
            memory_id = f"memory-{next(self._ids)}"
            number = len(memories)
            memories[memory_id] = {
                "id": memory_id,
                "kind": kind,
                "content": item["content"],
                "external_id": item.get("external_id"),
                "state": "generated",
                "valid_to": None,
                "number": number,
            }
            stored.append({"id": memory_id, "external_id": item.get("external_id")})
        return {"revision": 1, "memories": stored, "jobs": []}

    def _search(self, memories: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        refuse_unknown(body, READ_FIELDS)
        ranked = ranked_by_overlap(body["query"], memories)[: body.get("limit", 10)]
        items = [
            {
                "memory_id": f"derived-{one['id']}" if self.wrap_facts else one["id"],
                "kind": "fact" if self.wrap_facts else one["kind"],
                "content": one["content"],
                "score": score,
                "state": one["state"],
                "sources": [one["id"]] if self.wrap_facts else [],
            }
            for score, one in ranked
        ]
        return {
            "items": items,
            "route": {"budget": body.get("budget", "auto")},
            "trace_id": "t",
            "took_ms": 0.1,
        }

    def _context(self, memories: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        refuse_unknown(body, READ_FIELDS)
        items, used = [], 0
        for _, one in ranked_by_overlap(body["query"], memories):
            cost = -(-len(one["content"]) // 4)
            if used + cost <= body["budget_tokens"]:
                used += cost
                items.append({"memory_id": one["id"], "version": 1, "tokens": cost, "excerpt": f"- {one['content']}"})
        text = "\n".join(str(item["excerpt"]) for item in items)
        dropped = [{"memory_id": "x", "reason": "budget"}]
        return {"text": text, "tokens": used, "items": items, "dropped": dropped, "route": {}}


def refuse_unknown(body: dict[str, Any], fields: set[str]) -> None:
    if unknown := set(body) - fields:
        raise RefusalError(422, f"unknown field {sorted(unknown)}")


def ranked_by_overlap(query: str, memories: dict[str, Any]) -> list[tuple[float, dict[str, Any]]]:
    """Most shared words first, the newer first among equals; nothing without a shared word."""
    asked = set(re.findall(r"\w+", query.lower()))
    scored = [(float(len(asked & set(re.findall(r"\w+", one["content"].lower())))), one) for one in memories.values()]
    return sorted(((s, one) for s, one in scored if s), key=lambda found: (-found[0], -found[1]["number"]))


@pytest.fixture
def fake_api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def api_key() -> str:
    return KEY


@pytest.fixture
def api_url(fake_api: FakeApi) -> Iterator[str]:
    """The fake behind a real socket, for as long as a test runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                status, reply = 401, {"code": "unauthenticated", "detail": "no key"}
            else:
                try:
                    status, reply = fake_api.answer(self.command, self.path, body)
                except RefusalError as refusal:
                    status, reply = refusal.status, {"code": refusal.code, "detail": str(refusal)}
            data = b"" if status == 204 else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the base class names them

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def report_in(folder: Any) -> dict[str, Any]:
    """The one JSON file a benchmark wrote."""
    (path,) = folder.glob("*.json")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


@pytest.fixture
def run_benchmark(api_url: str, api_key: str, tmp_path: Any) -> Any:
    """`run_benchmark(name, *options)` runs it against the fake and returns the JSON it wrote."""
    from benchmarks.cli import main

    def run(name: str, *options: str) -> dict[str, Any]:
        out = tmp_path / f"results-{name}"
        assert main([name, "--url", api_url, "--key", api_key, "--out", str(out), *options]) == 0
        return report_in(out)

    return run
