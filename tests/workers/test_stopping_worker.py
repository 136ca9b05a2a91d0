"""A real worker that is told to stop in the middle of a job hands it back, and another one ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from memos.rules.access import Principal
from memos.services import webhooks
from memos.services.remember import utc_now
from memos.store import jobs
from memos.wiring import App
from tests.conftest import Servers
from workers.messaging import make_celery
from workers.nudging import celery_nudger

PROJECT = Path(__file__).resolve().parents[2]
MESSAGES = 12


def eventually(what: Callable[[], Any], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.05)


def test_a_job_is_handed_back_and_ended_by_another(
    app: App, owner: Principal, owner_url: str, servers: Servers
) -> None:
    got: list[str] = []

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            got.append(self.headers["webhook-id"])
            time.sleep(0.4)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    environment = os.environ | {
        "DATABASE_URL": owner_url, "REDIS_URL": servers.redis_url, "MEMOS_EMBEDDER": "fake:64",
        "MEMOS_DATA_DIR": str(servers.root), "PYTHONPATH": str(PROJECT), "MEMOS_WEBHOOK_PRIVATE": "true",
    }  # fmt: skip
    allowing = replace(app, settings=app.settings.model_copy(update={"webhook_private": True}))
    nudger = celery_nudger(make_celery(servers.redis_url))

    def worker() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "memos.cli", "worker"], env=environment, start_new_session=True)

    def job() -> jobs.Job:
        with app.database.transaction(owner.tenant_id) as tx:
            return jobs.list_page(tx, None, "deliver", 1, None, None)[0]

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with app.database.transaction(owner.tenant_id) as tx:
            made = webhooks.create(
                tx, owner, allowing.settings, url=f"http://127.0.0.1:{server.server_port}/", kinds=["webhook.ping"],
                cube_refs=None, description="", now=utc_now(),
            )  # fmt: skip
            for _ in range(MESSAGES):
                webhooks.ping(tx, owner, made.webhook.id, now=utc_now())
        first = worker()
        second = None
        try:
            nudger.nudge(owner.tenant_id, job().id, "deliver")
            eventually(lambda: len(got) >= 2)
            first.send_signal(signal.SIGTERM)
            assert first.wait(60) == 0
            assert len(got) < MESSAGES
            waiting = job()
            assert (waiting.state, waiting.attempts) == ("queued", 0)
            second = worker()
            nudger.nudge(owner.tenant_id, waiting.id, "deliver")
            eventually(lambda: job().state == "succeeded")
        finally:
            for process in filter(None, (first, second)):
                if process.poll() is None:
                    process.terminate()
                    process.wait(60)
            nudger.close()
            server.shutdown()
            thread.join()
    assert len(set(got)) == len(got) == MESSAGES
