"""Sharing a cube: a grant opens what it names to whom it names, and nothing else."""

from __future__ import annotations

from uuid import uuid4

from fastapi.testclient import TestClient

from tests.api.governing import Json, add, cube_id, key_of


def test_a_grant_opens_one_cube_to_another_tenant_and_nothing_else(
    client: TestClient, cube: str, guest_tenant: Json
) -> None:
    key_id, guest = key_of(client, "read", "write", "admin", tenant=guest_tenant["name"])
    there = cube_id(client, cube)
    memory = add(client, cube, "The safe is behind the painting.")["id"]
    other = f"other-{uuid4().hex[:8]}"
    client.post("/v1/cubes", json={"name": other})
    search = f"/v1/cubes/{there}/search"
    assert guest.post(search, json={"query": "safe"}).status_code == 404
    granted = client.post(f"/v1/cubes/{cube}/grants", json={"ability": "recall", "to_key": key_id}).json()
    assert guest.post(search, json={"query": "safe"}).json()["items"][0]["memory_id"] == memory
    assert guest.post(f"/v1/cubes/{there}/context", json={"query": "safe"}).status_code == 200
    # Recall only: not by name, not one by one, not in bulk, not the history, not what others were given.
    for path in ("", "/memories", f"/memories/{memory}", f"/memories/{memory}/history", "/revisions",
                 "/diff?from=0&to=1", "/graph?center=safe", "/entities", "/grants", "/decisions"):  # fmt: skip
        assert guest.get(f"/v1/cubes/{there}{path}").status_code == 404, path
    assert guest.post(f"/v1/cubes/{cube}/search", json={"query": "safe"}).status_code == 404
    assert guest.post(f"/v1/cubes/{cube_id(client, other)}/search", json={"query": "x"}).status_code == 404
    assert guest.post("/v1/search", json={"query": "safe", "cubes": [there]}).status_code == 404
    assert guest.get("/v1/cubes").json()["items"] == []
    assert [g["cube_id"] for g in guest.get("/v1/grants").json()["items"]] == [there]
    assert client.get(f"/v1/cubes/{cube}/grants").json()["items"][0]["uses"] == 2
    # Revoked, it is as if it had never been.
    assert client.delete(f"/v1/cubes/{cube}/grants/{granted['id']}").status_code == 204
    assert guest.post(search, json={"query": "safe"}).status_code == 404
    assert guest.get("/v1/grants").json()["items"] == []


def test_reading_and_writing_as_a_guest(client: TestClient, cube: str, guest_tenant: Json) -> None:
    key_id, guest = key_of(client, "read", "write", "erase", tenant=guest_tenant["name"])
    there = cube_id(client, cube)
    memory = add(client, cube, "Ana has a boat.")["id"]
    client.post(f"/v1/cubes/{cube}/grants", json={"ability": "read", "to_tenant": guest_tenant["id"]})
    assert guest.get(f"/v1/cubes/{there}/memories/{memory}").json()["content"] == "Ana has a boat."
    assert guest.get(f"/v1/cubes/{there}").status_code == 200
    item = {"items": [{"kind": "fact", "content": "The boat is blue."}]}
    assert guest.post(f"/v1/cubes/{there}/memories", json=item).status_code == 404
    client.post(f"/v1/cubes/{cube}/grants", json={"ability": "write", "to_key": key_id})
    written = guest.post(f"/v1/cubes/{there}/memories", json=item, headers={"Idempotency-Key": "boat"})
    assert written.status_code == 201, written.text
    again = guest.post(f"/v1/cubes/{there}/memories", json=item, headers={"Idempotency-Key": "boat"})
    assert again.headers["Idempotent-Replayed"] == "true"
    # Writing memories is not ruling the cube.
    assert guest.patch(f"/v1/cubes/{there}", json={"name": "mine"}).status_code == 404
    assert guest.delete(f"/v1/cubes/{there}").status_code == 404
    assert guest.post(f"/v1/cubes/{there}/rollback", json={"to": 0}).status_code == 404
    assert guest.post(f"/v1/cubes/{there}/forget", json={"memory_ids": [memory]}).status_code == 404
    revision = client.get(f"/v1/cubes/{cube}/revisions").json()["items"][0]
    assert revision["author"] == key_id


def test_a_grant_ends_by_uses_by_time_and_by_purpose(client: TestClient, cube: str, guest_tenant: Json) -> None:
    key_id, guest = key_of(client, "read", tenant=guest_tenant["name"])
    search = f"/v1/cubes/{cube_id(client, cube)}/search"
    client.post(f"/v1/cubes/{cube}/grants", json={"ability": "recall", "to_key": key_id, "max_uses": 2})
    answers = [guest.post(search, json={"query": "x"}).status_code for _ in range(3)]
    assert answers == [200, 200, 404]
    client.post(f"/v1/cubes/{cube}/grants", json={"ability": "recall", "to_key": key_id, "purpose": "support"})
    assert guest.post(search, json={"query": "x"}).status_code == 404
    for purpose, status in (("support", 200), ("marketing", 404)):
        assert guest.post(search, json={"query": "x"}, headers={"X-Memos-Purpose": purpose}).status_code == status
    gone = {"ability": "recall", "to_key": key_id, "expires_at": "2020-01-01T00:00:00Z"}
    assert client.post(f"/v1/cubes/{cube}/grants", json=gone).status_code == 422
    for body in ({"ability": "recall"}, {"ability": "recall", "to_key": key_id, "to_tenant": guest_tenant["id"]},
                 {"ability": "rule", "to_key": key_id}):  # fmt: skip
        assert client.post(f"/v1/cubes/{cube}/grants", json=body).status_code == 422


def test_a_grant_reaches_a_bound_key_of_the_same_tenant(client: TestClient, cube: str) -> None:
    home = f"home-{uuid4().hex[:8]}"
    client.post("/v1/cubes", json={"name": home})
    key_id, bound = key_of(client, "read", cubes=[home])
    there = cube_id(client, cube)
    assert bound.post(f"/v1/cubes/{there}/search", json={"query": "x"}).status_code == 404
    client.post(f"/v1/cubes/{cube}/grants", json={"ability": "recall", "to_key": key_id})
    assert bound.post(f"/v1/cubes/{there}/search", json={"query": "x"}).status_code == 200
    assert bound.get(f"/v1/cubes/{there}").status_code == 404
    assert bound.get(f"/v1/cubes/{home}").status_code == 200


def test_a_grant_takes_nothing_from_a_key_that_is_at_home(client: TestClient, cube: str) -> None:
    key_id, writer = key_of(client, "read", "write")
    client.post(f"/v1/cubes/{cube}/grants", json={"ability": "recall", "to_key": key_id})
    add(writer, cube_id(client, cube), "Still at home.")
    assert writer.get("/v1/grants").json()["items"] == []
