"""Holds, quotas, the trail of reads and rotated keys, through the front door."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise
from uuid import UUID, uuid4

from fastapi.testclient import TestClient

from memos.cli import keys as console
from memos.rules.access import Principal
from memos.services import work
from memos.store import audit
from memos.wiring import App
from tests.api.governing import Json, add, key_of


def test_a_hold_stands_against_erasing_expiring_and_deleting(
    client: TestClient, cube: str, app: App, owner: Principal
) -> None:
    memory = add(client, cube, "The contract was signed in March.")["id"]
    free = add(client, cube, "The sky was grey.")["id"]
    path = f"/v1/cubes/{cube}"
    hold = client.post("/admin/v1/holds", json={"cube": cube, "memory_id": memory, "reason": "case 7"}).json()
    for answer in (
        client.post(f"{path}/forget", json={"memory_ids": [memory]}),
        client.post(f"{path}/memories/{memory}/state", json={"to": "expired"}),
        client.delete(f"{path}/memories/{memory}"),
        client.delete(path),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "held")
    promised = client.post(f"{path}/forget", json={"memory_ids": [free]}).json()
    assert client.post("/admin/v1/holds", json={"cube": cube, "reason": "case 8"}).status_code == 201
    # The whole cube is held now: what was promised before does not happen either.
    assert work.run_job(app, owner.tenant_id, UUID(promised["job_id"])) == "failed"
    assert client.get(f"{path}/memories/{free}").json()["content"] == "The sky was grey."
    listed = client.get(f"/admin/v1/holds?cube={cube}&active=true").json()["items"]
    assert [one["memory_id"] for one in listed] == [memory, None]
    for one in listed:
        assert client.delete(f"/admin/v1/holds/{one['id']}").status_code == 204
    assert client.delete(f"/admin/v1/holds/{hold['id']}").status_code == 204
    assert client.post(f"{path}/forget", json={"memory_ids": [memory]}).status_code == 202
    assert (
        client.post("/admin/v1/holds", json={"cube": cube, "memory_id": str(uuid4()), "reason": "x"}).status_code == 404
    )
    assert client.delete(path).status_code == 204


def test_a_key_beyond_its_rate_waits(client: TestClient) -> None:
    key_id, caller = key_of(client, "read")
    assert client.put(f"/admin/v1/quotas/{key_id}", json={"rate_per_s": 0.01, "burst": 3}).status_code == 200
    answers = [caller.get("/v1/cubes") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].json()["code"] == "too_busy"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 100
    assert client.get("/v1/cubes").status_code == 200


def test_the_operator_names_a_tenant_by_its_id(client: TestClient, guest_tenant: Json) -> None:
    _, caller = key_of(client, "read", "admin", tenant=guest_tenant["name"])
    put = client.put(f"/admin/v1/quotas/{guest_tenant['id']}", json={"max_memories": 77})
    assert (put.status_code, put.json()["max_memories"]) == (200, 77), put.text
    assert caller.get("/admin/v1/quotas").json()["items"][0]["max_memories"] == 77
    assert client.get("/admin/v1/quotas").json()["items"][0]["max_memories"] != 77
    assert caller.put(f"/admin/v1/quotas/{guest_tenant['id']}", json={"max_memories": 99}).status_code == 404
    assert client.put(f"/admin/v1/quotas/{guest_tenant['name']}", json={}).json()["max_memories"] is None


def test_a_tenant_beyond_its_room_writes_no_more(client: TestClient, guest_tenant: Json) -> None:
    name = guest_tenant["name"]
    key_id, caller = key_of(client, "read", "write", "erase", "admin", tenant=name)
    put = client.put("/admin/v1/quotas/tenant", json={"tenant": name, "max_memories": 2, "max_bytes": 1000})
    assert put.status_code == 200, put.text
    assert caller.put("/admin/v1/quotas/tenant", json={"max_memories": 9}).status_code == 403
    assert caller.put(f"/admin/v1/quotas/{key_id}", json={"max_memories": 9}).status_code == 422
    caller.post("/v1/cubes", json={"name": "box"})
    add(caller, "box", "one")
    add(caller, "box", "two")
    refused = caller.post("/v1/cubes/box/memories", json={"items": [{"kind": "fact", "content": "three"}]})
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert int(refused.headers["Retry-After"]) > 0
    assert caller.get("/v1/cubes/box").json()["counts"]["memories"] == 2
    add(caller, "box", "two")  # a repeat takes no room
    used = caller.get("/admin/v1/quotas").json()["items"]
    assert (used[0]["subject"], used[0]["memories"], used[0]["bytes"]) == ("tenant", 2, 6)
    assert caller.delete("/v1/cubes/box").status_code == 204
    assert caller.get("/admin/v1/quotas").json()["items"][0]["memories"] == 0


def test_reads_of_what_is_sensitive_are_in_the_trail_with_their_versions(
    client: TestClient, cube: str, app: App, owner: Principal
) -> None:
    secret = add(client, cube, "Ana is ill.", sensitivity="personal")["id"]
    normal = add(client, cube, "Ana is tall.")["id"]
    purpose = {"X-Memos-Purpose": "care"}
    client.get(f"/v1/cubes/{cube}/memories/{secret}", headers=purpose)
    client.get(f"/v1/cubes/{cube}/memories/{normal}", headers=purpose)
    client.post(f"/v1/cubes/{cube}/search", json={"query": "Ana"}, headers=purpose)
    rows = [json.loads(line) for line in client.get(f"/admin/v1/audit/export?memory_id={secret}").text.splitlines()]
    reads = [row for row in rows if row["action"].startswith("read.")]
    assert [row["action"] for row in reads] == ["read.get", "read.search"]
    assert all(row["detail"]["read"] == [[secret, 1]] and row["detail"]["purpose"] == "care" for row in reads)
    unread = client.get(f"/admin/v1/audit/export?memory_id={normal}").text
    assert "read." not in unread
    client.patch(f"/v1/cubes/{cube}", json={"policy": {"audit_reads": "all"}})
    client.get(f"/v1/cubes/{cube}/memories/{normal}")
    assert "read.get" in client.get(f"/admin/v1/audit/export?memory_id={normal}").text
    whole = [json.loads(line) for line in client.get("/admin/v1/audit/export").text.splitlines()]
    assert [row["seq"] for row in whole] == list(range(1, len(whole) + 1))
    assert all(b["previous"] == a["hash"] for a, b in pairwise(whole))
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        assert audit.verify(tx) == (len(whole), None)
    tail = client.get(f"/admin/v1/audit/export?after={len(whole) - 2}").text.splitlines()
    assert [json.loads(line)["seq"] for line in tail] == [len(whole) - 1, len(whole)]
    assert "Ana" not in client.get("/admin/v1/audit/export").text


def test_a_rotated_key_works_with_both_secrets_for_a_while(client: TestClient, app: App) -> None:
    made = client.post("/admin/v1/keys", json={"scopes": ["read"], "name": "old"}).json()

    def status(secret: str) -> int:
        return TestClient(client.app, headers={"Authorization": f"Bearer {secret}"}).get("/v1/cubes").status_code

    assert status(made["key"]) == 200
    first = client.post(f"/admin/v1/keys/{made['id']}/rotate", json={"overlap_s": 3600}).json()
    assert first["id"] == made["id"]
    assert first["key"] != made["key"]
    assert [status(made["key"]), status(first["key"])] == [200, 200]
    second = client.post(f"/admin/v1/keys/{made['id']}/rotate", json={"overlap_s": 0}).json()
    assert [status(made["key"]), status(first["key"]), status(second["key"])] == [401, 401, 200]
    from_console = console.rotate(app.settings, made["id"], timedelta(hours=1))
    app.database.forget_keys()
    assert [status(second["key"]), status(from_console.key)] == [200, 200]
    _, weak = key_of(client, "read", "admin")
    strong, _ = key_of(client, "read", "erase")
    assert weak.post(f"/admin/v1/keys/{strong}/rotate", json={}).status_code == 403
    client.delete(f"/admin/v1/keys/{made['id']}")
    assert client.post(f"/admin/v1/keys/{made['id']}/rotate", json={}).status_code == 404
