"""The pages on a real database with something to show, visitors of several kinds, and a browser where there is one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from memos.rules.access import Principal
from memos.services import work
from memos.wiring import App
from tests.conftest import OWNER_KEY
from tests.pages import browser
from tests.pages.browser import Browser

HOST = "http://testserver"


@dataclass(frozen=True)
class House:
    """What there is to see, by id, and the address of each page of it."""

    cube: str
    fact: str
    turn: str
    job: str
    trace: str
    receipt: str
    hold: str
    grant: str

    def pages(self) -> dict[str, str]:
        return {
            "overview": "/admin",
            "cubes": "/admin/cubes",
            "cubes found": "/admin/cubes?q=hous",
            "history": f"/admin/cubes/{self.cube}",
            "history of a branch": f"/admin/cubes/{self.cube}?branch=what-if",
            "memories": f"/admin/cubes/{self.cube}/memories",
            "memories of then": f"/admin/cubes/{self.cube}/memories?at=1&kind=turn",
            "compare": f"/admin/cubes/{self.cube}/diff?from=1&to=3",
            "rollback": f"/admin/cubes/{self.cube}/rollback?to=2",
            "memory": f"/admin/memories/{self.fact}",
            "bench": "/admin/bench?cube=house",
            "jobs": "/admin/jobs",
            "jobs of a state": "/admin/jobs?state=succeeded&kind=extract",
            "job": f"/admin/jobs/{self.job}",
            "decisions": "/admin/decisions",
            "quarantine": "/admin/quarantine",
            "traces": "/admin/traces",
            "traces found": "/admin/traces?find=When+does",
            "trace": f"/admin/traces/{self.trace}",
            "audit": "/admin/audit",
            "audit of cubes": "/admin/audit?action=cube",
            "receipts": "/admin/receipts",
            "receipt": f"/admin/receipts/{self.receipt}",
            "storage": "/admin/storage",
            "access": "/admin/access",
            "sharing": "/admin/sharing",
            "sharing a cube": "/admin/sharing?cube=house",
            "retention": "/admin/retention",
            "holds that were lifted": "/admin/retention?all=1&cube=house",
            "limits": "/admin/limits",
        }


@pytest.fixture(scope="module")
def api(app: App) -> FastAPI:
    return create_app(app)


@pytest.fixture(scope="module")
def client(api: FastAPI) -> Iterator[TestClient]:
    """The owner, over the API."""
    with TestClient(api, headers={"Authorization": f"Bearer {OWNER_KEY}"}) as opened:
        yield opened


@pytest.fixture(scope="module")
def house(client: TestClient, app: App, owner: Principal) -> House:
    """A cube with people, an edit, a branch, decisions, an erasure and answered questions."""

    def post(path: str, **body: Any) -> Any:
        answer = client.post(path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def run(job: str) -> None:
        assert work.run_job(app, owner.tenant_id, UUID(job)) == "succeeded"

    at = f"/v1/cubes/{post('/v1/cubes', name='house', description='Who lives here')['name']}"
    said = ["I live in Lisbon.", "My sister Ana lives in Porto.", "I work for Acme.", "<script>alert('hm')</script>"]
    written = post(
        f"{at}/messages", session_id="s1", messages=[{"role": "user", "name": "Dora", "content": t} for t in said]
    )
    fact = post(f"{at}/memories", items=[{"kind": "fact", "content": "The train leaves at 21:15.", "tags": ["travel"]}])
    fact_id = fact["memories"][0]["id"]
    edited = client.patch(
        f"{at}/memories/{fact_id}", json={"content": "The train leaves at 22:40.", "reason": "timetable"}
    )
    assert edited.status_code == 200
    post(f"{at}/tags", name="timetable", revision=3)
    post(f"{at}/branches", name="what-if")
    post(f"{at}/memories", items=[{"kind": "fact", "content": "The train is late."}], branch="what-if")
    run(post(f"{at}/extract")["id"])
    post("/v1/cubes", name="attic")
    post("/v1/cubes/attic/memories", items=[{"kind": "fact", "content": "The old house had a blue door."}])
    job = post("/v1/cubes/attic/decay", now="2031-01-01T00:00:00Z")["id"]
    run(job)
    gone = post(f"{at}/forget", memory_ids=[written["memories"][2]["id"]], reason="asked")
    run(gone["job_id"])
    answer = post(f"{at}/context", query="When does the train leave?", budget_tokens=200)
    post(f"{at}/search", query="Where does Ana live?")
    app.recalls.flush()
    app.traces.flush()
    cube_id = client.get(at).json()["id"]
    turn = written["memories"][0]["id"]
    hold, lifted = (
        post("/admin/v1/holds", cube="attic", reason=why)["id"] for why in ("case 2026-17", "a letter from the court")
    )
    assert client.delete(f"/admin/v1/holds/{lifted}?reason=settled").status_code == 204
    guest = post("/admin/v1/keys", scopes=["read"], name="helpdesk")["id"]
    grant = post("/v1/cubes/attic/grants", ability="recall", to_key=guest, max_uses=10)["id"]
    classes = [{"name": "chat", "kinds": ["turn"], "max_age_days": 365, "then": "erase"}, {"max_age_days": 0.5}]
    assert client.patch("/v1/cubes/attic", json={"policy": {"retention": classes}}).status_code == 200
    limits = {"rate_per_s": 5.0, "max_memories": 10, "max_bytes": 0}
    assert client.put(f"/admin/v1/quotas/{guest}", json=limits).status_code == 200
    return House(cube_id, fact_id, turn, job, answer["trace_id"], gone["receipt_id"], hold, grant)


@pytest.fixture(scope="module")
def sign_in(api: FastAPI, client: TestClient) -> Callable[[str], TestClient]:
    """Somebody with the cookie of a key."""

    def make(key: str) -> TestClient:
        visitor = TestClient(api, base_url=HOST, follow_redirects=False)
        answer = visitor.post("/admin/login", data={"key": key})
        assert answer.status_code == 303, answer.text
        return visitor

    return make


@pytest.fixture(scope="module")
def visitor(sign_in: Callable[[str], TestClient]) -> TestClient:
    """The owner, signed in to the pages."""
    return sign_in(OWNER_KEY)


@pytest.fixture(scope="module")
def make_key(client: TestClient) -> Callable[..., str]:
    def make(*scopes: str, **more: Any) -> str:
        made = client.post("/admin/v1/keys", json={"scopes": list(scopes), **more})
        assert made.status_code == 201, made.text
        return str(made.json()["key"])

    return make


@pytest.fixture(scope="module")
def foreign_visitor(
    client: TestClient, make_key: Callable[..., str], sign_in: Callable[[str], TestClient]
) -> TestClient:
    """The admin of another tenant, signed in."""
    name = f"foreign-{uuid4().hex[:8]}"
    assert client.post("/admin/v1/tenants", json={"name": name}).status_code == 201
    return sign_in(make_key("read", "write", "freeze", "erase", "admin", tenant=name))


@pytest.fixture(scope="module")
def address(api: FastAPI, client: TestClient) -> Iterator[str]:
    """The service on a port, for a browser. `client` has started its parts and will end them."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://localhost:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    if browser.executable() is None:
        pytest.skip(f"no browser: none of {', '.join(browser.NAMES)} is installed")
    with browser.chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def person(chrome: Browser, address: str, house: House) -> Browser:
    """Somebody at a browser, signed in as the owner."""
    chrome.look()
    chrome.open(f"{address}/admin/login")
    chrome.fill("input[name=key]", OWNER_KEY)
    chrome.leave_by("button.main")
    assert chrome.evaluate("location.pathname") == "/admin"
    return chrome
