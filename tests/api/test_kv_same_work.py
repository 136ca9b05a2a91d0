"""What is not there, what is a stranger's and what is out of reach cost the same: one answer, and one number of statements.

Statements are counted, not seconds: a clock tells nothing on a busy machine, and a question more or less is what it would
have shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from memos.rules.access import Principal
from memos.services import kv_serve
from memos.wiring import App
from tests.api.test_kv_over_http import fill, make, run

Json = dict[str, Any]
Ask = Callable[[TestClient], Response]
_IDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
def cached(client: TestClient, app: App, owner: Principal, cube: str) -> Json:
    """A cube whose plan is held as KV: its plan and what a lookup finds of it."""
    fill(client, cube)
    run(client, app, owner, client.post("/v1/kv/promotions", json={"cube": cube, "codecs": ["raw"]}))
    plan = client.get(f"/v1/cubes/{cube}/activation-plan?model=fake").json()
    found = client.post("/v1/kv/lookup", json={"cube": cube, "model": "fake", "plan_id": plan["plan_id"]}).json()
    return {"cube": cube, "plan": plan, "chunks": found["chunks"]}


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Everything the database is asked, by whichever way it is asked."""
    asked: list[str] = []
    execute = psycopg.Cursor.execute

    def noted(cursor: Any, query: Any, *args: Any, **options: Any) -> Any:
        asked.append(_IDS.sub("ID", query if isinstance(query, str) else repr(query)))
        return execute(cursor, query, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Cursor, "execute", noted)
        yield asked


def cost(monkeypatch: pytest.MonkeyPatch, caller: TestClient, ask: Ask) -> tuple[int, Json, list[str]]:
    """Status, problem and statements of one request of a caller whose key is known already."""
    ask(caller)
    with statements(monkeypatch) as asked:
        answer = ask(caller)
    return answer.status_code, {**answer.json(), "instance": None}, asked


def by_url(url: str) -> Ask:
    return lambda caller: caller.get(url)


def bundled(chunk: Json, **changed: Any) -> Ask:
    wanted = {name: chunk[name] for name in ("key", "group", "codec")}
    return lambda caller: caller.post("/v1/kv/bundles", json={"chunks": [{**wanted, **changed}]})


def test_a_strangers_chunk_and_an_absent_one_are_asked_for_alike(
    client: TestClient,
    foreigner: TestClient,
    with_scopes: Callable[..., TestClient],
    cached: Json,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = cached["chunks"][0]
    absent = first["url"].replace(first["key"], "ab" * 32)
    opened: list[object] = []
    monkeypatch.setattr(kv_serve, "body", lambda *args: opened.append(args))
    for there, missing in (
        (by_url(first["url"]), by_url(absent)),
        (bundled(first), bundled(first, key="ab" * 32)),
    ):
        expected = cost(monkeypatch, client, missing)
        assert expected[0] == 404
        assert len(expected[2]) > 0
        bound = with_scopes("read", cubes=[make(client)])
        assert cost(monkeypatch, foreigner, there) == expected
        assert cost(monkeypatch, foreigner, missing) == expected
        assert cost(monkeypatch, bound, there) == expected
    assert opened == []
    assert {foreigner.head(first["url"]).status_code, client.head(absent).status_code} == {404}


def test_a_strangers_plan_and_an_absent_one_are_asked_for_alike(
    client: TestClient, foreigner: TestClient, cached: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at, given up, built, and as the place to hand a chunk in."""
    key = cached["chunks"][0]["key"]

    def asks(plan_id: object) -> list[Ask]:
        return [
            lambda caller: caller.get(f"/v1/kv/plans/{plan_id}"),
            lambda caller: caller.delete(f"/v1/kv/plans/{plan_id}"),
            lambda caller: caller.put(f"/v1/kv/chunks/{key}?plan_id={plan_id}&codec=raw", content=b"MKV1\0"),
        ]

    for foreign, missing in zip(asks(cached["plan"]["plan_id"]), asks(uuid4()), strict=True):
        expected = cost(monkeypatch, client, missing)
        assert expected[0] == 404
        assert cost(monkeypatch, foreigner, foreign) == expected
        assert cost(monkeypatch, foreigner, missing) == expected


def test_a_strangers_cube_and_an_absent_one_are_looked_up_alike(
    client: TestClient, foreigner: TestClient, cached: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(cube: str) -> Ask:
        asked = {"cube": cube, "model": "fake", "token_ids": cached["plan"]["token_ids"]}
        return lambda caller: caller.post("/v1/kv/lookup", json=asked)

    expected = cost(monkeypatch, client, ask("no-such-cube"))
    assert expected[0] == 404
    assert cost(monkeypatch, foreigner, ask("no-such-cube")) == expected
    assert cost(monkeypatch, foreigner, ask(cached["cube"])) == expected
    foreign, missing = (ask(str(cube_id)) for cube_id in (cached["plan"]["cube_id"], uuid4()))
    assert cost(monkeypatch, foreigner, foreign) == cost(monkeypatch, client, missing)


def test_a_strangers_slot_file_and_an_absent_one_are_asked_for_alike(
    client: TestClient, foreigner: TestClient, cached: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = f"cube={cached['cube']}&model=fake&profile={'a' * 64}&tokens_sha256={'b' * 64}&n_tokens=7"
    digest = cached["plan"]["source_digest"]
    kept = client.put(f"/v1/kv/slot-files?{query}&source_digest={digest}", content=b"ggsq and so on")
    assert kept.status_code == 201, kept.text
    there, missing = (by_url(f"/v1/kv/slot-files/{i}") for i in (kept.json()["id"], uuid4()))
    assert there(client).status_code == 200
    expected = cost(monkeypatch, client, missing)
    assert expected[0] == 404
    assert cost(monkeypatch, foreigner, there) == expected
