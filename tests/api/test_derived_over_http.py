"""Extraction, consolidation and the graph through the HTTP door."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from memos.rules.access import Principal
from memos.services import work
from memos.wiring import App


def say(client: TestClient, cube: str, *texts: str) -> dict[str, Any]:
    messages = [{"role": "user", "name": "Dora", "content": text} for text in texts]
    written = client.post(f"/v1/cubes/{cube}/messages", json={"session_id": "s1", "messages": messages})
    assert written.status_code == 201, written.text
    body: dict[str, Any] = written.json()
    return body


def run(app: App, owner: Principal, answer: Any) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert work.run_job(app, owner.tenant_id, UUID(job["id"])) == "succeeded"
    return job


@pytest.fixture
def told(client: TestClient, cube: str, app: App, owner: Principal) -> str:
    say(client, cube, "I live in Lisbon.", "My sister Ana lives in Porto.", "I work for Acme.", "I love hiking.")
    run(app, owner, client.post(f"/v1/cubes/{cube}/extract", json={}))
    return cube


def test_a_write_promises_an_extraction(client: TestClient, cube: str) -> None:
    jobs = say(client, cube, "I live in Lisbon.")["jobs"]
    kinds = {client.get(f"/v1/jobs/{job}").json()["kind"] for job in jobs}
    assert "extract" in kinds


def test_extraction_can_be_looked_at_before_it_runs(client: TestClient, cube: str, app: App, owner: Principal) -> None:
    say(client, cube, "I live in Lisbon.")
    preview = client.post(f"/v1/cubes/{cube}/extract", json={"dry_run": True})
    assert preview.status_code == 200, preview.text
    [finding] = preview.json()["findings"]
    assert (finding["text"], finding["outcome"]) == ("Dora lives in Lisbon.", "add")
    assert client.get(f"/v1/cubes/{cube}/memories?kind=fact").json()["items"] == []
    job = run(app, owner, client.post(f"/v1/cubes/{cube}/extract", json={}))
    [fact] = client.get(f"/v1/cubes/{cube}/memories?kind=fact").json()["items"]
    assert fact["content"] == finding["text"]
    assert client.get(f"/v1/jobs/{job['id']}").json()["revision"] == 2
    sources = client.get(f"/v1/cubes/{cube}/memories/{fact['id']}/provenance").json()["sources"]
    assert [source["memory_id"] for source in sources] == finding["sources"]


def test_consolidation_can_be_looked_at_before_it_runs(
    client: TestClient, told: str, app: App, owner: Principal
) -> None:
    preview = client.post(f"/v1/cubes/{told}/consolidate", json={"dry_run": True})
    assert preview.status_code == 200, preview.text
    assert preview.json()["problems"] == []
    kinds = {memory["kind"] for memory in preview.json()["memories"]}
    assert kinds == {"episode", "profile"}
    run(app, owner, client.post(f"/v1/cubes/{told}/consolidate", json={}))
    counts = client.get(f"/v1/cubes/{told}").json()["counts"]["by_kind"]
    assert counts["episode"] >= 1
    assert counts["profile"] == 1


def test_a_repeated_request_promises_one_job(client: TestClient, told: str) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    first = client.post(f"/v1/cubes/{told}/consolidate", json={}, headers=key)
    again = client.post(f"/v1/cubes/{told}/consolidate", json={}, headers=key)
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"


def test_entities_and_their_neighbourhood(client: TestClient, told: str) -> None:
    items = client.get(f"/v1/cubes/{told}/entities", params={"q": "DORA"}).json()["items"]
    [dora] = items
    assert (dora["name"], dora["type"]) == ("Dora", "person")
    detail = client.get(f"/v1/cubes/{told}/entities/{dora['id']}").json()
    assert {"live in", "work for"} <= {relation["attribute"] for relation in detail["relations"]}
    graph = client.get(f"/v1/cubes/{told}/graph", params={"center": "dora", "hops": 2}).json()
    assert {"Dora", "Lisbon", "Ana"} <= {node["label"] for node in graph["nodes"]}
    assert client.get(f"/v1/cubes/{told}/graph", params={"center": "nobody"}).status_code == 404
    assert client.get(f"/v1/cubes/{told}/graph", params={"center": "dora", "hops": 9}).status_code == 422
    assert client.get(f"/v1/cubes/{told}/graph").status_code == 422


def test_merging_and_splitting(client: TestClient, told: str) -> None:
    ids = {e["name"]: e["id"] for e in client.get(f"/v1/cubes/{told}/entities").json()["items"]}
    path = f"/v1/cubes/{told}/entities"
    merged = client.post(f"{path}/merge", json={"entities": [ids["Porto"]], "into": ids["Lisbon"], "reason": "a test"})
    assert merged.status_code == 201, merged.text
    revision = client.get(f"/v1/cubes/{told}/revisions?limit=1").json()["items"][0]
    assert (revision["revision"], revision["kind"], revision["reason"]) == (
        merged.json()["revision"],
        "entity.merge",
        "a test",
    )
    assert client.post(f"{path}/merge", json={"entities": [ids["Porto"]], "into": ids["Lisbon"]}).status_code == 409
    split = client.post(f"{path}/{ids['Lisbon']}/split", json={"entities": [ids["Porto"]]})
    assert split.status_code == 201
    assert split.json()["entity"]["name"] == "Porto"
    assert client.post(f"{path}/{ids['Lisbon']}/split", json={}).status_code == 422
    assert client.post(f"{path}/{uuid4()}/split", json={"entities": [ids["Porto"]]}).status_code == 404


def test_reading_is_not_enough_to_derive(
    client: TestClient, told: str, with_scopes: Any, foreigner: TestClient
) -> None:
    reader = with_scopes("read")
    for path in ("extract", "consolidate"):
        assert reader.post(f"/v1/cubes/{told}/{path}", json={}).status_code == 403
        assert foreigner.post(f"/v1/cubes/{told}/{path}", json={}).status_code == 404
    assert reader.get(f"/v1/cubes/{told}/entities").status_code == 200
    for path in ("entities", f"entities/{uuid4()}", "graph?center=Dora"):
        assert foreigner.get(f"/v1/cubes/{told}/{path}").status_code == 404
