"""The client against the real API: what a worker built is what an engine restores, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from memos.encoders.fake_lm import FakeEngine
from memos.errors import NotFound
from memos.kv import Answer, KVClient, Way, generate, restore
from memos.rules.kv_address import model_key
from memos.services import work
from memos.wiring import App
from tests.conftest import OWNER_KEY

FACTS = [f"Box {i} stands in room {i % 7} and holds {i * 13} pens for the office on floor {i % 3}." for i in range(7)]
PROMPT = "\nHow many pens are in box 3? "
BUDGET = 2_000


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine()


Promote = Callable[[str], None]


@pytest.fixture(scope="module")
def promote(app: App, tier: KVClient) -> Promote:
    """Ask for a build and be the worker."""
    tenant = app.database.authenticate(OWNER_KEY).tenant_id

    def build(cube: str) -> None:
        job = tier.promote(cube, "fake", codecs=["raw"], budget_tokens=BUDGET)
        work.run_job(app, tenant, UUID(job["id"]))
        tier.finished(job, within_s=5)

    return build


@pytest.fixture
def cube(tier: KVClient) -> str:
    """A cube of its own for a test that changes it."""
    return filled(tier)


@pytest.fixture(scope="module")
def kept(tier: KVClient, promote: Promote) -> str:
    """A cube whose memory is stored, for tests that only read."""
    name = filled(tier)
    promote(name)
    return name


def filled(tier: KVClient) -> str:
    name = f"kv-{uuid4().hex[:8]}"
    tier.ask("POST", "/v1/cubes", {"name": name})
    tier.ask("POST", f"/v1/cubes/{name}/memories", {"items": [{"kind": "fact", "content": fact} for fact in FACTS]})
    return name


def ask(tier: KVClient, engine: FakeEngine, cube: str, **options: Any) -> Answer:
    plan = tier.plan(cube, model_key(engine.identity), budget_tokens=BUDGET)
    return generate(tier, engine, cube, PROMPT, max_new_tokens=5, plan=plan, obey_advice=False, **options)


def test_a_promoted_memory_is_restored_and_answers_as_a_prefill_does(
    tier: KVClient, engine: FakeEngine, cube: str, promote: Promote
) -> None:
    before = ask(tier, engine, cube)
    assert (before.way, before.cached_tokens) == (Way.PREFILLED, 0)
    promote(cube)
    after = ask(tier, engine, cube)
    assert (after.way, after.reason, after.reported) == (Way.RESTORED, "", True)
    assert after.token_ids == before.token_ids
    plan = tier.plan(cube, "fake", budget_tokens=BUDGET)
    assert plan.token_ids == engine.tokenize(plan.prefix_text).ids
    assert after.cached_tokens == plan.kv_tokens == len(plan.token_ids)
    found = tier.lookup(cube, "fake", plan_id=plan.plan_id, codecs=["raw"])
    suffix = engine.tokenize(PROMPT).ids
    restored = engine.logits(restore(tier, engine, found.chunks, found.matched_tokens), suffix)
    assert np.array_equal(restored, engine.logits(engine.restore(engine.build(plan.token_ids)), suffix))


def test_serving_twice_sends_the_same_bytes(tier: KVClient, engine: FakeEngine, kept: str) -> None:
    plan = tier.plan(kept, "fake", budget_tokens=BUDGET)
    found = tier.lookup(kept, "fake", plan_id=plan.plan_id, codecs=["raw"])
    spec = engine.identity.spec
    first = [chunk.data for chunk in tier.fetch(found.chunks, spec)]
    ask(tier, engine, kept)
    assert [chunk.data for chunk in tier.fetch(found.chunks, spec)] == first
    assert [tier.fetch_one(ref, spec).data for ref in found.chunks] == first


def test_an_edit_invalidates_the_suffix_only(tier: KVClient, engine: FakeEngine, cube: str, promote: Promote) -> None:
    promote(cube)
    before = tier.plan(cube, "fake", budget_tokens=BUDGET)
    edited = before.items[-2]
    assert edited.tokens is not None
    tier.ask(
        "PATCH", f"/v1/cubes/{cube}/memories/{edited.memory_id}", {"content": "Box 8 was sold.", "reason": "it was"}
    )
    after = tier.plan(cube, "fake", budget_tokens=BUDGET)
    found = tier.lookup(cube, "fake", plan_id=after.plan_id, codecs=["raw"])
    assert 0 < found.matched_tokens <= edited.tokens[0]
    answer = ask(tier, engine, cube, codecs=["raw"])
    assert (answer.way, answer.cached_tokens) == (Way.RESTORED, found.matched_tokens)
    assert after.token_ids is not None
    exact = engine.generate(engine.restore(None), (*after.token_ids, *engine.tokenize(PROMPT).ids), 5)
    assert answer.token_ids == exact


def test_another_model_gets_the_text_and_no_caches(tier: KVClient, engine: FakeEngine, kept: str) -> None:
    for other in (engine.with_adapter("lora"), FakeEngine(seed=1)):
        answer = ask(tier, other, kept)
        assert (answer.way, answer.cached_tokens) == (Way.PREFILLED, 0)
        with pytest.raises(NotFound):
            tier.lookup(kept, model_key(other.identity), token_ids=[1, 2, 3])


def test_a_foreigner_prefills_nothing_of_ours(
    url: str, app: App, tier: KVClient, engine: FakeEngine, kept: str
) -> None:
    plan = tier.plan(kept, "fake", budget_tokens=BUDGET)
    found = tier.lookup(kept, "fake", plan_id=plan.plan_id, codecs=["raw"])
    api = TestClient(create_app(app), headers={"Authorization": f"Bearer {OWNER_KEY}"})
    assert api.post("/admin/v1/tenants", json={"name": f"f-{kept}"}).status_code == 201
    key = api.post("/admin/v1/keys", json={"tenant": f"f-{kept}", "scopes": ["read", "write", "kv"], "name": "f"})
    with KVClient(url, key.json()["key"]) as foreign:
        with pytest.raises(NotFound):
            list(foreign.fetch(found.chunks, engine.identity.spec))
        with pytest.raises(NotFound):
            ask(foreign, engine, kept)
        answer = generate(foreign, engine, kept, PROMPT, max_new_tokens=2, plan=plan, obey_advice=False)
        assert (answer.way, answer.reported) == (Way.PREFILLED, False)


def test_damage_on_disk_is_never_served(
    tier: KVClient, engine: FakeEngine, cube: str, promote: Promote, app: App
) -> None:
    promote(cube)
    exact = ask(tier, engine, cube).token_ids
    blobs = [path for path in kv_folder(app).rglob("*") if path.is_file() and len(path.name) == 64]
    cube_id = tier.plan(cube, "fake").cube_id
    ours = next(path for path in blobs if cube_id in path.parts)
    ours.write_bytes(ours.read_bytes()[:-3] + b"abc")
    answer = ask(tier, engine, cube)
    assert (answer.way, answer.token_ids) == (Way.PREFILLED, exact)


def kv_folder(app: App) -> Path:
    """Where the service keeps blobs."""
    assert app.settings.data_dir is not None
    return app.settings.data_dir / "kv"
