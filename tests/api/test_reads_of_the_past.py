"""Every read of a cube takes `branch`, `at` and `as_of`, every list takes `limit` and `cursor`, and a revision or tag that
is not there is 404 wherever it is named: what API.md promises of all of them alike."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

Json = dict[str, Any]
LONG_AGO, NOW = "2001-01-01T00:00:00Z", "2026-01-01T00:00:00Z"


@pytest.fixture
def edited(client: TestClient, cube: str) -> str:
    """A fact in three versions, the third on a branch; valid since 2020."""
    fact = {"kind": "fact", "content": "Ana lives in Lisbon.", "valid_from": "2020-01-01T00:00:00Z"}
    written = client.post(f"/v1/cubes/{cube}/memories", json={"items": [fact]}).json()
    path = f"/v1/cubes/{cube}/memories/{written['memories'][0]['id']}"
    assert client.patch(path, json={"content": "Ana lives in Porto."}).status_code == 200
    assert client.post(f"/v1/cubes/{cube}/branches", json={"name": "trial", "from": 1}).status_code == 201
    assert client.patch(path, json={"content": "Ana lives in Faro.", "branch": "trial"}).status_code == 200
    return path


def test_history_is_of_all_branches_or_of_one_up_to_a_moment(client: TestClient, edited: str) -> None:
    def versions(**asked: str) -> list[int]:
        answer = client.get(f"{edited}/history", params=asked)
        assert answer.status_code == 200, answer.text
        return [item["version"] for item in answer.json()["items"]]

    assert versions() == [3, 2, 1]
    assert versions(branch="main") == [2, 1]
    assert versions(branch="trial") == [3, 1]
    assert versions(at="1") == [1]
    assert versions(as_of=NOW) == [3, 2, 1]
    assert client.get(f"{edited}/history", params={"as_of": LONG_AGO}).status_code == 404
    assert client.get(f"{edited}/history", params={"branch": "nope"}).status_code == 404


def test_a_cube_tells_of_its_past(client: TestClient, cube: str, edited: str) -> None:
    client.post(f"/v1/cubes/{cube}/memories", json={"items": [{"kind": "fact", "content": "Ana has a dog."}]})

    now = client.get(f"/v1/cubes/{cube}").json()
    then = client.get(f"/v1/cubes/{cube}", params={"at": 1})

    assert (now["revision"], now["counts"]["memories"]) == (4, 2)
    assert (then.json()["revision"], then.json()["counts"]["memories"]) == (1, 1)
    assert then.headers["etag"] == '"1"'
    assert client.get(f"/v1/cubes/{cube}", params={"as_of": LONG_AGO}).json()["counts"]["memories"] == 1


def test_provenance_and_revisions_of_a_moment(client: TestClient, cube: str, edited: str) -> None:
    assert client.get(f"{edited}/provenance", params={"as_of": NOW}).json()["version"] == 2
    assert client.get(f"{edited}/provenance", params={"as_of": LONG_AGO}).status_code == 404
    log = client.get(f"/v1/cubes/{cube}/revisions", params={"at": 1}).json()["items"]
    assert [entry["revision"] for entry in log] == [1]


@pytest.mark.parametrize("resource", ["branches", "tags"])
def test_short_lists_have_pages_too(client: TestClient, cube: str, edited: str, resource: str) -> None:
    for number, name in enumerate(("one", "two", "three")):
        body: Json = {"name": name} if resource == "branches" else {"name": name, "revision": 2 - number % 2}
        assert client.post(f"/v1/cubes/{cube}/{resource}", json=body).status_code == 201
    whole = client.get(f"/v1/cubes/{cube}/{resource}").json()
    names: list[str] = []
    cursor: Json = {}
    while True:
        page = client.get(f"/v1/cubes/{cube}/{resource}", params={"limit": 1, **cursor}).json()
        names += [item["name"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert names == [item["name"] for item in whole["items"]]
    assert whole["next_cursor"] is None


def test_what_is_shared_with_a_key_has_pages_too(client: TestClient) -> None:
    assert client.get("/v1/grants", params={"limit": 1}).json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("moment", ["999", "nope"])
def test_a_moment_that_never_was_is_404(client: TestClient, cube: str, edited: str, moment: str) -> None:
    reads = ["", "/memories", "/revisions", "/entities"]
    answers = [client.get(f"/v1/cubes/{cube}{path}", params={"at": moment}) for path in reads]
    answers += [
        client.get(edited, params={"at": moment}),
        client.get(f"/v1/cubes/{cube}/diff", params={"from": 1, "to": moment}),
        client.post(f"/v1/cubes/{cube}/search", json={"query": "Ana", "at": moment}),
        client.post(f"/v1/cubes/{cube}/context", json={"query": "Ana", "at": moment}),
        client.post(f"/v1/cubes/{cube}/rollback", json={"to": moment}),
        client.post(f"/v1/cubes/{cube}/branches", json={"name": "late", "from": moment}),
    ]
    assert {(answer.status_code, answer.json().get("code")) for answer in answers} == {(404, "not_found")}


def test_an_import_may_begin_with_a_byte_order_mark(client: TestClient, cube: str) -> None:
    lines = b'\xef\xbb\xbf{"kind": "fact", "content": "Saved by a text editor."}\r\n'
    answer = client.post(f"/v1/cubes/{cube}/import", content=lines)
    assert '"status":"ok"' in answer.text
