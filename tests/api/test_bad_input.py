"""Whatever is sent, there is a stated answer, a problem document, and nothing half-written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

# Written out: with two test processes both must collect the same tests.
NO_ID = "0190f5a0-0000-7000-8000-00000000dead"

MESSAGE = {"role": "user", "content": "hello"}
FACT = {"kind": "fact", "content": "Ana lives in Lisbon."}


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["instance"] == answer.headers["x-request-id"]
    assert {"type", "title", "detail"} <= set(body)
    return body


def revision(client: TestClient, cube: str) -> tuple[int, int]:
    found = client.get(f"/v1/cubes/{cube}").json()
    return found["revision"], found["counts"]["memories"]


def messages(**changes: Any) -> dict[str, Any]:
    return {"session_id": "s", "messages": [MESSAGE, MESSAGE | changes]}


def items(**changes: Any) -> dict[str, Any]:
    return {"items": [FACT, FACT | {"content": "Ana is a nurse."} | changes]}


NESTED: Any = "deep"
for _ in range(9):
    NESTED = {"in": NESTED}

REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("empty text", "messages", messages(content=""), 422, "invalid"),
    ("blank text", "messages", messages(content=" \n\t"), 422, "invalid"),
    ("NUL", "messages", messages(content="a\0b"), 422, "invalid"),
    ("NUL in a key of metadata", "messages", messages(metadata={"a\0": 1}), 422, "invalid"),
    ("NUL deep in metadata", "messages", messages(metadata={"a": ["b", {"c": "\0"}]}), 422, "invalid"),
    ("text over the limit", "messages", messages(content="x" * (2**20 + 1)), 413, "too_large"),
    ("text over the limit in bytes", "messages", messages(content="é" * (2**19 + 1)), 413, "too_large"),
    ("too many messages", "messages", {"session_id": "s", "messages": [MESSAGE] * 10_000}, 413, "too_large"),
    ("no messages", "messages", {"session_id": "s", "messages": []}, 422, "invalid"),
    ("unknown field", "messages", messages(contents="x"), 422, "invalid"),
    ("unknown field outside", "messages", messages() | {"sesion": "s"}, 422, "invalid"),
    ("wrong type", "messages", messages(content=7), 422, "invalid"),
    ("a list for an object", "messages", [], 422, "invalid"),
    ("null", "messages", None, 422, "invalid"),
    ("session too long", "messages", messages() | {"session_id": "s" * 501}, 422, "invalid"),
    ("external id too long", "messages", messages(external_id="s" * 501), 422, "invalid"),
    ("naive time", "messages", messages(created_at="2026-08-01T09:30:00"), 422, "invalid"),
    ("no time", "messages", messages(created_at="yesterday"), 422, "invalid"),
    ("a number for a time", "messages", messages(created_at=1_700_000_000), 422, "invalid"),
    ("a numeric string for a time", "messages", messages(created_at="1700000000"), 422, "invalid"),
    ("a day that is none", "messages", messages(created_at="2026-02-30T00:00:00Z"), 422, "invalid"),
    ("before year 1 in UTC", "messages", messages(created_at="0001-01-01T00:00:00+14:00"), 422, "invalid"),
    ("metadata too deep", "messages", messages(metadata=NESTED), 422, "invalid"),
    ("metadata too large", "messages", messages(metadata={"a": "x" * 70_000}), 422, "invalid"),
    ("metadata no object", "messages", messages(metadata=[1]), 422, "invalid"),
    ("metadata beyond 64 bits", "messages", messages(metadata={"a": 2**63}), 422, "invalid"),
    ("unknown branch", "messages", messages() | {"branch": "nope"}, 404, "not_found"),
    ("blank document", "documents", {"text": "  \n "}, 422, "invalid"),
    ("unknown kind", "memories", items(kind="opinion"), 422, "invalid"),
    ("no lifespan", "memories", items(ttl_s=0), 422, "invalid"),
    ("negative lifespan", "memories", items(ttl_s=-1), 422, "invalid"),
    ("endless lifespan", "memories", items(ttl_s=1e300), 422, "invalid"),
    ("priority above one", "memories", items(priority=1.1), 422, "invalid"),
    ("a string for a priority", "memories", items(priority="0.5"), 422, "invalid"),
    ("ends before it begins", "memories",
     items(valid_from="2026-08-01T00:00:00Z", valid_to="2026-07-01T00:00:00Z"), 422, "invalid"),
    ("too many tags", "memories", items(tags=[str(i) for i in range(33)]), 422, "invalid"),
    ("tag too long", "memories", items(tags=["x" * 101]), 422, "invalid"),
    ("unknown sensitivity", "memories", items(sensitivity="cosmic"), 422, "invalid"),
    ("rollback to nowhere", "rollback", {"to": 999}, 404, "not_found"),
    ("rollback to an unknown tag", "rollback", {"to": "nope"}, 404, "not_found"),
    ("rollback to a truth value", "rollback", {"to": True}, 422, "invalid"),
    ("tag like a number", "tags", {"name": "12", "revision": 0}, 422, "invalid"),
    ("tag like a time", "tags", {"name": "2026-08-01", "revision": 0}, 422, "invalid"),
    ("tag on no revision", "tags", {"name": "t", "revision": 999}, 404, "not_found"),
    ("branch name with a slash", "branches", {"name": "a/b"}, 422, "invalid"),
    ("branch that exists", "branches", {"name": "main"}, 409, "conflict"),
    ("merge of nothing", "merge", {"source": "nope", "target": "main", "strategy": "fail"}, 404, "not_found"),
    ("merge into itself", "merge", {"source": "main", "target": "main", "strategy": "fail"}, 422, "invalid"),
    ("unknown strategy", "merge", {"source": "a", "target": "main", "strategy": "best"}, 422, "invalid"),
    ("empty query", "search", {"query": ""}, 422, "invalid"),
    ("query over the limit", "search", {"query": "x" * (2**20 + 1)}, 413, "too_large"),
    ("limit of nothing", "search", {"query": "q", "limit": 0}, 422, "invalid"),
    ("huge limit", "search", {"query": "q", "limit": 10**9}, 422, "invalid"),
    ("a string for a limit", "search", {"query": "q", "limit": "10"}, 422, "invalid"),
    ("unknown granularity", "search", {"query": "q", "granularity": "word"}, 422, "invalid"),
    ("no granularity", "search", {"query": "q", "granularity": []}, 422, "invalid"),
    ("unknown budget", "search", {"query": "q", "budget": "huge"}, 422, "invalid"),
    ("unknown filter field", "search", {"query": "q", "filter": {"colour": {"eq": "red"}}}, 422, "invalid"),
    ("unknown operator", "search", {"query": "q", "filter": {"kind": {"like": "turn"}}}, 422, "invalid"),
    ("filter that is none", "search", {"query": "q", "filter": []}, 422, "invalid"),
    ("NUL in a filter", "search", {"query": "q", "filter": {"session_id": {"eq": "\0"}}}, 422, "invalid"),
    ("naive as_of", "search", {"query": "q", "as_of": "2026-08-01T00:00:00"}, 422, "invalid"),
    ("naive at", "search", {"query": "q", "at": "2026-08-01T00:00:00"}, 422, "invalid"),
    ("revision beyond the database", "search", {"query": "q", "at": 2**40}, 422, "invalid"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "code"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_a_bad_body_is_refused_and_leaves_nothing(
    client: TestClient, cube: str, path: str, body: Any, status: int, code: str
) -> None:
    before = revision(client, cube)
    refused = problem(client.post(f"/v1/cubes/{cube}/{path}", json=body), status, code)
    if status == 422:
        assert refused["errors"]
    assert revision(client, cube) == before


RAW: list[tuple[str, bytes]] = [
    ("malformed", b'{"session_id": "s"'),
    ("trailing", b"{} {}"),
    ("lone surrogate", b'{"session_id": "s", "messages": [{"role": "user", "content": "\\ud800"}]}'),
    ("lone surrogate as a name", b'{"\\udfff": 1}'),
    ("not UTF-8", b'{"session_id": "\xff"}'),
    ("NaN", b'{"session_id": NaN}'),
    ("infinity", b'{"session_id":"s","messages":[{"role":"user","content":"a","metadata":{"a":1e999}}]}'),
    ("nested without end", b"[" * 100_000),
    ("a number without end", b"1" * 100_000),
    ("nothing", b""),
]


@pytest.mark.parametrize("body", [r[1] for r in RAW], ids=[r[0] for r in RAW])
def test_bytes_that_are_no_json_are_refused(client: TestClient, cube: str, body: bytes) -> None:
    answer = client.post(f"/v1/cubes/{cube}/messages", content=body, headers={"Content-Type": "application/json"})
    problem(answer, 422, "invalid")
    assert revision(client, cube) == (0, 0)


def test_a_body_that_is_not_called_json_is_refused(client: TestClient, cube: str) -> None:
    answer = client.post(f"/v1/cubes/{cube}/messages", content=json.dumps(messages()))
    assert problem(answer, 422, "invalid")["errors"][0]["where"] == ["header", "content-type"]


NAMES: list[tuple[str, Any, int]] = [
    ("300 characters", "x" * 300, 422),
    ("200 characters", "y" * 200, 201),
    ("nothing", "", 422),
    ("a slash", "a/b", 422),
    ("dots", "..", 422),
    ("an id", NO_ID, 422),
    ("a control character", "a\nb", 422),
    ("spaces around", " a ", 422),
    ("a number", 7, 422),
    ("CJK", "旅行代理", 201),
    ("Arabic", "وكيل السفر", 201),
    ("emoji", "🧳 agent", 201),
]


@pytest.mark.parametrize(("name", "status"), [n[1:] for n in NAMES], ids=[n[0] for n in NAMES])
def test_names_of_cubes(client: TestClient, name: Any, status: int) -> None:
    made = client.post("/v1/cubes", json={"name": name})
    assert made.status_code == status, made.text
    if status == 201:
        assert client.get(f"/v1/cubes/{name}").json()["id"] == made.json()["id"]


def test_a_name_that_is_taken_is_409(client: TestClient, cube: str) -> None:
    problem(client.post("/v1/cubes", json={"name": cube}), 409, "conflict")


QUERIES = [
    "/v1/cubes?limit=0",
    "/v1/cubes?limit=201",
    "/v1/cubes?limit=1e9",
    "/v1/cubes?cursor=nonsense",
    "/v1/cubes?cursor=%00",
    "/v1/cubes?colour=red",
    "/v1/cubes?limit=1&limit=2",
    "/v1/cubes/{cube}/memories?kind=opinion",
    "/v1/cubes/{cube}/memories?state=gone",
    "/v1/cubes/{cube}/memories?tag=%00",
    "/v1/cubes/{cube}/memories?session_id=",
    "/v1/cubes/{cube}/tags?cursor=nonsense",
    "/v1/cubes/{cube}/branches?limit=0",
    "/v1/cubes/{cube}/memories?as_of=2026-08-01",
    "/v1/cubes/{cube}/memories/not-an-id",
    "/v1/cubes/{cube}/diff",
    "/v1/cubes/{cube}/diff?from=0",
    "/v1/cubes/{cube}/diff?from=0&to=99999999999999999999999",
    "/v1/cubes/%00",
    "/v1/jobs?state=lazy",
]


@pytest.mark.parametrize("path", QUERIES)
def test_a_bad_query_is_422(client: TestClient, cube: str, path: str) -> None:
    problem(client.get(path.format(cube=cube)), 422, "invalid")


ABSENT = [
    ("GET", "/v1/cubes/nope", None),
    ("GET", f"/v1/cubes/{NO_ID}", None),
    ("PATCH", "/v1/cubes/nope", {"description": "x"}),
    ("DELETE", "/v1/cubes/nope", None),
    ("GET", "/v1/cubes/nope/revisions", None),
    ("GET", "/v1/cubes/nope/memories", None),
    ("POST", "/v1/cubes/nope/messages", messages()),
    ("POST", "/v1/cubes/nope/documents", {"text": "a"}),
    ("POST", "/v1/cubes/nope/memories", items()),
    ("POST", "/v1/cubes/nope/import", None),
    ("POST", "/v1/cubes/nope/search", {"query": "q"}),
    ("POST", "/v1/search", {"query": "q", "cubes": ["nope"]}),
    ("GET", "/v1/cubes/{cube}?branch=nope", None),
    ("GET", "/v1/cubes/{cube}/memories/" + NO_ID, None),
    ("PATCH", "/v1/cubes/{cube}/memories/" + NO_ID, {"content": "x"}),
    ("DELETE", "/v1/cubes/{cube}/memories/" + NO_ID, None),
    ("POST", "/v1/cubes/{cube}/memories/" + NO_ID + "/restore", {"version": 1}),
    ("DELETE", "/v1/cubes/{cube}/tags/nope", None),
    ("DELETE", "/v1/cubes/{cube}/branches/nope", None),
    ("GET", f"/v1/jobs/{NO_ID}", None),
    ("DELETE", f"/admin/v1/keys/{NO_ID}", None),
    ("POST", "/admin/v1/keys", {"tenant": "nope", "scopes": ["read"]}),
    ("GET", "/v2/cubes", None),
    ("GET", "/v1/cubes/", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ABSENT)
def test_what_is_absent_is_404(client: TestClient, cube: str, method: str, path: str, body: Any) -> None:
    problem(client.request(method, path.format(cube=cube), json=body), 404, "not_found")


def test_a_method_that_is_not_taken_is_405_and_names_those_that_are(client: TestClient) -> None:
    answer = client.put("/v1/cubes")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"


def test_no_problem_repeats_what_was_sent(client: TestClient, cube: str) -> None:
    secret = "correct-horse-battery"
    for body in (
        {"session_id": "s", "messages": [{"role": "user", "content": [secret]}]},
        {"session_id": "s", "messages": [{"role": "user", "content": "a", "created_at": secret}]},
        {"session_id": {"s": secret}, "messages": []},
    ):
        assert secret not in client.post(f"/v1/cubes/{cube}/messages", json=body).text


def test_errors_name_the_place_and_are_few(client: TestClient, cube: str) -> None:
    body = {"session_id": "s", "messages": [{"role": "user"}] * 100}
    refused = problem(client.post(f"/v1/cubes/{cube}/messages", json=body), 422, "invalid")
    assert len(refused["errors"]) == 20
    assert refused["errors"][3]["where"] == ["body", "messages", 3, "content"]
    assert "99 more" in refused["detail"]


ACCEPTED = [
    ("Chinese", "我三月搬到了里斯本。"),
    ("Arabic", "انتقلت إلى لشبونة في مارس."),
    ("emoji", "🧳✈️👩‍👩‍👧‍👦 🇵🇹"),
    ("combining", "e\u0301" * 100),
    ("right to left mark", "a\u202eb"),
    ("a megabyte", "lorem ipsum " * 80_000),
    ("one character", "x"),
]


@pytest.mark.parametrize("text", [a[1] for a in ACCEPTED], ids=[a[0] for a in ACCEPTED])
def test_text_comes_back_as_it_was_sent(client: TestClient, cube: str, text: str) -> None:
    written = client.post(f"/v1/cubes/{cube}/memories", json={"items": [{"kind": "fact", "content": text}]})
    assert written.status_code == 201, written.text
    found = client.get(f"/v1/cubes/{cube}/memories/{written.json()['memories'][0]['id']}")
    assert found.json()["content"] == text


@pytest.mark.parametrize("moment", ["1815-06-18T11:30:00Z", "2999-12-31T23:59:59+01:00", "9999-12-31T23:59:59Z"])
def test_times_far_away_are_taken(client: TestClient, cube: str, moment: str) -> None:
    written = client.post(f"/v1/cubes/{cube}/messages", json=messages(created_at=moment))
    assert written.status_code == 201, written.text
    found = client.get(f"/v1/cubes/{cube}/memories/{written.json()['memories'][1]['id']}").json()
    assert found["created_at"].endswith("Z")


def test_a_long_query_is_answered(client: TestClient, cube: str, memory: dict[str, Any]) -> None:
    answer = client.post(f"/v1/cubes/{cube}/search", json={"query": "Lisbon " * 1_500})
    assert answer.status_code == 200, answer.text
    assert [hit["memory_id"] for hit in answer.json()["items"]] == [memory["id"]]
