"""Forgetting, promoting, erasing and receipts, as a caller meets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from fastapi.testclient import TestClient

from memos.rules.access import Principal
from memos.rules.receipts import verify
from memos.services import work
from memos.wiring import App

Json = dict[str, Any]
FAR = "2036-01-01T00:00:00Z"


def run(app: App, owner: Principal, job_id: str) -> None:
    assert work.run_job(app, owner.tenant_id, UUID(job_id)) == "succeeded"


def test_decay_is_told_before_it_is_done_and_explained_after(
    client: TestClient, app: App, owner: Principal, cube: str, memory: Json
) -> None:
    base = f"/v1/cubes/{cube}"
    assert client.patch(base, json={"policy": {"forget": {"room": 0}}}).status_code == 200  # as if it were full
    told = client.post(f"{base}/decay", json={"dry_run": True, "now": FAR})
    assert told.status_code == 200, told.text
    assert told.json()["counts"] == {"archive": 1}
    assert told.json()["decisions"][0]["memory_id"] == memory["id"]
    assert client.get(f"{base}/decisions").json()["items"] == []

    job = client.post(f"{base}/decay", json={"now": FAR})
    assert job.status_code == 202, job.text
    assert job.headers["location"] == f"/v1/jobs/{job.json()['id']}"
    run(app, owner, job.json()["id"])
    done = client.get(f"/v1/jobs/{job.json()['id']}").json()
    assert (done["state"], done["result"]["counts"]) == ("succeeded", {"archive": 1})
    [decision] = client.get(f"{base}/decisions", params={"kind": "decay", "memory_id": memory["id"]}).json()["items"]
    assert (decision["outcome"], decision["revision"]) == ("archive", done["revision"])
    assert client.get(f"{base}/decisions", params={"outcome": "restore"}).json()["items"] == []
    assert client.get(f"{base}/memories/{memory['id']}").json()["state"] == "archived"
    assert client.post(f"{base}/rollback", json={"to": done["revision"] - 1}).status_code == 201
    assert client.get(f"{base}/memories/{memory['id']}").json()["state"] == "generated"


def test_a_run_needs_no_body(client: TestClient, cube: str) -> None:
    """Every field is optional, so nothing at all means the defaults."""
    for run_of in ("extract", "consolidate", "decay", "promote"):
        asked = client.post(f"/v1/cubes/{cube}/{run_of}")
        assert (asked.status_code, asked.json().get("kind")) == (202, run_of), asked.text
        assert client.post(f"/v1/cubes/{cube}/{run_of}", json={"no_such_field": 1}).status_code == 422
    assert client.post(f"/v1/cubes/{cube}/export").status_code == 200


def test_promote_is_told_and_done(client: TestClient, app: App, owner: Principal, cube: str, memory: Json) -> None:
    told = client.post(f"/v1/cubes/{cube}/promote", json={"dry_run": True, "now": FAR})
    assert (told.status_code, told.json()["counts"]) == (200, {"archive": 1})
    job = client.post(f"/v1/cubes/{cube}/promote", json={})
    assert job.status_code == 202
    run(app, owner, job.json()["id"])


def test_forget_is_told_promised_done_and_proven(
    client: TestClient, app: App, owner: Principal, cube: str, memory: Json
) -> None:
    base = f"/v1/cubes/{cube}"
    told = client.post(f"{base}/forget", json={"filter": {"kind": {"eq": "fact"}}, "dry_run": True}).json()
    assert (told["asked"], told["memories"]) == (1, [{"memory_id": memory["id"], "why": "asked", "via": None}])
    asked: Json = {"json": {"memory_ids": [memory["id"]]}, "headers": {"Idempotency-Key": uuid4().hex}}
    promised = client.post(f"{base}/forget", **asked)
    assert promised.status_code == 202, promised.text
    assert client.post(f"{base}/forget", **asked).json() == promised.json()
    receipt_path = f"/v1/receipts/{promised.json()['receipt_id']}"
    assert client.get(receipt_path).status_code == 404
    run(app, owner, promised.json()["job_id"])
    receipt = client.get(receipt_path)
    assert receipt.status_code == 200
    assert verify(receipt.json(), client.get("/v1/receipts/key").json()).memories == 1
    assert client.get(f"{base}/memories/{memory['id']}").status_code == 404
    assert client.get(f"{base}/memories/{memory['id']}/history").json()["items"][0]["content"] is None
    assert client.post(f"{base}/forget", json={"memory_ids": [memory["id"]]}).status_code == 404
    assert client.delete(base).status_code == 204
    assert client.get(receipt_path).json() == receipt.json()


def test_forget_refuses_what_it_cannot_mean(client: TestClient, cube: str, memory: Json) -> None:
    path = f"/v1/cubes/{cube}/forget"
    bodies: tuple[Json, ...] = (
        {}, {"memory_ids": []}, {"memory_ids": [memory["id"]], "filter": {"kind": {"eq": "fact"}}},
        {"filter": {"colour": {"eq": "red"}}}, {"memory_ids": ["x"]}, {"memory_ids": [memory["id"]], "all": True},
    )  # fmt: skip
    for body in bodies:
        assert client.post(path, json=body).status_code == 422, body
    assert client.post(path, json={"memory_ids": [memory["id"], str(uuid4())]}).status_code == 404
    assert client.post(path, json={"filter": {"kind": {"eq": "episode"}}}).status_code == 404


def test_frozen_memories_stand_against_erasure(client: TestClient, cube: str, memory: Json) -> None:
    base = f"/v1/cubes/{cube}"
    client.post(f"{base}/memories/{memory['id']}/state", json={"to": "frozen"})
    told = client.post(f"{base}/forget", json={"memory_ids": [memory["id"]], "dry_run": True}).json()
    assert told["frozen"] == [memory["id"]]
    refused = client.post(f"{base}/forget", json={"memory_ids": [memory["id"]]})
    assert (refused.status_code, refused.json()["code"]) == (409, "frozen")


def test_a_key_bound_to_another_cube_cannot_read_the_receipt(
    client: TestClient, app: App, owner: Principal, cube: str, memory: Json, with_scopes: Callable[..., TestClient]
) -> None:
    promised = client.post(f"/v1/cubes/{cube}/forget", json={"memory_ids": [memory["id"]]}).json()
    run(app, owner, promised["job_id"])
    name = f"other-{uuid4().hex[:8]}"
    client.post("/v1/cubes", json={"name": name})
    path = f"/v1/receipts/{promised['receipt_id']}"
    assert with_scopes("read", cubes=[name]).get(path).status_code == 404
    assert with_scopes("read", cubes=[cube]).get(path).status_code == 200
