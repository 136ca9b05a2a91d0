"""What lies on disk is not taken on trust, what does not fit on it is said so, and what a crash left there goes."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from memos.encoders.kv_codecs import encode_chunk
from memos.rules.access import Principal
from memos.services import kv_gc, kv_keep, work
from memos.store import kv_chunks, kv_slots
from memos.wiring import App, build_app
from tests.api.governing import add, found
from tests.api.test_kv_over_http import fill, hand_in, planned, run
from tests.conftest import Servers, settings_of
from tests.services.caching import job

__all__ = ["planned"]
Json = dict[str, Any]


def slot_file(client: TestClient, planned: Json, data: bytes) -> Response:
    query = f"cube={planned['cube']}&model=fake&profile={'a' * 64}&tokens_sha256={'b' * 64}&n_tokens=7"
    return client.put(f"/v1/kv/slot-files?{query}&source_digest={planned['plan']['source_digest']}", content=data)


def files(app: App, planned: Json) -> list[Path]:
    """What lies on disk of the cube."""
    folder = (app.settings.data_dir or Path()) / "kv" / "blobs" / planned["plan"]["cube_id"]
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def app(owner_url: str, servers: Servers) -> Iterator[App]:
    """With a folder of its own, where no other test has left a master key."""
    folder = servers.root / "kv-disk"
    folder.mkdir()
    built = build_app(settings_of(owner_url, servers, folder))
    yield built
    built.close()


@pytest.fixture
def collected(app: App, owner: Principal, planned: Json, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Json]:
    """Run the collector of all but what other tests left; what it took."""
    monkeypatch.setattr(kv_gc, "GRACE", timedelta(seconds=-1))

    def collect() -> Json:
        result = job(app, owner, "kv.gc").result
        assert result is not None
        return {name: result[name] for name in ("blobs", "dangling_rows")}

    collect()
    return collect


NOTHING = {"blobs": 0, "dangling_rows": 0}


# -- A full disk


@pytest.mark.parametrize("first", [True, False])
def test_a_full_disk_refuses_caches_and_nothing_else(
    client: TestClient, app: App, planned: Json, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """As a file system does that allocates late: written is everything, but there is no room to put it. The very first
    cache finds no room for the master key already."""
    data = encode_chunk(planned["kv"], app.kv.engine.identity.spec, planned["label"])
    folder = app.settings.data_dir or Path()
    assert (folder / "master-key").exists() is not first

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        refused = [hand_in(client, planned, data), slot_file(client, planned, bytes(200_000))]
        assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(507, "storage_full")] * 2
        fill(client, planned["cube"])
        assert found(client, planned["cube"], "when does the ferry leave") != []
        assert client.get(f"/v1/cubes/{planned['cube']}/activation-plan?model=fake").status_code == 200
    assert files(app, planned) == []
    assert list((folder / "kv").glob("tmp/*")) == []
    assert hand_in(client, planned, data).status_code == 202


def test_two_who_hand_in_one_chunk_at_once_leave_one(
    client: TestClient, app: App, owner: Principal, planned: Json, collected: Callable[[], Json]
) -> None:
    data = encode_chunk(planned["kv"], app.kv.engine.identity.spec, planned["label"])
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(hand_in, client, planned, data) for _ in range(12)]
    assert {answer.result().status_code for answer in answers} == {202}
    stored = client.get(f"/v1/kv/plans/{planned['plan']['plan_id']}").json()["chunks"][0]["stored"]
    assert stored == [{"group": "full", "codec": "raw", "state": "quarantine"}]
    [only] = {answer.result().json()["job_id"] for answer in answers}
    assert len(files(app, planned)) == 1
    assert collected() == NOTHING
    assert work.run_job(app, owner.tenant_id, UUID(only)) == "succeeded"
    assert client.get(f"/v1/kv/chunks/{planned['key']}?group=full&codec=raw").content == data


# -- Crashes


@pytest.mark.parametrize("way", ["chunk", "slot file"])
def test_a_hand_in_that_dies_between_file_and_row_leaves_nothing_behind(
    client: TestClient,
    app: App,
    planned: Json,
    collected: Callable[[], Json],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    def die(*_: object) -> None:
        raise RuntimeError("the process ends here")

    data = encode_chunk(planned["kv"], app.kv.engine.identity.spec, planned["label"])
    with monkeypatch.context() as patched:
        patched.setattr(kv_chunks, "insert_object", die)
        patched.setattr(kv_slots, "insert", die)
        answer = hand_in(client, planned, data) if way == "chunk" else slot_file(client, planned, data)
        assert answer.status_code == 500
    left = len(files(app, planned))
    assert left == (1 if way == "chunk" else 0)
    assert collected() == {**NOTHING, "blobs": left}
    assert files(app, planned) == []
    stored = client.get(f"/v1/kv/plans/{planned['plan']['plan_id']}").json()["chunks"][0]["stored"]
    assert stored == []
    again = hand_in(client, planned, data) if way == "chunk" else slot_file(client, planned, data)
    assert again.status_code in {201, 202}
    assert collected() == NOTHING


def test_an_eviction_that_dies_between_row_and_file_leaves_nothing_behind(
    client: TestClient, app: App, owner: Principal, planned: Json, collected: Callable[[], Json]
) -> None:
    data = encode_chunk(planned["kv"], app.kv.engine.identity.spec, planned["label"])
    hand_in(client, planned, data)
    with app.database.transaction(owner.tenant_id) as tx:
        kv_chunks.delete(tx, [bytes.fromhex(planned["key"])])
    assert len(files(app, planned)) == 1
    assert collected() == {**NOTHING, "blobs": 1}
    assert files(app, planned) == []


@pytest.mark.parametrize("by", ["asking", "collection"])
def test_a_slot_file_whose_bytes_are_lost_can_be_handed_in_again(
    client: TestClient, app: App, planned: Json, collected: Callable[[], Json], by: str
) -> None:
    kept = slot_file(client, planned, b"ggsq and so on").json()
    [path] = files(app, planned)
    path.unlink()
    if by == "asking":
        assert client.get(f"/v1/kv/slot-files/{kept['id']}").status_code == 404
    else:
        assert collected() == {**NOTHING, "dangling_rows": 1}
    again = slot_file(client, planned, b"ggsq and so on")
    assert again.status_code == 201
    assert again.json()["id"] != kept["id"]
    assert client.get(f"/v1/kv/slot-files/{again.json()['id']}").content == b"ggsq and so on"


def test_a_slot_file_survives_an_erasure_that_takes_its_unnamed_bytes(
    client: TestClient, app: App, planned: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another memory in the cube, between file and row: it deletes whatever nothing names at that moment."""
    exclude = kv_keep.exclude_erasure

    def after_the_erasure(*args: Any) -> None:
        for path in files(app, planned):
            path.unlink()
        exclude(*args)

    monkeypatch.setattr(kv_keep, "exclude_erasure", after_the_erasure)
    kept = slot_file(client, planned, b"ggsq and so on").json()
    assert client.get(f"/v1/kv/slot-files/{kept['id']}").content == b"ggsq and so on"


# -- What was changed on disk


@pytest.mark.parametrize("way", ["chunk", "slot file"])
@pytest.mark.parametrize("change", ["grown", "cut"])
def test_a_file_of_another_length_is_refused_before_it_is_read(
    client: TestClient,
    app: App,
    owner: Principal,
    planned: Json,
    collected: Callable[[], Json],
    way: str,
    change: str,
) -> None:
    """A sparse file of 64 GB costs whoever puts it there nothing; reading it would cost us the process."""
    data = encode_chunk(planned["kv"], app.kv.engine.identity.spec, planned["label"])
    if way == "chunk":
        run(client, app, owner, hand_in(client, planned, data))
        url = f"/v1/kv/chunks/{planned['key']}?group=full&codec=raw"
    else:
        url = f"/v1/kv/slot-files/{slot_file(client, planned, data).json()['id']}"
    assert client.get(url).content == data
    [path] = files(app, planned)
    with path.open("r+b") as file:
        file.truncate(64 * 2**30 if change == "grown" else path.stat().st_size - 1)
    tracemalloc.start()
    answers = [client.get(url).status_code for _ in range(2)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answers == [404, 404]
    assert peak < 20 * 2**20
    assert collected() == {**NOTHING, "blobs": 1}


def test_a_stored_chunk_that_grew_is_no_past_to_build_on(
    client: TestClient, app: App, owner: Principal, planned: Json
) -> None:
    body = {"cube": planned["cube"], "codecs": ["raw"]}
    whole = run(client, app, owner, client.post("/v1/kv/promotions", json=body))["result"]
    for path in files(app, planned):
        with path.open("r+b") as file:
            file.truncate(64 * 2**30)
    add(client, planned["cube"], "The last ferry of the year leaves at noon.")
    again = run(client, app, owner, client.post("/v1/kv/promotions", json=body))["result"]
    assert again["reused_tokens"] == 0
    assert again["built_tokens"] > whole["n_tokens"]
