"""Labels and policies: what is above the clearance is withheld at every door."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from memos.rules.access import Principal
from memos.services import work
from memos.wiring import App
from tests.api.governing import add, found, key_of


def test_labels_above_the_clearance_are_withheld_at_every_door(
    client: TestClient, cube: str, app: App, owner: Principal
) -> None:
    secret = add(
        client, cube, "Ana keeps the Zanzibar ledger.", sensitivity="secret", tags=["hush"], metadata={"k": "Zanzibar"}
    )
    open_ = add(client, cube, "Ana keeps a ledger of birds.")
    later = add(client, cube, "Project Zanzibar begins in May.")
    client.patch(f"/v1/cubes/{cube}/memories/{later['id']}", json={"sensitivity": "personal"})
    job = client.post(f"/v1/cubes/{cube}/extract", json={}).json()
    assert work.run_job(app, owner.tenant_id, UUID(job["id"])) == "succeeded"
    _, reader = key_of(client, "read", "write", "erase", "admin", clearance="normal")
    head = client.get(f"/v1/cubes/{cube}").json()["revision"]
    first = later["id"]
    doors = [
        "", "/memories", "/memories?limit=1", f"/memories/{secret['id']}", f"/memories/{secret['id']}/history",
        f"/memories/{first}/history", f"/memories/{first}?at=3", f"/diff?from=0&to={head}", f"/diff?from=2&to={head}",
        f"/memories/{open_['id']}/provenance", f"/memories/{secret['id']}/provenance", "/entities", "/entities?q=zanz",
        "/decisions", "/revisions",
    ]  # fmt: skip
    for door in doors:
        answer = reader.get(f"/v1/cubes/{cube}{door}")
        assert answer.status_code == 200, door
        assert "zanzibar" not in answer.text.lower(), door
        assert "hush" not in answer.text, door
    assert "Zanzibar" in client.get(f"/v1/cubes/{cube}/memories").text
    assert reader.get(f"/v1/cubes/{cube}/graph?center={secret['id']}").status_code == 404
    assert "Zanzibar" not in reader.get(f"/v1/cubes/{cube}/graph?center=Ana").text
    for body in (
        {"query": "Zanzibar"},
        {"query": "Zanzibar", "at": 3},
        {"query": "ledger", "filter": {"tags": {"contains": "hush"}}},
    ):
        for door in ("search", "context"):
            assert "zanzibar" not in reader.post(f"/v1/cubes/{cube}/{door}", json=body).text.lower().replace(
                '"zanzibar"', ""
            )
    assert reader.get(f"/v1/cubes/{cube}/memories?tag=hush").json()["items"] == []
    assert reader.patch(f"/v1/cubes/{cube}/memories/{secret['id']}", json={"priority": 1.0}).status_code == 404
    assert reader.post(f"/v1/cubes/{cube}/memories/{secret['id']}/restore", json={"version": 1}).status_code == 404
    shown = reader.get(f"/v1/cubes/{cube}/memories/{secret['id']}").json()
    assert (shown["redacted"], shown["content"], shown["sensitivity"]) == (True, None, "secret")
    assert found(client, cube, "Zanzibar")[0] in (secret["id"], later["id"])
    trace = client.post(f"/v1/cubes/{cube}/search", json={"query": "who keeps a ledger"}).json()["trace_id"]
    replayed = reader.post(f"/admin/v1/traces/{trace}/replay").json()
    assert secret["id"] not in {place["memory_id"] for place in replayed["after"]}
    # Nobody hands out more than they have.
    refused = reader.post("/admin/v1/keys", json={"scopes": ["read"], "clearance": "secret"})
    assert refused.status_code == 403


def test_hiding_shows_nothing_where_redacting_shows_that_something_is_there(client: TestClient, cube: str) -> None:
    secret = add(client, cube, "The vault opens at noon.", sensitivity="secret")
    _, reader = key_of(client, "read", clearance="normal")
    assert reader.get(f"/v1/cubes/{cube}/memories/{secret['id']}").status_code == 200
    client.patch(f"/v1/cubes/{cube}", json={"policy": {"access": {"above_clearance": "hide"}}})
    assert reader.get(f"/v1/cubes/{cube}/memories/{secret['id']}").status_code == 404
    assert reader.get(f"/v1/cubes/{cube}/memories").json()["items"] == []
    assert client.get(f"/v1/cubes/{cube}/memories/{secret['id']}").json()["content"]


def test_the_policy_decides_by_who_does_what_in_which_context(
    client: TestClient, cube: str, app: App, owner: Principal
) -> None:
    key_id, reader = key_of(client, "read", "write")
    rules = [
        {"keys": [key_id], "operations": ["write"], "effect": "deny"},
        {"keys": [key_id], "purposes": ["support"], "clearance": "normal"},
        {"keys": [key_id], "purposes": ["*", "-"], "effect": "deny"},
    ]
    add(client, cube, "The code is 4711.", sensitivity="secret")
    add(client, cube, "The door is green.")
    changed = client.patch(f"/v1/cubes/{cube}", json={"policy": {"access": {"rules": rules}}})
    assert changed.status_code == 200, changed.text
    search = f"/v1/cubes/{cube}/search"
    refused = reader.post(search, json={"query": "door code"})
    assert (refused.status_code, refused.json()["code"], refused.json()["rule"]) == (403, "forbidden", 3)
    support = {"X-Memos-Purpose": "support", "X-Memos-Session": "ticket 7"}
    given = reader.post(search, json={"query": "door code"}, headers=support).json()["items"]
    assert [item["content"] for item in given] == ["The door is green."]
    item = {"items": [{"kind": "fact", "content": "x"}]}
    assert reader.post(f"/v1/cubes/{cube}/memories", json=item, headers=support).status_code == 403
    assert cube not in [c["name"] for c in reader.get("/v1/cubes").json()["items"]]
    assert len(found(client, cube, "door code")) == 2
    # A slip that refuses everybody can be mended by an admin, and by nobody else.
    client.patch(f"/v1/cubes/{cube}", json={"policy": {"access": {"rules": [{"effect": "deny"}]}}})
    assert client.post(search, json={"query": "door code"}).status_code == 403
    assert reader.patch(f"/v1/cubes/{cube}", json={"policy": {}}).status_code == 403
    assert client.patch(f"/v1/cubes/{cube}", json={"policy": {"access": {"rules": rules}}}).status_code == 200
    app.reads.flush()
    rows = [json.loads(line) for line in client.get("/admin/v1/audit/export").text.splitlines()]
    denied = [row for row in rows if row["action"] == "access.refused" and row["key_id"] == key_id]
    assert {row["detail"]["rule"] for row in denied} == {1, 3}
    assert any(row["detail"].get("session") == "ticket 7" for row in denied)
    bad_headers: list[dict[str, str]] = [{"X-Memos-Purpose": "two words"}, {"X-Memos-Purpose": ""}]
    for header in bad_headers:
        assert reader.post(search, json={"query": "x"}, headers=header).status_code == 422


@pytest.mark.parametrize(
    "section",
    [[], {"rules": {}}, {"colour": 1}, {"above_clearance": "shout"}, {"rules": [{"effect": "maybe"}]},
     {"rules": [{"keys": ["x"]}]}, {"rules": [{"operations": ["rule"]}]}, {"rules": [{"purposes": ["a b"]}]},
     {"rules": [{"clearance": "cosmic"}]}, {"rules": [{"who": []}]}, {"rules": [{"keys": []}]}],
)  # fmt: skip
def test_a_policy_that_means_nothing_is_refused(client: TestClient, cube: str, section: Any) -> None:
    refused = client.patch(f"/v1/cubes/{cube}", json={"policy": {"access": section}})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["where"][:3] == ["body", "policy", "access"]
