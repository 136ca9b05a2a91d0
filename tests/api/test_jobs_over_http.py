"""Jobs as a caller sees them."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient


@pytest.fixture
def job(client: TestClient, cube: str) -> dict[str, Any]:
    written = client.post(f"/v1/cubes/{cube}/memories", json={"items": [{"kind": "fact", "content": "Ana has a dog."}]})
    found = client.get(f"/v1/jobs/{written.json()['jobs'][0]}")
    assert found.status_code == 200, found.text
    body: dict[str, Any] = found.json()
    return body


def test_a_write_promises_a_job(client: TestClient, job: dict[str, Any]) -> None:
    assert (job["state"], job["attempts"], job["error"]) == ("queued", 0, None)
    listed = client.get("/v1/jobs", params={"state": "queued", "kind": job["kind"]}).json()["items"]
    assert job["id"] in {j["id"] for j in listed}
    assert client.get("/v1/jobs", params={"state": "failed"}).json()["items"] == []


def test_a_job_is_cancelled_and_tried_again(client: TestClient, job: dict[str, Any]) -> None:
    path = f"/v1/jobs/{job['id']}"
    assert client.post(path + "/cancel").json()["state"] == "cancelled"
    assert client.post(path + "/retry").json()["state"] == "queued"
