"""A memory that is set aside takes the caches it got into along: for everybody, at once, and with what was computed after."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from memos.rules.access import Principal
from memos.services import kv_gc
from memos.services.attempt import Attempt
from memos.services.remember import utc_now
from memos.store import jobs, kv_chunks, kv_taint
from memos.wiring import App
from tests.api.governing import ATTACK, key_of
from tests.api.test_kv_clearance import PUBLIC, built, cached, fetched, lookup, plan_of, starts

__all__ = ["cached"]
Json = dict[str, Any]


def set_aside(client: TestClient, cached: Json, number: int, **changes: Any) -> str:
    """Somebody who may only write makes of a memory what commands its reader."""
    _, writer = key_of(client, "read", "write")
    at = f"/v1/cubes/{cached['cube']}/memories/{cached['ids'][number]}"
    etag = writer.get(at).headers["etag"]
    changed = writer.patch(at, json=changes, headers={"If-Match": etag})
    assert changed.status_code == 200, changed.text
    assert client.get(at).json()["quarantined"] is True
    return str(cached["ids"][number])


@pytest.mark.parametrize("changes", [{"content": f"The ferry is late. {ATTACK}"}, {"title": ATTACK}])
def test_every_chunk_at_or_after_it_goes_and_those_before_stay(
    client: TestClient, app: App, owner: Principal, cached: Json, changes: Json
) -> None:
    chunks, begins = cached["lookup"]["chunks"], starts(cached, PUBLIC + 1)
    kept = [chunk for chunk in chunks if chunk["end"] <= begins]
    assert 0 < len(kept) < len(chunks)
    memory_id = set_aside(client, cached, PUBLIC + 1, **changes)
    for chunk in chunks:
        assert fetched(client, chunk) == ({200} if chunk in kept else {404})
    left = lookup(client, cached["cube"], cached["plan"])
    assert {chunk["key"] for chunk in left["chunks"]} == {chunk["key"] for chunk in kept}
    plan = plan_of(client, cached["cube"])
    assert memory_id not in {item["memory_id"] for item in plan["items"]}
    assert "ignore all previous" not in plan["prefix_text"].lower()
    # The blobs of what went are nobody's, and are collected; what is left can be built on.
    cube_id = UUID(cached["plan"]["cube_id"])
    with app.database.transaction(owner.tenant_id) as tx:
        assert kv_taint.found(tx, cube_id, [UUID(memory_id)]) <= 1  # the withdrawn plan
        job = jobs.get(tx, jobs.promise(tx, "kv.gc"))
    blobs = app.kv.blobs(owner.tenant_id)
    before = len(list(blobs.listing(str(cube_id))))
    gone, dangling = kv_gc.collect(Attempt(app, owner.tenant_id, job), cube_id, before=utc_now())
    left_over = {item.ref.sha256 for item in blobs.listing(str(cube_id))}
    assert (gone > 0, dangling, len(left_over)) == (True, 0, before - gone)
    with app.database.transaction(owner.tenant_id) as tx:
        assert left_over == {blob.hex() for blob in kv_chunks.blobs_named(tx, cube_id)}
    assert built(client, app, owner, cached["cube"])["reused_tokens"] == max(chunk["end"] for chunk in kept)


def test_a_slot_file_it_is_in_goes_too(client: TestClient, cached: Json) -> None:
    query = f"cube={cached['cube']}&model=fake&profile={'a' * 64}&tokens_sha256={'b' * 64}&n_tokens=7"
    digest = cached["plan"]["source_digest"]
    kept = client.put(f"/v1/kv/slot-files?{query}&source_digest={digest}", content=b"ggsq and so on").json()
    assert client.get(f"/v1/kv/slot-files/{kept['id']}").status_code == 200
    set_aside(client, cached, 2, content=ATTACK)
    assert client.get(f"/v1/kv/slot-files/{kept['id']}").status_code == 404
    assert client.get(f"/v1/kv/slot-files?cube={cached['cube']}").json() == {"items": []}
