"""A write sent twice under one Idempotency-Key happens once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

REPLAYED = "idempotent-replayed"


def key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def test_a_repeat_gets_the_first_answer_and_does_nothing(client: TestClient, cube: str) -> None:
    body = {"session_id": "s", "messages": [{"role": "user", "content": "ok"}]}
    headers = key()
    first = client.post(f"/v1/cubes/{cube}/messages", json=body, headers=headers)
    second = client.post(f"/v1/cubes/{cube}/messages", json=body, headers=headers)
    assert first.status_code == second.status_code == 201
    assert second.json() == first.json()
    assert second.headers["etag"] == first.headers["etag"]
    assert REPLAYED not in first.headers
    assert second.headers[REPLAYED] == "true"
    assert client.get(f"/v1/cubes/{cube}").json()["counts"]["memories"] == 1


def test_the_key_with_another_request_is_409(client: TestClient, cube: str) -> None:
    headers = key()
    body = {"session_id": "s", "messages": [{"role": "user", "content": "ok"}]}
    assert client.post(f"/v1/cubes/{cube}/messages", json=body, headers=headers).status_code == 201
    for other in (
        client.post(f"/v1/cubes/{cube}/messages", json=body | {"reason": "x"}, headers=headers),
        client.post(f"/v1/cubes/{cube}/messages", json={}, headers=headers),
        client.post(f"/v1/cubes/{cube}/documents", json={"text": "x"}, headers=headers),
        client.delete(f"/v1/cubes/{cube}", headers=headers),
    ):
        assert other.status_code == 409, other.text
        assert other.json()["code"] == "idempotency_conflict"
    assert client.get(f"/v1/cubes/{cube}").json()["revision"] == 1


def test_an_answer_without_a_body_is_repeated_too(client: TestClient, cube: str) -> None:
    headers = key()
    answers = [client.delete(f"/v1/cubes/{cube}", headers=headers) for _ in range(2)]
    assert [a.status_code for a in answers] == [204, 204]
    assert [a.headers.get(REPLAYED) for a in answers] == [None, "true"]
    assert client.delete(f"/v1/cubes/{cube}").status_code == 404


def test_a_refused_request_may_be_sent_again_under_its_key(client: TestClient) -> None:
    headers, name = key(), f"later-{uuid4().hex[:8]}"
    body = {"session_id": "s", "messages": [{"role": "user", "content": "ok"}]}
    assert client.post(f"/v1/cubes/{name}/messages", json=body, headers=headers).status_code == 404
    assert client.post("/v1/cubes", json={"name": name}).status_code == 201
    assert client.post(f"/v1/cubes/{name}/messages", json=body, headers=headers).status_code == 201


def test_keys_of_two_callers_do_not_meet(client: TestClient, with_scopes: Callable[..., TestClient]) -> None:
    headers, names = key(), [f"own-{uuid4().hex[:8]}" for _ in range(2)]
    callers = [client, with_scopes("read", "write")]
    made = [c.post("/v1/cubes", json={"name": n}, headers=headers) for c, n in zip(callers, names, strict=True)]
    assert [m.status_code for m in made] == [201, 201]
    assert [m.json()["name"] for m in made] == names


@pytest.mark.parametrize("bad", ["", "a b", "x" * 201, "é", "a\tb"])
def test_a_key_that_is_none_is_422(client: TestClient, bad: str) -> None:
    answer = client.post(
        "/v1/cubes",
        json={"name": f"n-{uuid4().hex[:8]}"},
        headers={b"Idempotency-Key": bad.encode("latin-1")},
    )
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("make", ["cube", "messages", "edit"])
def test_many_at_once_are_one(client: TestClient, cube: str, memory: dict[str, Any], make: str) -> None:
    """Also where the work itself would refuse the slower ones: a name taken, a state passed."""
    headers = key()
    send: dict[str, Callable[[], Any]] = {
        "cube": lambda: client.post("/v1/cubes", json={"name": f"once-{headers['Idempotency-Key']}"}, headers=headers),
        "messages": lambda: client.post(
            f"/v1/cubes/{cube}/messages",
            json={"session_id": "s", "messages": [{"role": "user", "content": "ok"}] * 5},
            headers=headers,
        ),
        "edit": lambda: client.patch(
            f"/v1/cubes/{cube}/memories/{memory['id']}",
            json={"content": "Ana lives in Porto."},
            headers={**headers, "If-Match": '"1"'},
        ),
    }
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send[make](), range(8)))
    assert {a.status_code for a in answers} == {201 if make != "edit" else 200}, [a.text for a in answers]
    assert all(a.json() == answers[0].json() for a in answers)
    assert sum(REPLAYED not in a.headers for a in answers) == 1
    revision = client.get(f"/v1/cubes/{cube}").json()["revision"]
    assert revision == (1 if make == "cube" else 2)


def test_searches_do_not_keep_answers(client: TestClient, cube: str, memory: dict[str, Any]) -> None:
    headers = key()
    for query in ("Lisbon", "Ana"):
        answer = client.post(f"/v1/cubes/{cube}/search", json={"query": query}, headers=headers)
        assert answer.status_code == 200
        assert REPLAYED not in answer.headers


@pytest.mark.parametrize("external_id", ["m1", None])
def test_a_message_sent_again_does_not_undo_its_correction(
    client: TestClient, cube: str, external_id: str | None
) -> None:
    said = {
        "role": "user",
        "content": "I live in Porto.",
        "created_at": "2024-05-01T10:00:00Z",
        "external_id": external_id,
    }
    sent = {"session_id": "s", "messages": [said]}
    [first] = client.post(f"/v1/cubes/{cube}/messages", json=sent).json()["memories"]
    path = f"/v1/cubes/{cube}/memories/{first['id']}"
    assert client.patch(path, json={"content": "I live in Braga."}).status_code == 200

    again = client.post(f"/v1/cubes/{cube}/messages", json=sent).json()

    assert [one["id"] for one in again["memories"]] == [first["id"]]
    assert client.get(path).json()["content"] == "I live in Braga."
    # Another text under the same id is news.
    if external_id:
        client.post(
            f"/v1/cubes/{cube}/messages", json={"session_id": "s", "messages": [said | {"content": "I live in Faro."}]}
        )
        assert client.get(path).json()["content"] == "I live in Faro."
