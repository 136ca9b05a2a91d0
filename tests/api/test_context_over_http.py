"""Context and traces as a caller sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

WORDS = ["harbour", "violin", "saffron", "glacier", "lantern", "orchard", "velvet", "compass"]


@pytest.fixture
def filled(client: TestClient, cube: str) -> str:
    messages = [
        {
            "role": "user" if n % 2 else "assistant",
            "name": "Ana" if n % 2 else None,
            "content": f"The {WORDS[n % 8]} came up on walk number {n}, and we spoke of the {WORDS[(n * 3 + 1) % 8]}.",
            "external_id": f"m{n}",
            "created_at": f"2026-03-{n // 10 + 1:02d}T10:00:00Z",
        }
        for n in range(30)
    ]
    for session in range(3):
        part = messages[session * 10 : session * 10 + 10]
        answer = client.post(f"/v1/cubes/{cube}/messages", json={"session_id": f"walk-{session}", "messages": part})
        assert answer.status_code == 201, answer.text
    client.post(f"/v1/cubes/{cube}/documents", json={"text": "Batteries carry no warranty. " * 80, "title": "Warranty"})
    return cube


def context(client: TestClient, cube: str, query: str, **options: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/cubes/{cube}/context", json={"query": query, **options})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_context_fits_its_budget_and_cites_its_memories(client: TestClient, filled: str) -> None:
    body = context(client, filled, "What about the violin?", budget_tokens=60)
    assert 0 < body["tokens"] <= 60
    assert body["tokenizer"]
    for item in body["items"]:
        assert f"[{item['number']}]" in body["text"]
        assert item["excerpt"] in body["text"]
    assert {one["reason"] for one in body["dropped"]} <= {"budget", "unlikely", "redundant"}
    assert body["route"]["confidence"] <= 1.0
    assert "# " in body["text"]


def test_equal_state_and_request_give_an_equal_hash(client: TestClient, filled: str) -> None:
    first, second = (context(client, filled, "the violin", budget_tokens=100) for _ in range(2))
    assert first["context_hash"] == second["context_hash"]
    assert first["text"] == second["text"]
    assert context(client, filled, "the violin", budget_tokens=101)["context_hash"] != first["context_hash"]
    client.post(f"/v1/cubes/{filled}/memories", json={"items": [{"kind": "fact", "content": "The violin is sold."}]})
    assert context(client, filled, "the violin", budget_tokens=100)["context_hash"] != first["context_hash"]


@pytest.mark.parametrize("budget", [1, 2, 5, 12, 30])
def test_a_small_budget_is_kept_and_never_empty(client: TestClient, filled: str, budget: int) -> None:
    body = context(client, filled, "batteries warranty", budget_tokens=budget)
    assert 0 < body["tokens"] <= budget
    assert len(body["items"]) >= 1
    assert body["items"][0]["excerpt"]


def test_an_empty_cube_gives_an_empty_context(client: TestClient, cube: str) -> None:
    body = context(client, cube, "anything")
    assert (body["text"], body["tokens"], body["items"], body["dropped"]) == ("", 0, [], [])


def test_several_cubes_are_named_in_the_text(client: TestClient, filled: str) -> None:
    other = f"other-{uuid4().hex[:8]}"
    client.post("/v1/cubes", json={"name": other})
    client.post(
        f"/v1/cubes/{other}/memories", json={"items": [{"kind": "fact", "content": "The violin is in Lisbon."}]}
    )
    answer = client.post("/v1/context", json={"query": "Where is the violin?", "cubes": [filled, other]})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert f"# {other}, " in body["text"]
    assert "The violin is in Lisbon." in body["text"]
    assert set(body["revisions"]) == {item["cube"] for item in body["items"]} | set(body["revisions"])


def test_filters_hold_in_a_context(client: TestClient, filled: str) -> None:
    body = context(client, filled, "violin harbour", filter={"session_id": {"eq": "walk-1"}}, budget="high")
    assert body["items"]
    assert {item["excerpt"] for item in body["items"]} <= {
        f"The {WORDS[n % 8]} came up on walk number {n}, and we spoke of the {WORDS[(n * 3 + 1) % 8]}."
        for n in range(10, 20)
    }


@pytest.mark.parametrize(
    "query",
    ["a", "the of and", "\U0001f600", "\U0001f600\U0001f3fd " * 50, "hello \u4f60\u597d \u041f\u0440\u0438\u0432",
     "a & b | !c <-> (d):*", "'; DROP TABLE traces; --",
     "word " * 2_000, "\u6771\u4eac", "x" * 10_000, "\\", "%_", ":a ::b {c}"],
)  # fmt: skip
def test_any_query_is_answered(client: TestClient, filled: str, query: str) -> None:
    for budget in ("auto", "high"):
        assert client.post(f"/v1/cubes/{filled}/search", json={"query": query, "budget": budget}).status_code == 200
    assert context(client, filled, query, budget_tokens=50)["tokens"] <= 50


def test_an_empty_query_is_refused(client: TestClient, filled: str) -> None:
    for query in ("", "  "):
        assert client.post(f"/v1/cubes/{filled}/context", json={"query": query}).status_code == 422
    assert client.post(f"/v1/cubes/{filled}/context", json={"query": "x", "budget_tokens": 0}).status_code == 422


def test_the_frontier_is_told(client: TestClient, filled: str) -> None:
    read = {}
    for budget in ("low", "mid", "high", "auto"):
        body = client.post(f"/v1/cubes/{filled}/search", json={"query": "violin walk", "budget": budget}).json()
        read[budget] = body["route"]["candidates"]
        assert body["route"]["budget"] == budget
        assert body["route"]["escalated"] is (budget == "high") or budget == "auto"
        assert (body["route"]["runner_up"] is None) is (budget == "high")
    assert read["low"] <= read["mid"] < read["high"]


def test_a_trace_tells_and_replays(
    client: TestClient, filled: str, foreigner: TestClient, with_scopes: Callable[..., TestClient]
) -> None:
    answers = [
        client.post(f"/v1/cubes/{filled}/search", json={"query": "Who spoke of the saffron?", "budget": budget}).json()
        for budget in ("auto", "low", "high")
    ]
    packed = context(client, filled, "Who spoke of the saffron?", budget_tokens=40)
    client.post(f"/v1/cubes/{filled}/memories", json={"items": [{"kind": "fact", "content": "Saffron is in the jar."}]})
    for answer in [*answers, packed]:
        trace_id = answer["trace_id"]
        told = client.get(f"/admin/v1/traces/{trace_id}")
        assert told.status_code == 200, told.text
        body = told.json()
        assert body["request"]["query"] == "Who spoke of the saffron?"
        assert body["route"]["reason"] == answer["route"]["reason"]
        assert body["items"][0]["channels"]
        replayed = client.post(f"/admin/v1/traces/{trace_id}/replay")
        assert replayed.status_code == 200, replayed.text
        assert replayed.json()["same"] is True, replayed.json()
    assert [i["memory_id"] for i in client.get(f"/admin/v1/traces/{answers[0]['trace_id']}").json()["items"]][:10] == [
        i["memory_id"] for i in answers[0]["items"]
    ]
    url = f"/admin/v1/traces/{answers[0]['trace_id']}"
    assert foreigner.get(url).status_code == 404
    assert with_scopes("read").get(url).status_code == 403
    assert client.get(f"/admin/v1/traces/{uuid4()}").status_code == 404


def test_a_policy_can_forbid_traces(client: TestClient) -> None:
    name = f"quiet-{uuid4().hex[:8]}"
    assert client.post("/v1/cubes", json={"name": name, "policy": {"trace_sample": 0}}).status_code == 201
    found = client.post(f"/v1/cubes/{name}/search", json={"query": "anything"}).json()
    assert client.get(f"/admin/v1/traces/{found['trace_id']}").status_code == 404
    refused = client.post("/v1/cubes", json={"name": f"{name}-2", "policy": {"trace_sample": 2}})
    assert refused.status_code == 422
