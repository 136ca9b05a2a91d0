"""A cube's ETag is its revision, a memory's is its version; a write that builds on another state is refused."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient


def test_reads_and_writes_carry_the_etag(client: TestClient, cube: str, memory: dict[str, Any]) -> None:
    path = f"/v1/cubes/{cube}/memories/{memory['id']}"
    assert client.get(f"/v1/cubes/{cube}").headers["etag"] == '"1"'
    assert client.get(path).headers["etag"] == '"1"'
    assert client.patch(path, json={"content": "Ana lives in Porto."}).headers["etag"] == '"2"'
    assert client.get(path).headers["etag"] == '"2"'
    assert client.get(path, params={"at": 1}).headers["etag"] == '"1"'
    assert client.get(f"/v1/cubes/{cube}").headers["etag"] == '"2"'


def test_a_stale_write_to_a_memory_is_412(client: TestClient, cube: str, memory: dict[str, Any]) -> None:
    path = f"/v1/cubes/{cube}/memories/{memory['id']}"
    assert client.patch(path, json={"priority": 0.9}, headers={"If-Match": '"1"'}).status_code == 200
    stale = {"If-Match": '"1"'}
    for method, tail, body in [
        ("PATCH", "", {"priority": 0.1}),
        ("DELETE", "", None),
        ("POST", "/restore", {"version": 1}),
        ("POST", "/state", {"to": "archived"}),
    ]:
        answer = client.request(method, path + tail, json=body, headers=stale)
        assert answer.status_code == 412, answer.text
        assert answer.json()["code"] == "stale"
    assert client.get(path).json()["version"] == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("messages", {"session_id": "s", "messages": [{"role": "user", "content": "hi"}]}),
        ("documents", {"text": "a text"}),
        ("memories", {"items": [{"kind": "fact", "content": "another"}]}),
        ("rollback", {"to": 0}),
    ],
)
def test_a_stale_write_to_a_cube_is_412(
    client: TestClient, cube: str, memory: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    stale = client.post(f"/v1/cubes/{cube}/{path}", json=body, headers={"If-Match": '"0"'})
    assert stale.status_code == 412, stale.text
    assert client.get(f"/v1/cubes/{cube}").json()["revision"] == 1
    fresh = client.post(f"/v1/cubes/{cube}/{path}", json=body, headers={"If-Match": '"1"'})
    assert fresh.status_code == 201, fresh.text
    assert fresh.headers["etag"] == '"2"'


def test_a_stale_change_or_deletion_of_a_cube_is_412(client: TestClient, cube: str, memory: dict[str, Any]) -> None:
    stale = {"If-Match": '"0"'}
    assert client.patch(f"/v1/cubes/{cube}", json={"description": "x"}, headers=stale).status_code == 412
    assert client.delete(f"/v1/cubes/{cube}", headers=stale).status_code == 412
    assert client.delete(f"/v1/cubes/{cube}", headers={"If-Match": '"1"'}).status_code == 204
    assert client.get(f"/v1/cubes/{cube}").status_code == 404


@pytest.mark.parametrize("nonsense", ["", "abc", '"', "W/", '"-1"', '"9999999999999999999999"', "é"])
def test_an_if_match_that_names_no_state_is_412(
    client: TestClient, cube: str, memory: dict[str, Any], nonsense: str
) -> None:
    path = f"/v1/cubes/{cube}/memories/{memory['id']}"
    header = {b"If-Match": nonsense.encode("latin-1")}
    answer = client.patch(path, json={"priority": 0.2}, headers=header)
    assert answer.status_code == 412, answer.text


def test_a_star_matches_whatever_is_there(client: TestClient, cube: str, memory: dict[str, Any]) -> None:
    path = f"/v1/cubes/{cube}/memories/{memory['id']}"
    assert client.patch(path, json={"priority": 0.2}, headers={"If-Match": "*"}).status_code == 200
