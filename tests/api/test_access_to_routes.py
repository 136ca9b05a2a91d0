"""Generated from the OpenAPI document: nobody gets in without a key, into another tenant, or beyond a key's scopes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from api import openapi
from memos.rules.access import Principal, Scope
from memos.services import work
from memos.wiring import App

Json = dict[str, Any]

# These act on the caller's own tenant, whoever calls; what they may do there is tested below.
OWN_GROUND = {
    "create_cube", "create_tenant", "create_key", "create_webhook", "get_overview", "import_cube", "kv_stats",
    "receipt_keys", "list_quotas", "export_audit", "get_queues", "get_storage", "list_audit", "verify_audit",
}  # fmt: skip
OWN_LISTS = {
    "list_cubes", "list_jobs", "list_quarantine", "list_sources", "list_holds", "list_webhooks", "received_grants",
    "all_grants", "list_traces", "list_receipts", "oversee_cubes", "oversee_jobs", "oversee_decisions",
}  # fmt: skip


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    scope: str
    body: Any
    query: dict[str, str]

    def send(self, client: TestClient) -> Response:
        kind = {"content": self.body} if isinstance(self.body, str) else {"json": self.body}
        return client.request(self.method, self.path, params=self.query, **(kind if self.body is not None else {}))


@pytest.fixture(scope="module")
def operations(api: FastAPI, client: TestClient, app: App, owner: Principal) -> list[Operation]:
    """Every guarded operation, aimed at things that exist in the owner's tenant."""
    client.post("/v1/cubes", json={"name": "travel-agent"})
    written = client.post(
        "/v1/cubes/travel-agent/memories", json={"items": [{"kind": "fact", "content": "Ana lives in Lisbon."}]}
    ).json()
    client.post("/v1/cubes/travel-agent/tags", json={"name": "thing", "revision": 1})
    client.post("/v1/cubes/travel-agent/branches", json={"name": "thing"})
    known = {
        "cube": "travel-agent",
        "memory_id": written["memories"][0]["id"],
        "name": "thing",
        "job_id": written["jobs"][0],
        "key_id": client.get("/admin/v1/keys").json()["items"][0]["id"],
        "receipt_id": _receipt(client, app, owner),
        "entity_id": _entity(client, app, owner),
        "trace_id": _trace(client, app),
        **_webhook(client),
        "space_id": _space(client),
    }
    known |= _cache(client, app, owner)
    known["center"] = known["entity_id"]
    known["subject"] = known["key_id"]
    shared = {"ability": "recall", "to_key": known["key_id"]}
    known["grant_id"] = client.post("/v1/cubes/travel-agent/grants", json=shared).json()["id"]
    held = client.post("/admin/v1/holds", json={"cube": "travel-agent", "reason": "a test"}).json()
    known["hold_id"] = held["id"]
    found = []
    for path, methods in openapi.document(api)["paths"].items():
        for method, operation in methods.items():
            if "x-scope" not in operation:
                continue
            media: Json = next(iter(operation.get("requestBody", {}).get("content", {}).values()), {})
            required = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query" and p["required"]]
            found.append(
                Operation(
                    id=operation["operationId"],
                    method=method.upper(),
                    path=path.format(**known),
                    scope=operation["x-scope"],
                    body=media.get("example"),
                    query={name: known.get(name, "0") for name in required},
                )
            )
    assert len(found) > 35
    return found


def _receipt(client: TestClient, app: App, owner: Principal) -> str:
    """The id of a signed receipt, for something erased from the same cube."""
    path = "/v1/cubes/travel-agent"
    written = client.post(f"{path}/memories", json={"items": [{"kind": "fact", "content": "Ana has a cat."}]}).json()
    promised = client.post(f"{path}/forget", json={"memory_ids": [written["memories"][0]["id"]]}).json()
    assert work.run_job(app, owner.tenant_id, UUID(promised["job_id"])) == "succeeded"
    return str(promised["receipt_id"])


def _entity(client: TestClient, app: App, owner: Principal) -> str:
    """The id of somebody a fact of the same cube is about, once a worker has read it."""
    due = client.get("/v1/jobs?state=queued&kind=extract").json()["items"]
    with app.database.transaction(owner.tenant_id) as tx:
        tx.run("UPDATE jobs SET run_after = now() WHERE tenant_id = :tenant AND state = 'queued'")
    for job in due:
        assert work.run_job(app, owner.tenant_id, UUID(job["id"])) == "succeeded"
    return str(client.get("/v1/cubes/travel-agent/entities").json()["items"][0]["id"])


def _cache(client: TestClient, app: App, owner: Principal) -> dict[str, str]:
    """The id of a plan of the same cube, and the address of a chunk of it that is stored."""
    job = client.post("/v1/kv/promotions", json={"cube": "travel-agent", "codecs": ["raw"]}).json()
    assert work.run_job(app, owner.tenant_id, UUID(job["id"])) == "succeeded"
    plan = client.get("/v1/cubes/travel-agent/activation-plan?model=fake").json()
    slot = {
        "cube": "travel-agent", "source_digest": plan["source_digest"], "profile": "ab" * 32, "tokens_sha256": "cd" * 32,
        "n_tokens": "7",
    }  # fmt: skip
    kept = client.put("/v1/kv/slot-files", params={**slot, "model": "fake"}, content=b"ggsq").json()
    key = client.get(f"/v1/kv/plans/{plan['plan_id']}").json()["chunks"][0]["key"]
    return {**slot, "plan_id": plan["plan_id"], "key": key, "slot_file_id": kept["id"]}


def _webhook(client: TestClient) -> dict[str, str]:
    """The ids of a webhook and of something it is to be told."""
    made = client.post("/v1/webhooks", json={"url": "https://hooks.example.com/memos"}).json()["webhook"]["id"]
    return {"webhook_id": made, "delivery_id": client.post(f"/v1/webhooks/{made}/ping").json()["id"]}


def _trace(client: TestClient, app: App) -> str:
    found = client.post("/v1/cubes/travel-agent/search", json={"query": "Where does Ana live?"}).json()
    app.recall.traces.flush()
    return str(found["trace_id"])


def _space(client: TestClient) -> str:
    """The id of an embedding space on its way in."""
    path = "/admin/v1/cubes/travel-agent/spaces"
    assert client.post(path, json={"model": "fake:32"}).status_code == 202
    return str(next(s for s in client.get(path).json()["items"] if s["state"] == "filling")["id"])


def test_without_a_key_401(operations: list[Operation], stranger: TestClient) -> None:
    for operation in operations:
        answer = operation.send(stranger)
        assert answer.status_code == 401, operation
        assert operation.method == "HEAD" or answer.json()["code"] == "unauthenticated"
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer mk_wrong", "Basic bWs6bWs=", "mk_owner", "Bearer é"]
)
def test_with_what_is_no_key_401(stranger: TestClient, header: str) -> None:
    answer = stranger.get("/v1/cubes", headers={b"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401


def test_the_key_comes_before_everything_else(stranger: TestClient) -> None:
    """A stranger learns nothing from what a bad request would be told, and costs no parsing."""
    for answer in (
        stranger.post("/v1/cubes", content=b"{", headers={"Content-Type": "application/json"}),
        stranger.get("/v1/cubes?limit=x&colour=red"),
        stranger.post("/v1/cubes", content=b"x", headers={"Content-Length": str(10**12)}),
    ):
        assert answer.status_code == 401


def test_with_too_little_scope_403(
    operations: list[Operation], with_scopes: Callable[..., TestClient], client: TestClient
) -> None:
    callers = {scope.value: with_scopes(*(set(Scope) - {scope})) for scope in Scope}
    for operation in operations:
        answer = operation.send(callers[operation.scope])
        assert answer.status_code == 403, (operation, answer.text)
        assert operation.method == "HEAD" or answer.json()["code"] == "forbidden"


def test_with_another_tenants_key_404_or_nothing(operations: list[Operation], foreigner: TestClient) -> None:
    for operation in operations:
        if operation.id in OWN_GROUND:
            continue
        answer = operation.send(foreigner)
        if answer.status_code == 200 and operation.id in OWN_LISTS:
            assert answer.json()["items"] == [], operation
        elif answer.status_code == 200 and operation.id in {"list_keys", "list_tenants"}:
            assert len(answer.json()["items"]) == 1, operation  # its own
        else:
            assert answer.status_code == 404, (operation, answer.text)


def test_with_a_key_bound_to_another_cube_404_or_nothing(
    operations: list[Operation], client: TestClient, with_scopes: Callable[..., TestClient], cube: str
) -> None:
    bound = with_scopes(*Scope, cubes=[cube])
    for operation in operations:
        if "travel-agent" not in operation.path and operation.id != "search_all":
            continue
        assert operation.send(bound).status_code == 404, operation
    assert [c["name"] for c in bound.get("/v1/cubes").json()["items"]] == [cube]
    assert bound.post("/v1/cubes", json={"name": "another"}).status_code == 403
    assert bound.post("/admin/v1/keys", json={"scopes": ["read"]}).status_code == 403


def test_the_same_things_answer_their_owner(operations: list[Operation], client: TestClient) -> None:
    """So that the 404s above are about who asks, and not about a path that is wrong."""
    for operation in operations:
        if operation.method == "GET":
            assert operation.send(client).status_code == 200, operation


def test_another_tenant_cannot_administer_this_one(client: TestClient, foreigner: TestClient) -> None:
    assert foreigner.post("/admin/v1/tenants", json={"name": "mine"}).status_code == 403
    assert foreigner.post("/admin/v1/keys", json={"tenant": "default", "scopes": ["read"]}).status_code == 404
    assert foreigner.get("/metrics").status_code == 403
    assert len(foreigner.get("/admin/v1/overview").json()["tenants"]) == 1
    assert len(client.get("/admin/v1/overview").json()["tenants"]) > 1


def test_freezing_takes_its_own_scope(
    client: TestClient, with_scopes: Callable[..., TestClient], cube: str, memory: dict[str, Any]
) -> None:
    path = f"/v1/cubes/{cube}/memories/{memory['id']}/state"
    writer = with_scopes("read", "write")
    assert writer.post(path, json={"to": "frozen"}).status_code == 403
    assert client.post(path, json={"to": "frozen"}).status_code == 200
    assert writer.post(path, json={"to": "generated"}).status_code == 403
    refused = writer.patch(f"/v1/cubes/{cube}/memories/{memory['id']}", json={"priority": 0.1})
    assert (refused.status_code, refused.json()["code"]) == (409, "frozen")
    assert client.post(path, json={"to": "generated"}).status_code == 200


def test_a_revoked_key_stops_at_once(client: TestClient) -> None:
    made = client.post("/admin/v1/keys", json={"scopes": ["read"], "name": "short"}).json()
    caller = TestClient(client.app, headers={"Authorization": f"Bearer {made['key']}"})
    assert caller.get("/v1/cubes").status_code == 200
    assert client.delete(f"/admin/v1/keys/{made['id']}").status_code == 204
    assert caller.get("/v1/cubes").status_code == 401


def test_a_secret_is_shown_once(client: TestClient) -> None:
    headers = {"Idempotency-Key": "same"}
    made = [client.post("/admin/v1/keys", json={"scopes": ["read"]}, headers=headers).json() for _ in range(2)]
    assert made[0]["key"] != made[1]["key"]
    listed = client.get("/admin/v1/keys").text
    assert not any(m["key"] in listed for m in made)


def test_nobody_gives_what_they_do_not_hold(with_scopes: Callable[..., TestClient]) -> None:
    assert with_scopes("read", "admin").post("/admin/v1/keys", json={"scopes": ["erase"]}).status_code == 403
