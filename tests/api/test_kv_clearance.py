"""A cache is as secret as the text it came from: who may not read a memory gets nothing that was computed from it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from memos.rules.access import Principal
from memos.services import work
from memos.wiring import App
from tests.api.test_kv_over_http import run
from tests.services.caching import sentence

Json = dict[str, Any]
_numbers = count(1)
PUBLIC, NORMAL = 4, 6
"""Facts of either label, written in this order: the first chunk is public, the ones after it are not."""


@pytest.fixture
def cleared(client: TestClient) -> Callable[[str], TestClient]:
    """Make a caller of the owner's tenant who may read no more than that label."""

    def make(label: str) -> TestClient:
        body = {"scopes": ["read", "write", "kv"], "clearance": label, "name": "cleared"}
        made = client.post("/admin/v1/keys", json=body)
        assert made.status_code == 201, made.text
        return TestClient(client.app, headers={"Authorization": f"Bearer {made.json()['key']}"})

    return make


@pytest.fixture
def cached(client: TestClient, app: App, owner: Principal) -> Json:
    """A cube of public, then normal facts whose plan is held as KV: its memories, its plan and its lookup."""
    cube = f"cleared-{next(_numbers)}"
    assert client.post("/v1/cubes", json={"name": cube}).status_code == 201
    ids = []
    for number in range(PUBLIC + NORMAL):
        label = "public" if number < PUBLIC else "normal"
        item = {"kind": "fact", "content": sentence(number), "sensitivity": label}
        written = client.post(f"/v1/cubes/{cube}/memories", json={"items": [item]}).json()
        ids.append(written["memories"][0]["id"])
    built(client, app, owner, cube)
    plan = plan_of(client, cube)
    return {"cube": cube, "ids": ids, "plan": plan, "lookup": lookup(client, cube, plan)}


def built(client: TestClient, app: App, owner: Principal, cube: str) -> Json:
    promised = client.post("/v1/kv/promotions", json={"cube": cube, "codecs": ["raw"]})
    result: Json = run(client, app, owner, promised)["result"]
    return result


def plan_of(client: TestClient, cube: str) -> Json:
    found: Json = client.get(f"/v1/cubes/{cube}/activation-plan?model=fake").json()
    return found


def lookup(client: TestClient, cube: str, plan: Json) -> Json:
    found: Json = client.post(
        "/v1/kv/lookup", json={"cube": cube, "model": "fake", "token_ids": plan["token_ids"]}
    ).json()
    return found


def starts(cached: Json, number: int) -> int:
    """The token at which the fact of that number begins."""
    return next(i["token_start"] for i in cached["plan"]["items"] if i["memory_id"] == cached["ids"][number])


def fetched(client: TestClient, chunk: Json) -> set[int]:
    """What each way to the chunk is answered."""
    wanted = {"chunks": [{name: chunk[name] for name in ("key", "group", "codec")}]}
    answers = [client.get(chunk["url"]), client.head(chunk["url"]), client.post("/v1/kv/bundles", json=wanted)]
    return {answer.status_code for answer in answers}


def relabel(client: TestClient, cube: str, memory_id: str, label: str) -> None:
    at = f"/v1/cubes/{cube}/memories/{memory_id}"
    etag = client.get(at).headers["etag"]
    changed = client.patch(at, json={"sensitivity": label}, headers={"If-Match": etag})
    assert changed.status_code == 200, changed.text


def test_who_is_cleared_for_less_gets_what_was_computed_before_the_first_secret_and_nothing_after(
    client: TestClient, cleared: Callable[[str], TestClient], cached: Json
) -> None:
    outsider = cleared("public")
    chunks, begins = cached["lookup"]["chunks"], starts(cached, PUBLIC)
    before = [chunk for chunk in chunks if chunk["end"] <= begins]
    assert 0 < len(before) < len(chunks) - 1
    found = lookup(outsider, cached["cube"], cached["plan"])
    assert found["matched_tokens"] == max(chunk["end"] for chunk in before)
    assert {chunk["key"] for chunk in found["chunks"]} == {chunk["key"] for chunk in before}
    assert all(fetched(outsider, chunk) == {200} for chunk in before)
    for chunk in chunks[len(before) :]:
        assert fetched(outsider, chunk) == {404}
        absent = outsider.get(chunk["url"].replace(chunk["key"], "ab" * 32)).json()
        hidden = outsider.get(chunk["url"]).json()
        assert {**hidden, "instance": None} == {**absent, "instance": None}
    plan_id = cached["plan"]["plan_id"]
    assert outsider.get(f"/v1/kv/plans/{plan_id}").status_code == 404
    assert outsider.delete(f"/v1/kv/plans/{plan_id}").status_code == 404
    by_plan = {"cube": cached["cube"], "model": "fake", "plan_id": plan_id}
    assert outsider.post("/v1/kv/lookup", json=by_plan).status_code == 404
    put = outsider.put(f"/v1/kv/chunks/{chunks[0]['key']}?plan_id={plan_id}&codec=raw", content=b"MKV1")
    assert put.status_code == 404
    assert cleared("normal").get(chunks[-1]["url"]).status_code == 200


def test_a_plan_tells_nobody_what_he_may_not_read(
    client: TestClient, cleared: Callable[[str], TestClient], cached: Json
) -> None:
    theirs = plan_of(cleared("public"), cached["cube"])
    assert [item["memory_id"] for item in theirs["items"]] == cached["ids"][:PUBLIC]
    assert (theirs["plan_id"], theirs["token_ids"], theirs["kv"], theirs["left_out"]) == (None, None, "none", 0)
    assert cached["plan"]["prefix_text"].startswith(theirs["prefix_text"])
    assert plan_of(client, cached["cube"]) == cached["plan"]


def test_a_cubes_policy_clears_a_purpose_for_less(client: TestClient, cached: Json) -> None:
    last = cached["lookup"]["chunks"][-1]
    rules = [{"purposes": ["support"], "clearance": "public"}, {"purposes": ["ads"], "effect": "deny"}]
    policy = {"access": {"above_clearance": "hide", "rules": rules}}
    assert client.patch(f"/v1/cubes/{cached['cube']}", json={"policy": policy}).status_code == 200
    for purpose, status in (("support", 404), ("ads", 404), ("anything", 200)):
        assert client.get(last["url"], headers={"X-Memos-Purpose": purpose}).status_code == status


@pytest.mark.parametrize("label", ["personal", "secret"])
def test_raising_a_label_takes_the_caches_at_and_after_it(
    client: TestClient, app: App, owner: Principal, cached: Json, label: str
) -> None:
    """For everybody, the owner of all clearances too: what is left is what was computed before."""
    chunks, raised = cached["lookup"]["chunks"], cached["ids"][PUBLIC + 1]
    begins = starts(cached, PUBLIC + 1)
    relabel(client, cached["cube"], raised, label)
    for chunk in chunks:
        assert fetched(client, chunk) == ({200} if chunk["end"] <= begins else {404})
    left = lookup(client, cached["cube"], cached["plan"])
    assert {chunk["key"] for chunk in left["chunks"]} == {c["key"] for c in chunks if c["end"] <= begins}
    assert client.get(f"/v1/kv/plans/{cached['plan']['plan_id']}").status_code == 200  # the owner may read all of it
    again = plan_of(client, cached["cube"])
    assert sentence(PUBLIC + 1) not in again["prefix_text"]
    assert again["kv"] == "partial"
    reused = built(client, app, owner, cached["cube"])["reused_tokens"]
    assert reused == max(chunk["end"] for chunk in chunks if chunk["end"] <= begins)
    assert plan_of(client, cached["cube"])["kv"] == "full"


def test_a_label_raised_among_those_everybody_reads_narrows_the_chunks(
    client: TestClient, app: App, owner: Principal, cleared: Callable[[str], TestClient], cached: Json
) -> None:
    outsider, first = cleared("public"), cached["lookup"]["chunks"][0]
    assert fetched(outsider, first) == {200}
    relabel(client, cached["cube"], cached["ids"][0], "normal")
    assert fetched(outsider, first) == {404}
    built(client, app, owner, cached["cube"])
    plan = plan_of(client, cached["cube"])
    again = lookup(client, cached["cube"], plan)["chunks"]
    assert plan["kv"] == "full"
    assert fetched(client, again[0]) == {200}
    assert fetched(outsider, again[0]) == {404}


def test_a_plan_that_was_withdrawn_is_not_built(client: TestClient, app: App, owner: Principal, cached: Json) -> None:
    """A build that began before the label was raised comes to nothing."""
    relabel(client, cached["cube"], cached["ids"][-1], "secret")
    body = {"cube": cached["cube"], "plan_id": cached["plan"]["plan_id"], "codecs": ["raw"]}
    promised = client.post("/v1/kv/promotions", json=body)
    assert work.run_job(app, owner.tenant_id, UUID(promised.json()["id"])) == "failed"
    left = lookup(client, cached["cube"], cached["plan"])
    assert left["matched_tokens"] < cached["lookup"]["matched_tokens"]
