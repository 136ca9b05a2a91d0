"""Packages and lines over HTTP: out of one cube and into another, and what other systems wrote down."""

from __future__ import annotations

import json
from typing import Any

from fastapi.testclient import TestClient

from memos.services import signing
from memos.wiring import App

Json = dict[str, Any]


def lines(answer: Any) -> list[Json]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_package_goes_out_and_into_another_tenant(client: TestClient, foreigner: TestClient, cube: str) -> None:
    client.post(f"/v1/cubes/{cube}/memories", json={"items": [{"kind": "fact", "content": "Ana lives in Lisbon."}]})
    out = client.post(f"/v1/cubes/{cube}/export", json={"vectors": True})
    assert [next(iter(line)) for line in lines(out)][:2] == ["package", "branch"]
    assert int(out.headers["content-length"]) == len(out.content)
    assert out.headers["content-disposition"].endswith('.memos"')
    first = foreigner.post("/v1/packages", content=out.content)
    assert (first.status_code, first.json()["outcome"], first.json()["embedded"]) == (201, "imported", 0)
    assert foreigner.get(first.headers["location"]).json()["name"] == cube
    again = foreigner.post("/v1/packages", content=out.content)
    assert (again.status_code, again.json()["outcome"]) == (200, "known")
    asked = {"query": "Where does Ana live?", "now": "2027-01-01T00:00:00Z"}
    there, here = (c.post(f"/v1/cubes/{cube}/search", json=asked).json()["items"] for c in (foreigner, client))
    assert there == here
    assert there[0]["content"] == "Ana lives in Lisbon."


def test_a_strangers_package_is_refused_without_its_key(
    app: App, client: TestClient, foreigner: TestClient, cube: str
) -> None:
    body = client.post(f"/v1/cubes/{cube}/export", json={}).content
    for broken, status in ((b"", 422), (b"{}", 422), (body[:-1], 422), (body.replace(cube.encode(), b"other"), 422)):
        refused = foreigner.post("/v1/packages", content=broken)
        assert (refused.status_code, refused.json()["code"]) == (status, "bad_package")
    public = signing.keyring(app.settings).public.hex()
    named = foreigner.post("/v1/packages", content=body, params={"name": "mine", "trust": public})
    assert (named.status_code, named.json()["name"]) == (201, "mine")
    assert foreigner.post("/v1/packages", content=body, params={"trust": "abc"}).status_code == 422


def test_lines_make_the_round_trip(client: TestClient, foreigner: TestClient, cube: str) -> None:
    said = {"role": "user", "name": "Ana", "content": "I moved to Lisbon.", "created_at": "2026-03-01T09:30:00Z"}
    client.post(f"/v1/cubes/{cube}/messages", json={"session_id": "s", "messages": [said]})
    client.post(
        f"/v1/cubes/{cube}/documents", json={"text": "Soup is served.", "title": "Menu", "source": "https://a.example"}
    )
    client.post(
        f"/v1/cubes/{cube}/memories",
        json={"items": [{"kind": "fact", "content": "Ana is a nurse.", "priority": 0.8, "sensitivity": "personal", "tags": ["a"],
                         "metadata": {"n": 1.5}, "valid_from": "2026-01-01T00:00:00Z", "ttl_s": 10**7, "external_id": "e"}]},
    )  # fmt: skip
    out = client.get(f"/v1/cubes/{cube}/export")
    assert [line["kind"] for line in lines(out)] == ["turn", "passage", "fact"]
    assert foreigner.post("/v1/cubes", json={"name": cube}).status_code == 201
    results = lines(foreigner.post(f"/v1/cubes/{cube}/import", content=out.content))
    assert {r["status"] for r in results} == {"ok"}
    assert foreigner.get(f"/v1/cubes/{cube}/export").content == out.content
    past = client.get(f"/v1/cubes/{cube}/export", params={"at": 1})
    assert [line["kind"] for line in lines(past)] == ["turn"]


def test_other_systems_files(client: TestClient, cube: str) -> None:
    mem0 = {"results": [{"id": "1", "memory": "Ana likes tea"}, {"id": "2"}, {"id": "3", "memory": "x" * 2**21}]}
    path = f"/v1/cubes/{cube}/import"
    first, second = (lines(client.post(path, params={"format": "mem0"}, json=mem0)) for _ in range(2))
    assert [r["status"] for r in first] == ["ok", "error", "error"]
    assert first[1]["detail"] == "memory 2 has no 'memory', the text"
    assert first[2]["detail"].startswith("memory 3: ")
    assert (second[0]["outcome"], second[0]["id"]) == ("repeated", first[0]["id"])
    agent = {"agents": [{"id": "agent-0", "name": "c", "messages": [{"id": "m", "role": "user", "content": "Hello there"}]}],
             "tools": [{}]}  # fmt: skip
    assert [r["status"] for r in lines(client.post(path, params={"format": "letta"}, json=agent))] == ["ok", "skipped"]
    store = [{"namespace": ["u"], "key": "k", "value": {"text": "Plays chess"}}]
    assert [r["status"] for r in lines(client.post(path, params={"format": "langgraph"}, json=store))] == ["ok"]
    assert client.post(path, params={"format": "zep"}, json=store).status_code == 422
    assert client.post(path, params={"format": "mem0"}, content=b"nope").status_code == 422
    kept = client.get(f"/v1/cubes/{cube}/memories").json()["items"]
    assert {m["content"] for m in kept} == {"Ana likes tea", "Hello there", "Plays chess"}
