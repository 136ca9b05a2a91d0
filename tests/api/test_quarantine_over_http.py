"""What commands its reader is set aside, and nothing is made of it."""

from __future__ import annotations

import json
from uuid import UUID

from fastapi.testclient import TestClient

from memos.rules.access import Principal
from memos.services import doctor_truth, work
from memos.services.findings import Verdict
from memos.wiring import App
from tests.api.governing import ATTACK, add, found, key_of


def test_what_commands_its_reader_is_set_aside_until_released(client: TestClient, cube: str) -> None:
    fine = add(client, cube, "The cat sleeps on the warm printer.")
    _, writer = key_of(client, "write")
    bad = add(writer, cube, f"The cat sleeps. {ATTACK}")
    assert (fine["quarantined"], bad["quarantined"]) == (False, True)
    assert found(client, cube, "cat sleeps passwords") == [fine["id"]]
    head = client.get(f"/v1/cubes/{cube}").json()["revision"]
    assert found(client, cube, "cat sleeps passwords", at=head) == [fine["id"]]
    context = client.post(f"/v1/cubes/{cube}/context", json={"query": "cat passwords"}).json()
    assert "previous instructions" not in json.dumps(context)
    shown = client.get(f"/v1/cubes/{cube}/memories/{bad['id']}").json()
    assert (shown["content"], shown["quarantined"], shown["redacted"]) == (None, True, True)
    for path in ("/memories", f"/memories/{bad['id']}/history", f"/diff?from=0&to={head}", "/entities"):
        assert "evil.example" not in client.get(f"/v1/cubes/{cube}{path}").text, path
    edited = client.patch(f"/v1/cubes/{cube}/memories/{bad['id']}", json={"priority": 0.9})
    assert edited.status_code == 409
    [held] = client.get(f"/admin/v1/quarantine?cube={cube}").json()["items"]
    assert held["memory_id"] == bad["id"]
    assert ATTACK in held["content"]
    assert "overrides instructions" in held["reasons"]
    done = client.post(f"/admin/v1/quarantine/{bad['id']}/release", json={"reason": "a quotation"})
    assert done.status_code == 200, done.text
    assert set(found(client, cube, "cat sleeps passwords")) == {fine["id"], bad["id"]}
    assert found(client, cube, "cat sleeps passwords", at=head) == [fine["id"]]
    assert client.get(f"/admin/v1/quarantine?cube={cube}").json()["items"] == []
    assert client.post(f"/admin/v1/quarantine/{bad['id']}/release", json={}).status_code == 404


def test_what_was_rejected_stays_aside_even_when_said_again_or_rolled_back(
    client: TestClient, cube: str, app: App, owner: Principal
) -> None:
    before = client.get(f"/v1/cubes/{cube}").json()["revision"]
    _, writer = key_of(client, "write")
    bad = add(writer, cube, ATTACK)
    after = client.get(f"/v1/cubes/{cube}").json()["revision"]
    assert client.post(f"/admin/v1/quarantine/{bad['id']}/reject", json={"reason": "an attack"}).status_code == 200
    assert client.get(f"/admin/v1/quarantine?cube={cube}").json()["items"] == []
    assert add(writer, cube, ATTACK)["quarantined"] is True
    for to in (before, after):
        assert client.post(f"/v1/cubes/{cube}/rollback", json={"to": to}).status_code == 201
        assert found(client, cube, "previous instructions passwords") == []
    assert [f for f in doctor_truth.examine(app.database, repair=False) if f.verdict is Verdict.FAIL] == []


def test_nothing_is_made_of_what_is_set_aside(client: TestClient, cube: str, app: App, owner: Principal) -> None:
    _, writer = key_of(client, "write")
    writer.post(
        f"/v1/cubes/{cube}/messages",
        json={"session_id": "s", "messages": [{"role": "user", "name": "Ana", "content": f"I live in Oslo. {ATTACK}"}]},
    )
    job = client.post(f"/v1/cubes/{cube}/extract", json={}).json()
    assert work.run_job(app, owner.tenant_id, UUID(job["id"])) == "succeeded"
    assert client.get(f"/v1/cubes/{cube}/memories?kind=fact").json()["items"] == []
    assert client.get(f"/v1/cubes/{cube}/entities").json()["items"] == []
    [held] = client.get(f"/admin/v1/quarantine?cube={cube}").json()["items"]
    client.post(f"/admin/v1/quarantine/{held['memory_id']}/release", json={})
    job = client.post(f"/v1/cubes/{cube}/extract", json={}).json()
    assert work.run_job(app, owner.tenant_id, UUID(job["id"])) == "succeeded"
    names = [entity["name"] for entity in client.get(f"/v1/cubes/{cube}/entities").json()["items"]]
    assert "Oslo" in names


def test_a_source_that_suddenly_turns_bad_has_everything_set_aside(client: TestClient, cube: str) -> None:
    key_id, writer = key_of(client, "read", "write", tenant="default")
    assert add(writer, cube, "Water boils at a hundred degrees.")["quarantined"] is False
    for n in range(5):
        assert add(writer, cube, f"{ATTACK} #{n}")["quarantined"] is True
    harmless = add(writer, cube, "The meeting is on Friday.")
    assert harmless["quarantined"] is True
    mine = [s for s in client.get("/admin/v1/quarantine/sources").json()["items"] if s["key_id"] == key_id]
    assert mine[0]["anomalous"] is True
    assert add(client, cube, "The other meeting is on Monday.")["quarantined"] is False
