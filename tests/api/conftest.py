"""The HTTP door on a real database, and callers of every sort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from memos.wiring import App
from tests.conftest import OWNER_KEY

Json = dict[str, Any]


@pytest.fixture(scope="module")
def api(app: App) -> FastAPI:
    return create_app(app)


@pytest.fixture(scope="module")
def client(api: FastAPI) -> Iterator[TestClient]:
    """The owner of the operating tenant."""
    with TestClient(api, headers={"Authorization": f"Bearer {OWNER_KEY}"}) as opened:
        yield opened


@pytest.fixture(scope="module")
def stranger(client: TestClient) -> TestClient:
    """Nobody: no key at all."""
    return TestClient(client.app)


@pytest.fixture(scope="module")
def with_scopes(client: TestClient) -> Callable[..., TestClient]:
    """Make a caller of the owner's tenant (or another) whose key has these scopes and no others."""

    def make(*scopes: str, tenant: str | None = None, cubes: list[str] | None = None) -> TestClient:
        made = client.post(
            "/admin/v1/keys", json={"tenant": tenant, "scopes": list(scopes), "cubes": cubes, "name": "test"}
        )
        assert made.status_code == 201, made.text
        return TestClient(client.app, headers={"Authorization": f"Bearer {made.json()['key']}"})

    return make


@pytest.fixture(scope="module")
def foreigner(client: TestClient, with_scopes: Callable[..., TestClient]) -> TestClient:
    """Somebody with every scope, in another tenant."""
    name = f"foreign-{uuid4().hex[:8]}"
    assert client.post("/admin/v1/tenants", json={"name": name}).status_code == 201
    return with_scopes("read", "write", "freeze", "erase", "admin", "kv", tenant=name)


@pytest.fixture
def cube(client: TestClient) -> str:
    """The name of a fresh cube."""
    name = f"cube-{uuid4().hex[:12]}"
    assert client.post("/v1/cubes", json={"name": name}).status_code == 201
    return name


@pytest.fixture
def memory(client: TestClient, cube: str) -> Json:
    """A fact in `cube`."""
    written = client.post(
        f"/v1/cubes/{cube}/memories", json={"items": [{"kind": "fact", "content": "Ana lives in Lisbon."}]}
    )
    assert written.status_code == 201, written.text
    found = client.get(f"/v1/cubes/{cube}/memories/{written.json()['memories'][0]['id']}")
    assert found.status_code == 200, found.text
    body: Json = found.json()
    return body


@pytest.fixture
def guest_tenant(client: TestClient) -> Json:
    made = client.post("/admin/v1/tenants", json={"name": f"guest-{uuid4().hex[:8]}"})
    assert made.status_code == 201
    found: Json = made.json()
    return found
