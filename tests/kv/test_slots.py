"""A memory as a llama.cpp server's slot file, kept by the real service: restored in another server, used, and taken away
with the memory. The server is a stand-in with slots of its own (`FakeLlamaCpp`); the file is what it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from memos.encoders.llamacpp_server import LlamaCppServer
from memos.errors import Conflict, NotFound
from memos.kv import KVClient
from memos.kv.slots import answer_from_slot, keep_slot
from memos.rules.access import Principal
from memos.services import kv_gc, kv_slots, work
from memos.services.attempt import Attempt
from memos.services.remember import utc_now
from memos.store import jobs
from memos.wiring import App
from tests.conftest import OWNER_KEY
from tests.encoders.engine_servers import FakeLlamaCpp, served
from tests.kv.test_against_the_service import filled

MODEL = "llama-in-a-file"
PROMPT = "\nHow many pens are in box 3? "


@pytest.fixture
def cube(tier: KVClient) -> str:
    return filled(tier)


Start = Callable[[str], tuple[LlamaCppServer, FakeLlamaCpp]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server with a folder of its own."""
    opened: list[object] = []

    @contextmanager
    def running(folder: Path) -> Iterator[tuple[LlamaCppServer, FakeLlamaCpp]]:
        backend = FakeLlamaCpp(folder)
        with served(backend) as at, httpx.Client(base_url=at) as client:
            yield LlamaCppServer(client, folder, weights_sha256="w" * 64), backend

    def begin(name: str) -> tuple[LlamaCppServer, FakeLlamaCpp]:
        folder = tmp_path / name
        folder.mkdir()
        context = running(folder)
        opened.append(context)
        return context.__enter__()

    yield begin
    for context in opened:
        context.__exit__(None, None, None)  # type: ignore[attr-defined]


def test_a_kept_slot_is_used_by_another_server_of_the_same_profile(tier: KVClient, cube: str, start: Start) -> None:
    (one, _), (other, _) = start("one"), start("other")
    first = answer_from_slot(tier, one, cube, MODEL, PROMPT, max_new_tokens=4)
    assert (first.restored, first.reason.partition(":")[0]) == (False, "not_found")
    kept = keep_slot(tier, one, cube, MODEL)
    assert keep_slot(tier, one, cube, MODEL) == kept
    second = answer_from_slot(tier, other, cube, MODEL, PROMPT, max_new_tokens=4)
    assert (second.restored, second.kept) == (True, kept)
    assert second.completion.text == first.completion.text
    prefix = len(one.tokenize(tier.plan(cube, MODEL).prefix_text))
    assert second.completion.cached_tokens == prefix


def test_a_server_of_another_profile_never_asks_for_it(tier: KVClient, cube: str, start: Start) -> None:
    (one, _), (other, backend) = start("one"), start("other")
    keep_slot(tier, one, cube, MODEL)
    backend.props = {**backend.props, "build_info": "b2-test"}
    done = answer_from_slot(tier, other, cube, MODEL, PROMPT, max_new_tokens=4, keep=True)
    assert (done.restored, done.completion.text) == (False, "xxxx")
    assert done.kept is not None
    assert len(tier.ask("GET", f"/v1/kv/slot-files?cube={cube}")["items"]) == 2


def test_a_file_the_server_loads_and_does_not_use_is_said_to_be_unused(tier: KVClient, cube: str, start: Start) -> None:
    (one, _), (other, backend) = start("one"), start("other")
    keep_slot(tier, one, cube, MODEL)
    backend.forgets_restored = True
    done = answer_from_slot(tier, other, cube, MODEL, PROMPT, max_new_tokens=4)
    assert (done.restored, done.completion.text) == (False, "xxxx")
    assert "kv_not_restored" in done.reason


def test_nothing_of_it_lies_in_the_open_and_damage_is_never_served(
    app: App, tier: KVClient, cube: str, start: Start
) -> None:
    one, _ = start("one")
    keep_slot(tier, one, cube, MODEL)
    [blob] = stored(app, tier, cube)
    sealed = blob.read_bytes()
    assert str(list(b"Box 3 stands")).strip("[]").encode() not in sealed
    blob.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    done = answer_from_slot(tier, one, cube, MODEL, PROMPT, max_new_tokens=4)
    assert (done.restored, done.reason.partition(":")[0]) == (False, "not_found")


def test_a_memory_that_changed_refuses_the_file_made_of_what_it_was(tier: KVClient, cube: str, start: Start) -> None:
    one, _ = start("one")
    before = tier.plan(cube, MODEL)
    tier.ask("POST", f"/v1/cubes/{cube}/memories", {"items": [{"kind": "fact", "content": "Box 9 is gone."}]})
    with pytest.raises(Conflict):
        keep_slot(tier, one, cube, MODEL, plan=before)
    assert tier.ask("GET", f"/v1/kv/slot-files?cube={cube}")["items"] == []


def test_it_is_as_secret_as_its_memories_and_goes_with_any_of_them(
    app: App, url: str, tier: KVClient, cube: str, start: Start, owner: Principal
) -> None:
    one, _ = start("one")
    kept = keep_slot(tier, one, cube, MODEL)
    with TestClient(create_app(app), headers={"Authorization": f"Bearer {OWNER_KEY}"}) as client:
        made = client.post("/admin/v1/keys", json={"scopes": ["read", "kv"], "clearance": "public", "name": "out"})
        outsider = TestClient(client.app, headers={"Authorization": f"Bearer {made.json()['key']}"})
        assert outsider.get(f"/v1/kv/slot-files?cube={cube}").json() == {"items": []}
        hidden, absent = (outsider.get(f"/v1/kv/slot-files/{i}") for i in (kept, UUID(int=7)))
        assert hidden.status_code == absent.status_code == 404
        assert {**hidden.json(), "instance": 0} == {**absent.json(), "instance": 0}
        part = client.get(f"/v1/kv/slot-files/{kept}", headers={"Range": "bytes=0-4"})
        assert (part.status_code, len(part.content)) == (206, 5)
        memory = tier.plan(cube, MODEL).items[2].memory_id
        gone = client.post(f"/v1/cubes/{cube}/forget", json={"memory_ids": [memory]}).json()
        assert len(stored(app, tier, cube)) == 1
        assert work.run_job(app, owner.tenant_id, UUID(gone["job_id"])) == "succeeded"
        assert client.get(f"/v1/kv/slot-files/{kept}").status_code == 404
    assert stored(app, tier, cube) == []
    with pytest.raises(NotFound):
        tier.ask("GET", f"/v1/kv/slot-files/{kept}")


def test_raising_a_label_takes_it_and_collection_its_blob(
    app: App, tier: KVClient, cube: str, start: Start, owner: Principal
) -> None:
    one, _ = start("one")
    keep_slot(tier, one, cube, MODEL)
    plan = tier.plan(cube, MODEL)
    with TestClient(create_app(app), headers={"Authorization": f"Bearer {OWNER_KEY}"}) as client:
        at = f"/v1/cubes/{cube}/memories/{plan.items[0].memory_id}"
        etag = client.get(at).headers["etag"]
        assert client.patch(at, json={"sensitivity": "secret"}, headers={"If-Match": etag}).status_code == 200
    assert tier.ask("GET", f"/v1/kv/slot-files?cube={cube}")["items"] == []
    with app.database.transaction(owner.tenant_id) as tx:
        job = jobs.get(tx, jobs.promise(tx, "kv.gc"))
    assert kv_gc.collect(Attempt(app, owner.tenant_id, job), UUID(plan.cube_id), before=utc_now()) == (1, 0)
    assert stored(app, tier, cube) == []


def stored(app: App, tier: KVClient, cube: str) -> list[Path]:
    """The files that lie in the store for a cube."""
    folder = app.kv.settings.data_dir
    assert folder is not None
    return [path for path in (folder / "kv" / "blobs" / tier.plan(cube, MODEL).cube_id).rglob("*") if path.is_file()]


def test_deleting_it_takes_its_bytes(app: App, tier: KVClient, cube: str, start: Start, owner: Principal) -> None:
    one, _ = start("one")
    kept = keep_slot(tier, one, cube, MODEL)
    with app.database.transaction(owner.tenant_id) as tx:
        kv_slots.remove(tx, app.kv, owner, UUID(kept), now=utc_now())
    assert stored(app, tier, cube) == []
