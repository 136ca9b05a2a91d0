"""The real API on a port of its own, and a client of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from api.app import create_app
from memos.kv import KVClient
from memos.wiring import App
from tests.conftest import OWNER_KEY


@contextmanager
def listening(app: App) -> Iterator[str]:
    """The base URL of the API on a real socket."""
    server = uvicorn.Server(uvicorn.Config(create_app(app), host="127.0.0.1", port=0, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(app: App) -> Iterator[str]:
    with listening(app) as found:
        yield found


@pytest.fixture(scope="module")
def tier(url: str) -> Iterator[KVClient]:
    with KVClient(url, OWNER_KEY) as made:
        yield made
