"""NDJSON import: one result a line, nothing of a bad one, all of the others."""

from __future__ import annotations

import json
from typing import Any

from fastapi.testclient import TestClient


def send(client: TestClient, cube: str, *lines: Any, **query: Any) -> list[dict[str, Any]]:
    body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    answer = client.post(f"/v1/cubes/{cube}/import", content=body, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def fact(text: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "fact", "content": text, **fields}


def test_good_lines_are_kept_and_bad_ones_are_not(client: TestClient, cube: str) -> None:
    results = send(
        client,
        cube,
        fact("one"),
        b"not json",
        fact("two", colour="red"),
        b"",
        fact("", priority=1),
        b'{"kind": "fact", "content": "\\ud800"}',
        fact("a\0b"),
        fact("x" * (2**20 + 1)),
        fact("three", valid_to="2026-08-01"),
        [],
        fact("four", tags=["a"], external_id="e4"),
    )
    assert [r["line"] for r in results] == list(range(1, 12))
    assert [r["line"] for r in results if r["status"] == "ok"] == [1, 11]
    assert {r["code"] for r in results if r["status"] == "error"} == {"invalid", "too_large"}
    kept = client.get(f"/v1/cubes/{cube}/memories").json()["items"]
    assert {m["content"] for m in kept} == {"one", "four"}
    assert {m["id"] for m in kept} == {r["id"] for r in results if r["status"] == "ok"}


def test_an_import_sent_again_repeats(client: TestClient, cube: str) -> None:
    lines = [fact(f"fact number {i}") for i in range(250)]
    first, second = send(client, cube, *lines), send(client, cube, *lines)
    assert {r["outcome"] for r in first} == {"added"}
    assert {r["outcome"] for r in second} == {"repeated"}
    assert [r["id"] for r in first] == [r["id"] for r in second]
    assert client.get(f"/v1/cubes/{cube}").json()["counts"]["memories"] == 250


def test_a_line_the_cube_refuses_takes_no_other_with_it(client: TestClient, cube: str) -> None:
    [frozen] = send(client, cube, fact("as it is", external_id="f"))
    moved = client.post(f"/v1/cubes/{cube}/memories/{frozen['id']}/state", json={"to": "frozen"})
    assert moved.status_code == 200, moved.text
    results = send(client, cube, fact("before"), fact("another text", external_id="f"), fact("after"))
    assert [r["status"] for r in results] == ["ok", "error", "ok"]
    assert results[1]["code"] == "frozen"


def test_a_branch_is_named_in_the_query(client: TestClient, cube: str) -> None:
    assert client.post(f"/v1/cubes/{cube}/branches", json={"name": "trial"}).status_code == 201
    send(client, cube, fact("only there"), branch="trial")
    assert client.get(f"/v1/cubes/{cube}").json()["counts"]["memories"] == 0
    assert client.get(f"/v1/cubes/{cube}", params={"branch": "trial"}).json()["counts"]["memories"] == 1
    assert client.post(f"/v1/cubes/{cube}/import?branch=nope", content=b"{}").status_code == 404


def test_nothing_in_nothing_out(client: TestClient, cube: str) -> None:
    assert send(client, cube) == []
    assert client.get(f"/v1/cubes/{cube}").json()["revision"] == 0
