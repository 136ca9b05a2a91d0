"""An API that is told to stop says so, finishes what it has begun, lets its feeds go, and then ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memos.embedded.processes import free_port
from tests.conftest import OWNER_KEY, Servers

PROJECT = Path(__file__).resolve().parents[2]
HEADERS = {"Authorization": f"Bearer {OWNER_KEY}", "Content-Type": "application/json"}


@pytest.fixture
def api(owner_url: str, servers: Servers) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port(None)
    environment = {
        "DATABASE_URL": owner_url, "REDIS_URL": servers.redis_url, "MEMOS_EMBEDDER": "fake:64",
        "MEMOS_DATA_DIR": str(servers.root), "PYTHONPATH": str(PROJECT), "MEMOS_DRAIN_S": "4",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "memos.cli", "api", "--port", str(port)], env=os.environ | environment
    )
    deadline = time.monotonic() + 120
    while status(port, "/healthz") != 200:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield process, port
    if process.poll() is None:
        process.kill()
    process.wait()


def status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers=HEADERS)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_what_has_begun_is_finished(api: tuple[subprocess.Popen[bytes], int]) -> None:
    process, port = api
    begun, idle = (http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(2))
    idle.request("POST", "/v1/cubes", json.dumps({"name": "diary"}), HEADERS)
    made = idle.getresponse()
    made.read()
    assert made.status == 201
    assert made.headers["connection"] != "close"

    feed = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    feed.request("GET", "/v1/cubes/diary/events", headers=HEADERS | {"Accept": "text/event-stream"})
    open_feed, heard = feed.getresponse(), []
    listener = threading.Thread(target=lambda: heard.append(open_feed.read()))
    listener.start()

    body = json.dumps({"items": [{"kind": "fact", "content": "The ferry leaves at noon."}]}).encode()
    begun.putrequest("POST", "/v1/cubes/diary/memories")
    for name, value in (HEADERS | {"Content-Length": str(len(body))}).items():
        begun.putheader(name, value)
    begun.endheaders()
    begun.send(body[:10])

    process.send_signal(signal.SIGTERM)
    listener.join(20)
    assert not listener.is_alive(), "the feed holds the process up"
    assert heard[0].startswith(b"retry:")

    assert status(port, "/readyz") == 503
    assert status(port, "/healthz") == 200
    idle.request("GET", "/v1/cubes/diary", headers=HEADERS)
    answer = idle.getresponse()
    answer.read()
    assert (answer.status, answer.headers["connection"]) == (200, "close")

    begun.send(body[10:])
    late = begun.getresponse()
    assert (late.status, late.headers["connection"]) == (201, "close")
    assert json.loads(late.read())["revision"] == 1
    assert process.wait(30) == 0
    assert status(port, "/healthz") == 0
