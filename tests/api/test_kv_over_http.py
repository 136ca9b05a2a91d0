"""Caches over HTTP: what an engine fetches, hands in and reports, and what it is refused."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
import zstandard
from fastapi.testclient import TestClient
from httpx2 import Response

from memos.encoders.kv_codecs import StoredChunk, codec_named, decode_prefix, encode_chunk
from memos.encoders.kv_container import ChunkLabel
from memos.encoders.kv_state import GroupKV
from memos.rules.access import Principal
from memos.rules.kv_address import model_key
from memos.rules.kv_layout import Group
from memos.services import work
from memos.wiring import App
from tests.services.caching import sentence

Json = dict[str, Any]
_numbers = count(1)


@pytest.fixture
def cached(client: TestClient, app: App, owner: Principal, cube: str) -> Json:
    """A cube whose plan of three chunks is held as KV; the plan, and its lookup."""
    fill(client, cube)
    run(client, app, owner, client.post("/v1/kv/promotions", json={"cube": cube, "codecs": ["raw"]}))
    plan = client.get(f"/v1/cubes/{cube}/activation-plan?model=fake").json()
    found = client.post("/v1/kv/lookup", json={"cube": cube, "model": "fake", "plan_id": plan["plan_id"]}).json()
    return {"cube": cube, "plan": plan, "lookup": found, "first": found["chunks"][0]}


def fill(client: TestClient, cube: str) -> None:
    items = [{"kind": "fact", "content": sentence(i)} for i in range(8)]
    assert client.post(f"/v1/cubes/{cube}/memories", json={"items": items}).status_code == 201


def run(client: TestClient, app: App, owner: Principal, promised: Response) -> Json:
    assert promised.status_code == 202, promised.text
    body = promised.json()
    job_id = body.get("job_id") or body["id"]
    assert work.run_job(app, owner.tenant_id, UUID(job_id)) == "succeeded"
    done: Json = client.get(f"/v1/jobs/{job_id}").json()
    return done


def frames(stream: bytes) -> Iterator[tuple[Json, bytes]]:
    assert stream[:5] == b"MKVB\x01"
    at = 5
    while size := struct.unpack_from(">I", stream, at)[0]:
        header = json.loads(stream[at + 4 : at + 4 + size])
        at += 4 + size
        yield header, stream[at : at + header["bytes"]]
        at += header["bytes"]
    assert at + 4 == len(stream)


# -- Plan and lookup


def test_the_plan_says_what_to_put_in_front(client: TestClient, app: App, cached: Json) -> None:
    plan = cached["plan"]
    assert plan["token_ids"] == list(app.kv.engine.tokenize(plan["prefix_text"]).ids)
    assert (plan["kv"], plan["kv_tokens"], plan["n_tokens"]) == ("full", plan["n_tokens"], len(plan["token_ids"]))
    assert plan["model_key"] == model_key(app.kv.engine.identity)
    item = plan["items"][3]
    assert sentence(3) in plan["prefix_text"][item["char_start"] : item["char_end"]]
    engine = app.kv.engine
    assert sentence(3) in engine.detokenize(plan["token_ids"][item["token_start"] : item["token_end"]])
    again = client.get(f"/v1/cubes/{cached['cube']}/activation-plan?model=fake")
    assert again.json() == plan
    assert again.headers["etag"] == f'"{plan["source_digest"]}"'


def test_by_model_key_is_by_name_and_another_model_is_404(client: TestClient, cached: Json) -> None:
    asked = {"cube": cached["cube"], "plan_id": cached["plan"]["plan_id"]}
    by_key = client.post("/v1/kv/lookup", json={**asked, "model": cached["plan"]["model_key"]})
    assert by_key.json() == cached["lookup"]
    for model in ("0" * 64, "gpt-9"):
        assert client.post("/v1/kv/lookup", json={**asked, "model": model}).status_code == 404
    both = client.post("/v1/kv/lookup", json={**asked, "model": "fake", "token_ids": [1]})
    neither = client.post("/v1/kv/lookup", json={"cube": cached["cube"], "model": "fake"})
    assert (both.status_code, neither.status_code) == (422, 422)


def test_a_service_in_another_engine_restores_what_it_fetched(client: TestClient, app: App, cached: Json) -> None:
    """With nothing but the answers of the API and the same model."""
    engine, found = app.kv.engine, cached["lookup"]
    wanted = [{name: chunk[name] for name in ("key", "group", "codec")} for chunk in found["chunks"]]
    answer = client.post("/v1/kv/bundles", json={"chunks": wanted})
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    stored = []
    for (header, body), chunk in zip(frames(answer.content), found["chunks"], strict=True):
        assert (header["key"], header["group"], header["sha256"]) == (chunk["key"], chunk["group"], chunk["sha256"])
        label = ChunkLabel(
            bytes.fromhex(header["key"]), found["model_key"], Group(header["group"]), header["codec"], header["start"],
            header["n_tokens"],
        )  # fmt: skip
        stored.append(StoredChunk(label, body, bytes.fromhex(header["sha256"])))
    state = decode_prefix(stored, engine.identity.spec, found["matched_tokens"])
    question = engine.tokenize("When?").ids
    fresh = engine.logits(engine.restore(engine.build(cached["plan"]["token_ids"])), question)
    assert np.array_equal(fresh, engine.logits(engine.restore(state), question))


# -- Chunks


def test_a_chunk_never_changes_and_comes_in_ranges(client: TestClient, cached: Json) -> None:
    first = cached["first"]
    whole = client.get(first["url"])
    assert whole.status_code == 200
    assert whole.headers["etag"] == first["etag"]
    assert whole.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert whole.headers["content-type"] == "application/octet-stream"
    assert len(whole.content) == first["bytes"] == int(whole.headers["content-length"])
    assert hashlib.sha256(whole.content).hexdigest() == first["sha256"]
    for header, start, end in (("bytes=0-99", 0, 100), ("bytes=100-", 100, None), ("bytes=-7", -7, None)):
        part = client.get(first["url"], headers={"Range": header})
        assert part.status_code == 206
        assert part.content == whole.content[start:end]
        assert part.headers["content-range"].endswith(f"/{first['bytes']}")
    beyond = client.get(first["url"], headers={"Range": f"bytes={first['bytes']}-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
    for ignored in ("bytes=1-2,4-5", "lines=1-2", "bytes=9-3"):
        assert client.get(first["url"], headers={"Range": ignored}).status_code == 200
    stale = client.get(first["url"], headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert stale.status_code == 200
    assert client.get(first["url"], headers={"If-None-Match": first["etag"]}).status_code == 304
    head = client.head(first["url"])
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == first["bytes"]
    assert head.headers["x-kv-tokens"] == str(first["end"] - first["start"])


def test_absent_foreign_and_out_of_reach_are_the_same_404(
    client: TestClient, foreigner: TestClient, with_scopes: Callable[..., TestClient], cached: Json
) -> None:
    bound = with_scopes("read", cubes=[make(client)])
    url = cached["first"]["url"]
    answers = [
        client.get(url.replace(cached["first"]["key"], "ab" * 32)),
        client.get(f"/v1/kv/chunks/{cached['first']['key']}?codec=int4"),
        foreigner.get(url),
        bound.get(url),
    ]
    wanted = {"chunks": [{name: cached["first"][name] for name in ("key", "group", "codec")}]}
    answers += [caller.post("/v1/kv/bundles", json=wanted) for caller in (foreigner, bound)]
    problems = [{k: v for k, v in answer.json().items() if k != "instance"} for answer in answers]
    assert {answer.status_code for answer in answers} == {404}
    assert all(problem == problems[0] for problem in problems)


def make(client: TestClient) -> str:
    return str(client.post("/v1/cubes", json={"name": f"other-{uuid4().hex[:8]}"}).json()["name"])


# -- Handing in


@pytest.fixture
def planned(client: TestClient, app: App, cube: str) -> Json:
    """A cube with a plan and nothing stored; the first chunk's place and its honest content."""
    fill(client, cube)
    plan = client.get(f"/v1/cubes/{cube}/activation-plan?model=fake").json()
    chunk = client.get(f"/v1/kv/plans/{plan['plan_id']}").json()["chunks"][0]
    kv = app.kv.engine.build(plan["token_ids"][: chunk["end"]]).groups[Group.FULL]
    label = ChunkLabel(bytes.fromhex(chunk["key"]), plan["model_key"], Group.FULL, "raw", 0, chunk["end"])
    return {"cube": cube, "plan": plan, "key": chunk["key"], "kv": kv, "label": label}


def hand_in(client: TestClient, planned: Json, data: bytes, codec: str = "raw") -> Response:
    query = f"plan_id={planned['plan']['plan_id']}&group=full&codec={codec}"
    return client.put(f"/v1/kv/chunks/{planned['key']}?{query}", content=data)


def test_what_is_handed_in_is_served_once_it_was_recomputed(
    client: TestClient, app: App, owner: Principal, planned: Json
) -> None:
    data = encode_chunk(planned["kv"], app.kv.engine.identity.spec, planned["label"])
    url = f"/v1/kv/chunks/{planned['key']}?group=full&codec=raw"
    first = hand_in(client, planned, data)
    assert (first.status_code, first.json()["state"]) == (202, "quarantine")
    assert client.get(url).status_code == 404
    stored = client.get(f"/v1/kv/plans/{planned['plan']['plan_id']}").json()["chunks"][0]["stored"]
    assert stored == [{"group": "full", "codec": "raw", "state": "quarantine"}]
    assert run(client, app, owner, first)["result"] == {"verified": 1, "refused": 0}
    assert client.get(url).content == data
    again = hand_in(client, planned, data)
    assert (again.status_code, again.json()["state"], again.json()["job_id"]) == (200, "verified", None)


def test_a_forged_cache_is_never_served(client: TestClient, app: App, owner: Principal, planned: Json) -> None:
    """Of the right form in every way, but computed from other tokens."""
    engine = app.kv.engine
    other = engine.build([(token + 1) % 256 for token in planned["plan"]["token_ids"][: planned["label"].n_tokens]])
    data = encode_chunk(other.groups[Group.FULL], engine.identity.spec, planned["label"])
    put = hand_in(client, planned, data)
    assert put.status_code == 202
    assert run(client, app, owner, put)["result"] == {"verified": 0, "refused": 1}
    assert client.get(f"/v1/kv/chunks/{planned['key']}?group=full&codec=raw").status_code == 404
    assert client.get(f"/v1/kv/plans/{planned['plan']['plan_id']}").json()["chunks"][0]["stored"] == []


def test_what_is_not_of_the_form_is_refused_at_once(client: TestClient, app: App, planned: Json) -> None:
    spec, label, kv = app.kv.engine.identity.spec, planned["label"], planned["kv"]
    good = encode_chunk(kv, spec, label)
    flipped = bytearray(good)
    flipped[20] ^= 1
    compressed = zstandard.ZstdCompressor(write_content_size=True)
    bad = {
        "nothing": b"",
        "noise": b"MKV1\x00" + b"\xff" * 100,
        "a truncated file": good[:-1],
        "a longer file": good + b"\0",
        "another header": bytes(flipped),
        "a zip bomb": b"MKV1\x01" + compressed.compress(bytes(200_000_000)),
        "a sealed file": b"MKV1\x02" + good[5:],
        "another chunk": encode_chunk(
            kv, spec, ChunkLabel(bytes(32), label.model, label.group, "raw", 0, label.n_tokens)
        ),
        "another codec": encode_chunk(
            kv, spec, ChunkLabel(label.key, label.model, label.group, "bf16", 0, label.n_tokens)
        ),
        "fewer tokens": encode_chunk(
            GroupKV(kv.k[:, :, :9], kv.v[:, :, :9]), spec, ChunkLabel(label.key, label.model, label.group, "raw", 0, 9)
        ),
        "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.",
    }
    for what, data in bad.items():
        answer = hand_in(client, planned, data)
        assert answer.status_code == 422, what
        assert answer.json()["code"] in {"kv_rejected", "invalid"}, what
    assert client.get(f"/v1/kv/plans/{planned['plan']['plan_id']}").json()["chunks"][0]["stored"] == []
    assert codec_named("raw").zstd_level is None


def test_handing_in_takes_its_own_scope_and_a_chunk_of_the_plan(
    client: TestClient, app: App, with_scopes: Callable[..., TestClient], foreigner: TestClient, planned: Json
) -> None:
    data = encode_chunk(planned["kv"], app.kv.engine.identity.spec, planned["label"])
    assert hand_in(with_scopes("read", "write", "admin"), planned, data).status_code == 403
    assert hand_in(foreigner, planned, data).status_code == 404
    assert hand_in(client, {**planned, "key": "cd" * 32}, data).status_code == 404
    assert hand_in(with_scopes("kv"), planned, data).status_code == 202


# -- Keeping house


def test_outcomes_and_budgets_show_in_the_figures(client: TestClient, cached: Json) -> None:
    cube = cached["cube"]
    keys = list(dict.fromkeys(chunk["key"] for chunk in cached["lookup"]["chunks"]))
    told = {"cube": cube, "model": "fake", "keys": keys, "loaded": True, "used_tokens": 700, "ttft_ms": 12.5}
    answer = client.post("/v1/kv/outcomes", json=told)
    assert (answer.status_code, answer.json()["recorded"]) == (200, True)
    assert answer.json()["saved_ms"] > 0
    client.post("/v1/kv/outcomes", json={**told, "loaded": False, "keys": [], "ttft_ms": 800.0})
    assert client.put(f"/v1/kv/budgets/{cube}", json={"bytes_max": 10**9}).json()["bytes_max"] == 10**9
    figures = client.get(f"/v1/kv/stats?cube={cube}").json()
    assert (figures["outcomes"]["loads"], figures["outcomes"]["prefills"]) == (1, 1)
    assert figures["outcomes"]["mean_ttft_ms_loaded"] == 12.5
    assert figures["chunks"] == len(keys)
    assert figures["budget"]["bytes_used"] == figures["bytes"] > 0
    assert figures["budget"]["bytes_max"] == 10**9
    assert client.get("/v1/kv/stats").json()["chunks"] >= len(keys)


def test_a_plan_given_up_takes_its_caches_along(client: TestClient, cached: Json) -> None:
    gone = client.delete(f"/v1/kv/plans/{cached['plan']['plan_id']}")
    assert gone.status_code == 200
    assert gone.json()["chunks_removed"] == len({chunk["key"] for chunk in cached["lookup"]["chunks"]})
    assert gone.json()["bytes_freed"] > 0
    assert client.get(cached["first"]["url"]).status_code == 404
    assert client.delete(f"/v1/kv/plans/{cached['plan']['plan_id']}").status_code == 404
    assert client.get(f"/v1/cubes/{cached['cube']}/activation-plan?model=fake").json()["kv"] == "none"


def test_a_cube_that_is_deleted_takes_its_key_along(
    client: TestClient, app: App, owner: Principal, cached: Json
) -> None:
    """At once nothing can be opened, and a job sweeps up what lies on disk."""
    cube_id = cached["plan"]["cube_id"]
    blobs = app.kv.blobs(owner.tenant_id)
    assert list(blobs.listing(cube_id))
    assert client.delete(f"/v1/cubes/{cached['cube']}").status_code == 204
    assert client.get(cached["first"]["url"]).status_code == 404
    [sweep] = client.get("/v1/jobs?state=queued&kind=kv.gc").json()["items"]
    assert work.run_job(app, owner.tenant_id, UUID(sweep["id"])) == "succeeded"
    assert list(blobs.listing(cube_id)) == []


@pytest.mark.parametrize(
    "policy", [{"kv": 1}, {"codecs": []}, {"codecs": ["zip"]}, {"budget_tokens": 3}, {"colour": "red"}]
)
def test_a_policy_that_cannot_be_is_refused(client: TestClient, policy: Json) -> None:
    answer = client.post("/v1/cubes", json={"name": f"bad-{uuid4().hex[:8]}", "policy": {"activation": policy}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"][:3] == ["body", "policy", "activation"]
