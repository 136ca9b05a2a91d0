"""The operator's endpoints on real data: everything of a memory, the trail and its proof, what waits, what it takes up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text

from memos.rules.access import Principal
from memos.services import work
from memos.store import oversight, storage
from memos.store.engine import driver_url
from memos.wiring import App


def run(app: App, owner: Principal, job: str) -> None:
    assert work.run_job(app, owner.tenant_id, UUID(job)) == "succeeded"


def test_everything_of_a_memory(client: TestClient, cube: str, app: App, owner: Principal) -> None:
    said = {
        "session_id": "s",
        "messages": [{"role": "user", "name": "Dora", "content": "I live in Lisbon. Ah, Lisbon!"}],
    }
    turn = client.post(f"/v1/cubes/{cube}/messages", json=said).json()["memories"][0]["id"]
    run(app, owner, client.post(f"/v1/cubes/{cube}/extract", json={}).json()["id"])
    client.patch(f"/v1/cubes/{cube}/memories/{turn}", json={"content": "I live in Porto."})
    answer = client.post(f"/v1/cubes/{cube}/search", json={"query": "Where does Dora live?"}).json()
    app.recalls.flush()
    app.traces.flush()
    found = client.get(f"/admin/v1/memories/{turn}").json()
    assert found["cube"] == cube
    assert found["header"]["content"] == "I live in Porto."
    assert [(v["version"], found["branches"][str(v["version"])]) for v in found["versions"]] == [
        (2, "main"),
        (1, "main"),
    ]
    newest, oldest = found["texts"]
    assert (newest["versions"], oldest["versions"]) == ([2], [1])
    assert ["lisbon", 2] in oldest["terms"]
    assert oldest["norm"] == pytest.approx(1.0, abs=0.01)
    assert oldest["reader"] == "rules-1"
    assert newest["values"] is None
    [place] = found["places"]
    assert (place["branch"], place["version"]) == ("main", 2)
    assert place["postings"] == len(newest["terms"])
    assert "Lisbon" in {mention["name"] for mention in found["mentions"]}
    assert found["use"]["recalls"] == 1
    assert found["strength"]["now"] > 0.99
    [fact] = {link["memory_id"] for link in found["derived"]}
    [claim] = client.get(f"/admin/v1/memories/{fact}").json()["claims"]
    assert (claim["subject"], claim["attribute"], claim["value"]) == ("Dora", "live in", "Lisbon")
    assert [step["action"] for step in found["transitions"]]
    assert answer["trace_id"] in found["traces"]
    vectors = client.get(f"/admin/v1/memories/{turn}?vectors=true&cube={cube}").json()["texts"][0]["values"]
    assert len(vectors) == newest["dimensions"]
    assert client.get(f"/admin/v1/memories/{turn}?cube=other").status_code == 404
    assert client.get(f"/admin/v1/memories/{uuid4()}").status_code == 404


def test_an_erased_memory_has_a_dossier_without_content(
    client: TestClient, cube: str, app: App, owner: Principal
) -> None:
    items = [{"kind": "fact", "content": "The safe opens with 1234."}]
    fact = client.post(f"/v1/cubes/{cube}/memories", json={"items": items}).json()["memories"][0]["id"]
    promised = client.post(f"/v1/cubes/{cube}/forget", json={"memory_ids": [fact]}).json()
    [row] = [r for r in client.get("/admin/v1/receipts").json()["items"] if r["id"] == promised["receipt_id"]]
    assert row["signed_at"] is None
    run(app, owner, promised["job_id"])
    [row] = [r for r in client.get("/admin/v1/receipts").json()["items"] if r["id"] == promised["receipt_id"]]
    assert row["signed_at"] is not None
    found = client.get(f"/admin/v1/memories/{fact}")
    assert found.status_code == 200
    assert "1234" not in found.text
    assert found.json()["texts"][0]["terms"] == []
    assert found.json()["texts"][0]["dimensions"] is None
    assert found.json()["strength"] is None


def test_the_overview_counts(client: TestClient, cube: str, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    before = client.get("/admin/v1/overview").json()["memories"]
    items = [{"kind": "fact", "content": f"Door {n} is {'open' if n % 2 else 'shut'}."} for n in range(40)]
    written = client.post(f"/v1/cubes/{cube}/memories", json={"items": items}).json()
    client.post(f"/v1/cubes/{cube}/memories/{written['memories'][0]['id']}/state", json={"to": "archived"})
    after = client.get("/admin/v1/overview").json()
    assert after["memories"]["total"] == before["total"] + 40
    assert after["memories"]["by_kind"]["fact"] == before["by_kind"].get("fact", 0) + 40
    assert after["memories"]["by_state"]["archived"] == before["by_state"].get("archived", 0) + 1
    assert sum(after["memories"]["strength"]) == sum(before["strength"]) + 39
    assert not after["memories"]["estimated"]
    assert sum(queue["queued"] for queue in after["queues"]) > 0
    assert len(after["recalls"]["hours"]) == 24
    # A large tenant is sampled; what can be recalled adds up all the same.
    monkeypatch.setattr(oversight, "COUNTED_WHOLE", 10)
    monkeypatch.setattr(oversight, "_SAMPLED", 10_000)
    sampled = client.get("/admin/v1/overview").json()["memories"]
    assert sum(sampled["strength"]) == pytest.approx(sum(after["memories"]["strength"]), abs=20)


def test_cubes_are_listed_by_counters(client: TestClient, cube: str) -> None:
    client.post(f"/v1/cubes/{cube}/memories", json={"items": [{"kind": "fact", "content": "One."}]})
    client.post(f"/v1/cubes/{cube}/branches", json={"name": "other"})
    [row] = client.get("/admin/v1/cubes", params={"q": cube[5:].upper()}).json()["items"]
    assert (row["name"], row["memories"], row["branches"], row["revision"]) == (cube, 1, 2, 1)
    assert row["written_at"] is not None


def test_jobs_queues_and_decisions(client: TestClient, cube: str, app: App, owner: Principal) -> None:
    client.post(f"/v1/cubes/{cube}/memories", json={"items": [{"kind": "fact", "content": "It rains."}]})
    client.patch(f"/v1/cubes/{cube}", json={"policy": {"forget": {"room": 0}}})
    job = client.post(f"/v1/cubes/{cube}/decay", json={"now": "2033-01-01T00:00:00Z"}).json()
    [listed] = [j for j in client.get("/admin/v1/jobs?kind=decay").json()["items"] if j["id"] == job["id"]]
    assert listed["payload"]["branch"] == "main"
    [queue] = [q for q in client.get("/admin/v1/queues").json()["items"] if q["kind"] == "decay"]
    assert queue["due"] >= 1
    assert queue["oldest_due_at"] is not None
    run(app, owner, job["id"])
    [decision] = client.get(f"/admin/v1/decisions?job_id={job['id']}").json()["items"]
    assert (decision["outcome"], decision["cube_id"]) == ("archive", client.get(f"/v1/cubes/{cube}").json()["id"])
    assert client.get(f"/admin/v1/decisions?cube={cube}&outcome=promote").json()["items"] == []
    assert client.get("/admin/v1/decisions?cube=none").status_code == 404


def test_traces_are_listed(client: TestClient, cube: str) -> None:
    client.post(
        f"/v1/cubes/{cube}/memories", json={"items": [{"kind": "fact", "content": "The key is under the mat."}]}
    )
    asked = [
        client.post(f"/v1/cubes/{cube}/{door}", json={"query": "Where is the key?"}).json()
        for door in ("search", "context")
    ]
    found = client.get(f"/admin/v1/traces?cube={cube}").json()["items"]
    assert {one["id"] for one in found} == {one["trace_id"] for one in asked}
    assert [one["door"] for one in client.get(f"/admin/v1/traces?cube={cube}&door=search").json()["items"]] == [
        "search"
    ]
    memory = asked[0]["items"][0]["memory_id"]
    assert len(client.get(f"/admin/v1/traces?memory_id={memory}").json()["items"]) == 2
    page = client.get(f"/admin/v1/traces?cube={cube}&limit=1").json()
    assert page["next_cursor"] == page["items"][0]["id"]


def test_the_trail_says_who_did_what_and_tells_when_it_was_changed(
    client: TestClient, cube: str, owner: Principal, owner_url: str
) -> None:
    acts = client.get(f"/admin/v1/audit?cube={cube}").json()["items"]
    assert [(act["action"], act["key_id"]) for act in acts] == [("cube.create", str(owner.key_id))]
    assert all(act["action"].startswith("key.") for act in client.get("/admin/v1/audit?action=key").json()["items"])
    pages = client.get("/admin/v1/audit?limit=1").json()
    following = client.get(f"/admin/v1/audit?limit=1&cursor={pages['next_cursor']}").json()["items"]
    assert all(act["hash"] == pages["items"][0]["previous"] for act in following)
    whole = client.get("/admin/v1/audit/verify").json()
    assert (whole["intact"], whole["rows"], whole["head"]) == (
        True,
        pages["items"][0]["seq"],
        pages["items"][0]["hash"],
    )
    engine = create_engine(driver_url(owner_url))

    def tamper(statement: str) -> dict[str, Any]:
        """As whoever owns the tables could; undone at the end."""
        with engine.begin() as connection:
            connection.execute(
                text("SELECT set_config('memos.tenant_id', :tenant, true)"), {"tenant": str(owner.tenant_id)}
            )
            connection.execute(text("CREATE TABLE kept AS SELECT * FROM audit"))
            assert connection.execute(text(statement), {"seq": whole["rows"]}).rowcount == 1
        found: dict[str, Any] = client.get("/admin/v1/audit/verify").json()
        with engine.begin() as connection:
            connection.execute(
                text("SELECT set_config('memos.tenant_id', :tenant, true)"), {"tenant": str(owner.tenant_id)}
            )
            connection.execute(text("DELETE FROM audit"))
            connection.execute(text("INSERT INTO audit SELECT * FROM kept"))
            connection.execute(text("DROP TABLE kept"))
        return found

    changed = tamper("UPDATE audit SET target = 'another' WHERE seq = :seq")
    assert (changed["intact"], changed["broken_at"]) == (False, whole["rows"])
    shortened = tamper("DELETE FROM audit WHERE seq = :seq")
    assert (shortened["intact"], shortened["broken_at"]) == (False, whole["rows"])
    assert client.get("/admin/v1/audit/verify").json()["intact"]
    engine.dispose()


def test_storage_by_tier(client: TestClient, cube: str, foreigner: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    client.post(
        f"/v1/cubes/{cube}/memories", json={"items": [{"kind": "fact", "content": f"Fact {n}."} for n in range(30)]}
    )
    found = client.get("/admin/v1/storage").json()
    contents = next(part for part in found["parts"] if part["table"] == "contents")
    assert contents["rows"] >= 30
    assert contents["bytes"] > 30 * 100
    assert found["by_tier"]["plaintext"] > 0
    assert {"contents", "heads"} <= {table["table"] for table in found["tables"]}
    assert foreigner.get("/admin/v1/storage").json()["tables"] == []
    assert foreigner.get("/admin/v1/storage").json()["by_tier"]["plaintext"] == 0
    monkeypatch.setattr(storage, "_COUNTED", 5)
    monkeypatch.setattr(storage, "SAMPLED_ROWS", 3)
    reckoned = next(p for p in client.get("/admin/v1/storage").json()["parts"] if p["table"] == "contents")
    assert reckoned["estimated"]
    assert reckoned["rows"] >= 5


def test_a_key_bound_to_a_cube_oversees_that_cube(
    client: TestClient, cube: str, with_scopes: Callable[..., TestClient]
) -> None:
    client.post("/v1/cubes", json={"name": "elsewhere"})
    client.post("/v1/cubes/elsewhere/memories", json={"items": [{"kind": "fact", "content": "Far away."}]})
    bound = with_scopes("read", "admin", cubes=[cube])
    assert [row["name"] for row in bound.get("/admin/v1/cubes").json()["items"]] == [cube]
    assert bound.get("/admin/v1/overview").json()["memories"]["total"] == 0
    assert {act["cube_id"] for act in bound.get("/admin/v1/audit").json()["items"]} == {
        client.get(f"/v1/cubes/{cube}").json()["id"]
    }
    for path in ("audit?cube=elsewhere", "traces?cube=elsewhere", "decisions?cube=elsewhere"):
        assert bound.get(f"/admin/v1/{path}").status_code == 404
    for path in ("audit/verify", "storage"):
        assert bound.get(f"/admin/v1/{path}").status_code == 403
