"""Sharing, holds, retention and limits as forms: what is set on a page is what the service goes by."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastapi.testclient import TestClient

from tests.pages.conftest import House
from tests.pages.test_pages_at_work import send


def test_sharing_a_cube_and_taking_it_back(
    client: TestClient, visitor: TestClient, house: House, make_key: Callable[..., str]
) -> None:
    secret = make_key("read", name="sharer", cubes=["attic"])
    guest = next(k["id"] for k in client.get("/admin/v1/keys?limit=200").json()["items"] if k["name"] == "sharer")
    caller = TestClient(client.app, headers={"Authorization": f"Bearer {secret}"})
    assert caller.get(f"/v1/cubes/{house.cube}").status_code == 404
    form = {
        "cube": "house",
        "ability": "read",
        "sort": "key",
        "to": guest,
        "days": "30",
        "uses": "5",
        "purpose": "support",
    }
    made = send(visitor, "/admin/sharing", **form)
    page = visitor.get(made.headers["location"]).text
    assert "The cube is shared." in page
    assert "sharer" in page
    assert "0 of 5" in page
    assert caller.get(f"/v1/cubes/{house.cube}", headers={"X-Memos-Purpose": "support"}).status_code == 200
    assert "1 of 5" in visitor.get("/admin/sharing").text
    grants = client.get(f"/v1/cubes/{house.cube}/grants").json()["items"]
    [grant] = [one for one in grants if one["to_key"] == guest]
    revoked = send(visitor, f"/admin/sharing/{grant['id']}/revoke", cube=house.cube)
    assert "stops working at once" in visitor.get(revoked.headers["location"]).text
    assert caller.get(f"/v1/cubes/{house.cube}", headers={"X-Memos-Purpose": "support"}).status_code == 404
    for wrong in (
        {"to": "somebody"}, {"to": ""}, {"ability": "own"}, {"days": "0"}, {"uses": "many"}, {"purpose": "a b"},
    ):  # fmt: skip
        assert send(visitor, "/admin/sharing", **(form | wrong)).status_code == 422, wrong
    assert send(visitor, "/admin/sharing", **(form | {"cube": "none"})).status_code == 404


def test_a_hold_is_placed_stands_and_is_lifted(client: TestClient, visitor: TestClient, house: House) -> None:
    form = {"cube": "house", "memory_id": house.turn, "reason": "case 99"}
    placed = send(visitor, "/admin/holds", **form)
    page = visitor.get(placed.headers["location"]).text
    assert "The hold is placed." in page
    assert "case 99" in page
    assert client.delete(f"/v1/cubes/house/memories/{house.turn}").status_code == 409
    [hold] = [one for one in client.get("/admin/v1/holds?active=true").json()["items"] if one["reason"] == "case 99"]
    lifted = send(visitor, f"/admin/holds/{hold['id']}/lift", reason="the case is closed")
    assert "The hold is lifted." in visitor.get(lifted.headers["location"]).text
    assert "case 99" not in visitor.get("/admin/retention").text
    assert "case 99" in visitor.get("/admin/retention?all=1").text
    [act] = [a for a in client.get("/admin/v1/audit?action=hold.release").json()["items"] if a["target"] == house.turn]
    assert act["detail"] == {"hold": hold["id"], "reason": "the case is closed"}
    assert send(visitor, "/admin/holds", **(form | {"reason": " "})).status_code == 422
    assert send(visitor, "/admin/holds", **(form | {"memory_id": "x"})).status_code == 422
    assert send(visitor, "/admin/holds", **(form | {"cube": "none"})).status_code == 404


def test_retention_classes_come_and_go(client: TestClient, visitor: TestClient) -> None:
    form = {"cube": "house", "name": "letters", "days": "90", "then": "erase", "kind-turn": "on", "label-personal": "on",
            "tags": "mail, post"}  # fmt: skip
    before = client.get("/v1/cubes/house").json()["policy"]
    made = send(visitor, "/admin/retention", **form)
    assert "letters" in visitor.get(made.headers["location"]).text
    cube = client.get("/v1/cubes/house").json()
    assert cube["policy"] == before | {
        "retention": [{"max_age_days": 90, "then": "erase", "name": "letters", "kinds": ["turn"], "tags": ["mail", "post"],
                       "sensitivity": ["personal"]}]
    }  # fmt: skip
    for wrong in ({"days": ""}, {"days": "-1"}, {"days": "soon"}, {"then": "burn"}):
        assert send(visitor, "/admin/retention", **(form | wrong)).status_code == 422, wrong
    path = f"/admin/retention/{cube['id']}/remove"
    assert send(visitor, path, place="0", head=str(cube["revision"] - 1)).status_code == 412
    assert send(visitor, path, place="7", head=str(cube["revision"])).status_code == 404
    assert send(visitor, path, place="0", head=str(cube["revision"])).status_code == 303
    assert client.get("/v1/cubes/house").json()["policy"] == before | {"retention": []}


def test_limits_are_seen_and_set(client: TestClient, visitor: TestClient, make_key: Callable[..., str]) -> None:
    caller = TestClient(client.app, headers={"Authorization": f"Bearer {make_key('read', name='chatty')}"})
    key = next(k["id"] for k in client.get("/admin/v1/keys?limit=200").json()["items"] if k["name"] == "chatty")
    answer = send(visitor, f"/admin/limits/{key}", rate="0.001", burst="3", memories="1,000", bytes="")
    assert "The limits are set." in visitor.get(answer.headers["location"]).text
    [quota] = [one for one in client.get("/admin/v1/quotas").json()["items"] if one["subject"] == key]
    assert (quota["burst"], quota["max_memories"], quota["max_bytes"]) == (3, 1000, None)
    assert [caller.get("/v1/cubes").status_code for _ in range(4)] == [200, 200, 200, 429]
    page = visitor.get("/admin/limits").text
    assert "3 at once; 0 left now" in re.sub(r"<[^>]+>", "", page)
    assert 'class="meter full"' in page
    for wrong in ({"rate": "fast"}, {"rate": "-1"}, {"burst": "0"}, {"memories": "1.5"}, {"bytes": "x"}):
        assert send(visitor, f"/admin/limits/{key}", **wrong).status_code == 422, wrong
    assert send(visitor, f"/admin/limits/{key}").status_code == 303
    assert caller.get("/v1/cubes").status_code == 200


def test_the_operator_sets_the_limits_of_another_tenant(
    client: TestClient, visitor: TestClient, foreign_visitor: TestClient
) -> None:
    name = re.search(r"foreign-[0-9a-f]{8}", foreign_visitor.get("/admin/limits").text)
    assert name
    tenant = name.group()
    assert send(visitor, "/admin/limits/tenant", tenant=tenant, memories="77").status_code == 303
    assert "of 77" in visitor.get(f"/admin/limits?tenant={tenant}").text
    assert "of 77" in foreign_visitor.get("/admin/limits").text
    assert "set by whoever operates the service" in foreign_visitor.get("/admin/limits").text
    assert send(foreign_visitor, "/admin/limits/tenant", memories="99").status_code == 403
    assert foreign_visitor.get("/admin/limits?tenant=default").status_code in {403, 404}
    assert client.get(f"/admin/v1/quotas?tenant={tenant}").json()["items"][0]["max_memories"] == 77
