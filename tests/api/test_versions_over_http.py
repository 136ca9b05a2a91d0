"""Edit, branch, merge, roll back and read the past, as a caller does it."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

Json = dict[str, Any]


def add(client: TestClient, cube: str, text: str, branch: str = "main") -> str:
    body = {"items": [{"kind": "fact", "content": text}], "branch": branch}
    written = client.post(f"/v1/cubes/{cube}/memories", json=body)
    assert written.status_code == 201, written.text
    memory_id: str = written.json()["memories"][0]["id"]
    return memory_id


def texts(client: TestClient, cube: str, **query: Any) -> set[str]:
    answer = client.get(f"/v1/cubes/{cube}/memories", params=query)
    assert answer.status_code == 200, answer.text
    return {m["content"] for m in answer.json()["items"]}


def test_an_edit_is_a_diff_and_a_rollback_undoes_it(client: TestClient, cube: str, memory: Json) -> None:
    path = f"/v1/cubes/{cube}/memories/{memory['id']}"
    client.patch(path, json={"content": "Ana lives in Porto.", "reason": "moved"})
    second = add(client, cube, "Ana has a dog.")
    diff = client.get(f"/v1/cubes/{cube}/diff", params={"from": 1, "to": 3}).json()
    assert [m["id"] for m in diff["added"]] == [second]
    assert [(c["before"]["content"], c["after"]["content"]) for c in diff["changed"]] == [
        ("Ana lives in Lisbon.", "Ana lives in Porto.")
    ]
    assert diff["removed"] == []
    back = client.post(f"/v1/cubes/{cube}/rollback", json={"to": 1, "reason": "wrong"})
    assert back.status_code == 201, back.text
    assert (back.json()["revision"], back.json()["parent"], back.json()["reason"]) == (4, 3, "wrong")
    assert texts(client, cube) == {"Ana lives in Lisbon."}
    assert texts(client, cube, at=3) == {"Ana lives in Porto.", "Ana has a dog."}
    assert [r["revision"] for r in client.get(f"/v1/cubes/{cube}/revisions").json()["items"]] == [4, 3, 2, 1]
    assert [v["version"] for v in client.get(path + "/history").json()["items"]] == [3, 2, 1]


def test_the_past_is_named_by_revision_tag_or_time(client: TestClient, cube: str, memory: Json) -> None:
    tagged = client.post(f"/v1/cubes/{cube}/tags", json={"name": "before", "revision": 1})
    assert tagged.status_code == 201, tagged.text
    assert client.post(f"/v1/cubes/{cube}/tags", json={"name": "before", "revision": 1}).status_code == 409
    moment = client.get(f"/v1/cubes/{cube}/revisions").json()["items"][0]["created_at"]
    add(client, cube, "Ana has a dog.")
    for at in ("1", "before", moment, moment.replace("Z", "+00:00")):
        assert texts(client, cube, at=at) == {"Ana lives in Lisbon."}, at
    for at in (1, "1", "before", moment):
        answer = client.post(f"/v1/cubes/{cube}/search", json={"query": "Ana", "at": at})
        assert [h["content"] for h in answer.json()["items"]] == ["Ana lives in Lisbon."], at
    assert [t["name"] for t in client.get(f"/v1/cubes/{cube}/tags").json()["items"]] == ["before"]
    assert client.delete(f"/v1/cubes/{cube}/tags/before").status_code == 204
    assert client.get(f"/v1/cubes/{cube}/memories", params={"at": "before"}).status_code == 404


def test_branches_part_and_meet(client: TestClient, cube: str, memory: Json) -> None:
    made = client.post(f"/v1/cubes/{cube}/branches", json={"name": "trial"})
    assert made.status_code == 201, made.text
    assert (made.json()["base"], made.json()["fork_revision"]) == ("main", 1)
    add(client, cube, "Only on trial.", "trial")
    path = f"/v1/cubes/{cube}/memories/{memory['id']}"
    client.patch(path, json={"content": "Ana lives in Porto.", "branch": "trial"})
    assert texts(client, cube) == {"Ana lives in Lisbon."}
    merge = {"source": "trial", "target": "main", "strategy": "fail"}
    dry = client.post(f"/v1/cubes/{cube}/merge", json={**merge, "dry_run": True}).json()
    assert (dry["revision"], dry["applied"], dry["conflicts"]) == (None, 2, [])
    merged = client.post(f"/v1/cubes/{cube}/merge", json=merge)
    assert merged.status_code == 200, merged.text
    assert texts(client, cube) == {"Only on trial.", "Ana lives in Porto."}
    assert client.delete(f"/v1/cubes/{cube}/branches/trial").status_code == 204
    assert client.delete(f"/v1/cubes/{cube}/branches/main").status_code == 409
    assert [b["name"] for b in client.get(f"/v1/cubes/{cube}/branches").json()["items"]] == ["main"]


def test_a_merge_that_fails_lists_its_conflicts(client: TestClient, cube: str, memory: Json) -> None:
    client.post(f"/v1/cubes/{cube}/branches", json={"name": "trial"})
    path = f"/v1/cubes/{cube}/memories/{memory['id']}"
    client.patch(path, json={"content": "Ana lives in Porto.", "branch": "trial"})
    client.patch(path, json={"content": "Ana lives in Faro."})
    merge = {"source": "trial", "target": "main", "strategy": "fail"}
    refused = client.post(f"/v1/cubes/{cube}/merge", json=merge)
    assert (refused.status_code, refused.json()["code"]) == (409, "merge_conflict")
    [conflict] = refused.json()["conflicts"]
    assert [conflict[side]["content"] for side in ("base", "ours", "theirs")] == [
        "Ana lives in Lisbon.",
        "Ana lives in Faro.",
        "Ana lives in Porto.",
    ]
    assert client.get(f"/v1/cubes/{cube}").json()["revision"] == 3
    assert client.post(f"/v1/cubes/{cube}/merge", json={**merge, "strategy": "theirs"}).status_code == 200
    assert texts(client, cube) == {"Ana lives in Porto."}


def test_a_branch_starts_where_it_is_told(client: TestClient, cube: str, memory: Json) -> None:
    add(client, cube, "Ana has a dog.")
    client.post(f"/v1/cubes/{cube}/tags", json={"name": "early", "revision": 1})
    for name, start in (("one", 1), ("two", "early")):
        assert client.post(f"/v1/cubes/{cube}/branches", json={"name": name, "from": start}).status_code == 201
        assert texts(client, cube, branch=name) == {"Ana lives in Lisbon."}
    third = client.post(f"/v1/cubes/{cube}/branches", json={"name": "three", "from": "two"})
    assert third.status_code == 201, third.text
    assert third.json()["base"] == "two"
    assert client.post(f"/v1/cubes/{cube}/branches", json={"name": "four", "from": "main"}).status_code == 201


def test_archive_restore_and_states(client: TestClient, cube: str, memory: Json) -> None:
    path = f"/v1/cubes/{cube}/memories/{memory['id']}"
    assert client.delete(path, params={"reason": "old"}).json()["state"] == "archived"
    assert texts(client, cube, state="archived") == {"Ana lives in Lisbon."}
    assert client.post(f"/v1/cubes/{cube}/search", json={"query": "Lisbon"}).json()["items"] == []
    assert client.post(path + "/state", json={"to": "merged", "reason": "no"}).status_code == 409
    restored = client.post(path + "/restore", json={"version": 1})
    assert restored.status_code == 200, restored.text
    assert client.post(f"/v1/cubes/{cube}/search", json={"query": "Lisbon"}).json()["items"]
    assert client.post(path + "/restore", json={"version": 99}).status_code == 404
    trace = client.get(path + "/provenance").json()
    assert (trace["sources"], trace["derived"]) == ([], [])


def test_an_edit_needs_something_to_change(client: TestClient, cube: str, memory: Json) -> None:
    path = f"/v1/cubes/{cube}/memories/{memory['id']}"
    for body in (
        {},
        {"reason": "why"},
        {"content": None},
        {"content": ""},
        {"tags": None},
        {"kind": "turn"},
        {"ttl_s": 0},
    ):
        assert client.patch(path, json=body).status_code == 422, body
    limited = client.patch(path, json={"valid_to": "2030-01-01T00:00:00+02:00", "tags": ["a", "a"], "ttl_s": 3600})
    assert limited.json()["valid_to"] == "2029-12-31T22:00:00Z"
    assert limited.json()["tags"] == ["a"]
    freed = client.patch(path, json={"valid_to": None, "ttl_s": None}).json()
    assert (freed["valid_to"], freed["expires_at"]) == (None, None)


def test_pages_follow_each_other(client: TestClient, cube: str) -> None:
    body = {"items": [{"kind": "fact", "content": f"number {i}"} for i in range(7)]}
    client.post(f"/v1/cubes/{cube}/memories", json=body)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = client.get(f"/v1/cubes/{cube}/memories", params=query).json()
        seen += [m["content"] for m in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"number {i}" for i in range(7)]


def test_a_cube_is_read_changed_and_deleted(client: TestClient, cube: str, memory: Json) -> None:
    found = client.get(f"/v1/cubes/{cube}").json()
    assert found["counts"]["memories"] == 1
    assert found["counts"]["by_kind"] == {"fact": 1}
    changed = client.patch(f"/v1/cubes/{cube}", json={"name": cube + "-2", "policy": {"refuse_erased": True}})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["name"], changed.json()["policy"], changed.json()["id"]) == (
        cube + "-2",
        {"refuse_erased": True},
        found["id"],
    )
    assert client.get(f"/v1/cubes/{cube}").status_code == 404
    assert client.patch(f"/v1/cubes/{found['id']}", json={}).status_code == 422
    refused = client.patch(f"/v1/cubes/{found['id']}", json={"policy": {"forget": {"archive_bellow": 0.4}}})
    assert (refused.status_code, refused.json()["errors"][0]["where"]) == (
        422,
        ["body", "policy", "forget", "archive_bellow"],
    )
    assert client.delete(f"/v1/cubes/{found['id']}").status_code == 204
    assert client.get(f"/v1/cubes/{found['id']}").status_code == 404
