"""Search as a caller sees it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from memos.rules.access import Principal
from memos.services import forget, work
from memos.wiring import App


@pytest.fixture
def filled(client: TestClient, cube: str) -> str:
    client.post(
        f"/v1/cubes/{cube}/messages",
        json={
            "session_id": "chat",
            "messages": [
                {"role": "user", "name": "Ana", "content": "I moved to Lisbon in March.", "external_id": "m1"},
                {"role": "assistant", "content": "How do you like the city?", "metadata": {"mood": "kind"}},
            ],
        },
    )
    client.post(f"/v1/cubes/{cube}/documents", json={"text": "Batteries carry no warranty.", "title": "Warranty"})
    return cube


def test_an_answer_says_what_was_done_and_why(client: TestClient, filled: str) -> None:
    answer = client.post(f"/v1/cubes/{filled}/search", json={"query": "Who moved to Lisbon?", "explain": True})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    best = body["items"][0]
    assert best["content"] == "I moved to Lisbon in March."
    assert (best["source"]["session_id"], best["source"]["external_id"], best["source"]["name"]) == (
        "chat",
        "m1",
        "Ana",
    )
    assert best["why"]
    assert body["route"]["channels"]
    assert body["route"]["reason"]
    assert body["trace_id"]
    assert body["took_ms"] >= 0
    plain = client.post(f"/v1/cubes/{filled}/search", json={"query": "Who moved to Lisbon?"}).json()
    assert {hit["why"] for hit in plain["items"]} == {None}


def test_limit_granularity_and_filter_narrow(client: TestClient, filled: str) -> None:
    def found(**options: object) -> list[str]:
        answer = client.post(f"/v1/cubes/{filled}/search", json={"query": "Lisbon city warranty", **options})
        assert answer.status_code == 200, answer.text
        return [hit["content"] for hit in answer.json()["items"]]

    assert len(found()) == 3
    assert len(found(limit=1)) == 1
    assert found(granularity="passage") == ["Batteries carry no warranty."]
    assert len(found(granularity=["turn", "passage"])) == 3
    assert found(filter={"metadata.mood": {"eq": "kind"}}) == ["How do you like the city?"]
    assert found(filter={"not": {"kind": {"in": ["turn", "passage"]}}}) == []


def test_several_cubes_are_one_corpus(client: TestClient, filled: str) -> None:
    other = f"other-{uuid4().hex[:8]}"
    client.post("/v1/cubes", json={"name": other})
    client.post(f"/v1/cubes/{other}/memories", json={"items": [{"kind": "fact", "content": "Lisbon is hilly."}]})
    body = client.post("/v1/search", json={"query": "Lisbon", "cubes": [filled, other, filled]}).json()
    contents = [hit["content"] for hit in body["items"]]
    assert {"Lisbon is hilly.", "I moved to Lisbon in March."} <= set(contents)
    assert len(contents) == len(set(contents))
    assert len({hit["cube"] for hit in body["items"]}) == 2
    assert client.post("/v1/search", json={"query": "Lisbon", "cubes": []}).status_code == 422
    assert client.post("/v1/search", json={"query": "Lisbon", "cubes": [filled, "nope"]}).status_code == 404


def test_an_empty_cube_answers_with_nothing(client: TestClient, cube: str) -> None:
    answer = client.post(f"/v1/cubes/{cube}/search", json={"query": "anything"})
    assert (answer.status_code, answer.json()["items"]) == (200, [])


def test_what_has_faded_is_found_by_an_unsure_search_and_says_so(
    app: App, owner: Principal, client: TestClient, with_scopes: Callable[..., TestClient], cube: str
) -> None:
    assert client.patch(f"/v1/cubes/{cube}", json={"policy": {"forget": {"room": 0}}}).status_code == 200
    items = [
        {"kind": "fact", "content": "the spare key hangs behind the clock"},
        {"kind": "fact", "content": "the secret key hangs behind the stove", "sensitivity": "secret"},
    ]
    written = client.post(f"/v1/cubes/{cube}/memories", json={"items": items}).json()["memories"]
    with app.database.transaction(owner.tenant_id) as tx:
        job = forget.request(tx, owner, cube, branch="main", now=datetime(2031, 1, 1, tzinfo=UTC))
    assert work.run_job(app, owner.tenant_id, job.id) == "succeeded"

    narrow = client.post("/admin/v1/keys", json={"scopes": ["read"], "name": "narrow", "clearance": "normal"}).json()
    reader = TestClient(client.app, headers={"Authorization": f"Bearer {narrow['key']}"})
    body = reader.post(f"/v1/cubes/{cube}/search", json={"query": "where is the key?"}).json()
    assert [(item["memory_id"], item["state"]) for item in body["items"]] == [(written[0]["id"], "archived")]
    assert body["route"]["archived"] == 1
    assert with_scopes("write").post(f"/v1/cubes/{cube}/search", json={"query": "key"}).status_code == 403

    app.recalls.flush()
    for due in work.due(app, 100):
        if due.kind == "wake":
            work.run_job(app, owner.tenant_id, due.job_id)
    states = [client.get(f"/v1/cubes/{cube}/memories/{memory['id']}").json()["state"] for memory in written]
    assert states == ["activated", "archived"]
