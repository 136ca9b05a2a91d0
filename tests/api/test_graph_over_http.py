"""Walks and the shape of a neighbourhood through the HTTP door."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from memos.rules.access import Principal
from memos.wiring import App
from tests.services.running import run

AUTHOR = "The author of The Silver Oar is Mina Falk."
SPOUSE = "Mina Falk is married to Otto Brandt."


@pytest.fixture(scope="module")
def chain(client: TestClient, app: App, owner: Principal) -> str:
    """A cube with two facts that hang together, read."""
    name = f"chain-{uuid4().hex[:8]}"
    assert client.post("/v1/cubes", json={"name": name}).status_code == 201
    items = [{"kind": "fact", "content": text} for text in (AUTHOR, SPOUSE)]
    assert client.post(f"/v1/cubes/{name}/memories", json={"items": items}).status_code == 201
    run(app, owner, client.post(f"/v1/cubes/{name}/extract", json={}).json()["id"])
    return name


def walked(client: TestClient, cube: str, **body: Any) -> Any:
    return client.post(f"/v1/cubes/{cube}/graph/walk", json=body)


def test_a_walk_goes_on_from_what_a_query_names(client: TestClient, chain: str) -> None:
    found = walked(client, chain, query="Who is the husband of Mina Falk?", limit=5)
    assert found.status_code == 200, found.text
    assert {item["content"] for item in found.json()["items"]} == {AUTHOR, SPOUSE}
    assert "Mina Falk" in found.json()["entities"]
    first = found.json()["items"][0]
    assert first["evidence"] == 1.0
    again = walked(client, chain, memory_ids=[first["memory_id"]], kinds=["fact"], limit=1)
    assert [item["seed"] for item in again.json()["items"]] == [True]


def test_a_walk_needs_somewhere_to_begin(client: TestClient, chain: str, foreigner: TestClient) -> None:
    assert walked(client, chain).status_code == 422
    assert walked(client, chain, query="why?").status_code == 422
    assert walked(client, chain, entities=["Mina Falk"], filter={"no such field": 1}).status_code == 422
    assert walked(client, chain, entities=["Nobody"]).json()["items"] == []
    assert walked(foreigner, chain, entities=["Mina Falk"]).status_code == 404


def test_a_neighbourhood_says_who_belongs_together(client: TestClient, chain: str) -> None:
    graph = client.get(f"/v1/cubes/{chain}/graph", params={"center": "Mina Falk", "hops": 2}).json()
    ranks = {node["label"]: node["rank"] for node in graph["nodes"]}
    assert max(ranks, key=lambda label: ranks[label]) == "Mina Falk"
    assert sum(ranks.values()) == pytest.approx(1.0, abs=1e-3)
    assert {node["community"] for node in graph["nodes"]} >= {0}
    tied = {frozenset(entity["name"] for entity in edge["entities"]) for edge in graph["hyperedges"]}
    assert frozenset({"Mina Falk", "Otto Brandt"}) in tied
    assert "about" in {edge["relation"] for edge in graph["edges"]}
