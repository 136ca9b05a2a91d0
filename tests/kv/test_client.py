"""The engines' client: it restores what the service has, believes nothing unchecked, and always answers."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import zstandard

from memos.encoders.fake_lm import FakeEngine
from memos.encoders.kv_codecs import StoredChunk
from memos.errors import Invalid, KVRejected, Misconfigured, NotFound, Unavailable
from memos.kv import KVClient, Way, generate, restore
from memos.rules.kv_address import model_key
from memos.rules.kv_layout import Group
from tests.encoders.engine_servers import served
from tests.kv.tier import Tier

PROMPT = "\nHow many pens are in box 3? "
NEW = 6


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture(scope="module")
def built(engine: FakeEngine) -> Tier:
    """Built once: the tests share its arrays, and one test checks that nobody changes them."""
    return Tier(engine)


@pytest.fixture
def tier(built: Tier) -> Tier:
    fresh = object.__new__(Tier)
    fresh.__dict__.update(built.__dict__)
    fresh.refused, fresh.outcomes, fresh.asked = {}, [], []
    return fresh


@pytest.fixture
def client(tier: Tier) -> Iterator[KVClient]:
    with served(tier) as url, KVClient(url, "mk_test", timeout_s=5) as made:
        yield made


@pytest.fixture(scope="module")
def prefilled(engine: FakeEngine, built: Tier) -> tuple[int, ...]:
    """The answer of an engine that never heard of stored caches."""
    return engine.generate(engine.restore(None), (*built.ids, *engine.tokenize(PROMPT).ids), NEW)


def ask(client: KVClient, engine: FakeEngine, **options: Any) -> Any:
    return generate(client, engine, "cube", PROMPT, max_new_tokens=NEW, **options)


def test_a_restored_answer_is_the_prefilled_one(
    client: KVClient, tier: Tier, engine: FakeEngine, prefilled: tuple[int, ...]
) -> None:
    answer = ask(client, engine)
    assert (answer.way, answer.reason, answer.token_ids) == (Way.RESTORED, "", prefilled)
    assert answer.cached_tokens == len(tier.ids)
    assert answer.loaded_bytes == sum(len(blob.data) for blob in tier.blobs)
    assert answer.prompt_tokens == len(tier.ids) + len(engine.tokenize(PROMPT).ids)
    (outcome,) = tier.outcomes
    assert answer.reported
    assert (outcome["loaded"], outcome["used_tokens"], outcome["plan_id"]) == (True, len(tier.ids), "plan-1")
    assert outcome["keys"] == list(dict.fromkeys(blob.label.key.hex() for blob in tier.blobs))
    assert "prefill_ms" not in outcome


def test_logits_after_a_restore_over_http_are_bit_equal(client: KVClient, tier: Tier, engine: FakeEngine) -> None:
    found = client.lookup("cube", tier.model, plan_id="plan-1")
    suffix = engine.tokenize(PROMPT).ids
    restored = engine.logits(restore(client, engine, found.chunks, found.matched_tokens), suffix)
    assert np.array_equal(restored, engine.logits(engine.restore(tier.state), suffix))


def test_serving_twice_from_one_store_changes_nothing(client: KVClient, tier: Tier, engine: FakeEngine) -> None:
    before = [blob.data for blob in tier.blobs], tier.state.groups[Group.FULL].k.tobytes()
    one, two = ask(client, engine), ask(client, engine)
    assert one.token_ids == two.token_ids
    assert ([blob.data for blob in tier.blobs], tier.state.groups[Group.FULL].k.tobytes()) == before
    found = client.lookup("cube", tier.model, plan_id="plan-1")
    first, second = (restore(client, engine, found.chunks, found.matched_tokens) for _ in range(2))
    untouched = {group: array.copy() for group, array in second.keys.items()}
    engine.generate(first, engine.tokenize("something else entirely").ids, 9)
    assert all(np.array_equal(second.keys[group], untouched[group]) for group in untouched)


def test_a_partly_stored_prefix_is_continued(
    client: KVClient, tier: Tier, engine: FakeEngine, prefilled: tuple[int, ...]
) -> None:
    tier.lookup_hook = lambda content: {
        **content,
        "matched_tokens": 512,
        "chunks": [chunk for chunk in content["chunks"] if chunk["end"] <= 512],
    }
    tier.blobs = [*tier.blobs]
    answer = ask(client, engine)
    # The sliding group's chunk before 512 is not among those a restore of the whole needs, so this cannot be restored.
    assert answer.way is Way.PREFILLED
    assert answer.token_ids == prefilled
    shorter = Tier(engine, text=tier.text[:512])
    tier.blobs, tier.lookup_hook = shorter.blobs, lambda content: {**content, "matched_tokens": 512}
    answer = ask(client, engine)
    assert (answer.way, answer.cached_tokens, answer.token_ids) == (Way.RESTORED, 512, prefilled)


def change(at: int) -> Callable[[bytes], bytes]:
    return lambda body: body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


HARM: dict[str, Callable[[bytes], bytes]] = {
    "truncated in a body": lambda body: body[: len(body) // 2],
    "truncated before the end mark": lambda body: body[:-4],
    "empty": lambda _: b"",
    "another magic": change(0),
    "another version": change(4),
    "a header that says it is enormous": lambda body: body[:5] + struct.pack(">I", 2**31) + body[9:],
    "a header that is not JSON": change(9),
    "a byte of a body changed": change(-100_000),
    "more than was asked for": lambda body: body[:-4] + struct.pack(">I", 40) + body[:60],
    "oversized": lambda body: body + bytes(10_000_000),
}


@pytest.mark.parametrize("harm", HARM)
def test_damaged_bundles_are_refused_and_the_answer_is_prefilled(
    harm: str, client: KVClient, tier: Tier, engine: FakeEngine, prefilled: tuple[int, ...]
) -> None:
    tier.bundle_hook = HARM[harm]
    answer = ask(client, engine)
    assert (answer.way, answer.cached_tokens, answer.token_ids) == (Way.PREFILLED, 0, prefilled)
    assert answer.reason.startswith("kv_rejected")
    assert (tier.outcomes[0]["loaded"], tier.outcomes[0]["used_tokens"]) == (False, 0)
    assert tier.outcomes[0]["prefill_ms"] > 0


def test_a_bomb_with_the_right_digest_is_refused_before_it_unpacks(
    client: KVClient, tier: Tier, engine: FakeEngine, prefilled: tuple[int, ...]
) -> None:
    """A service that was broken into can name any digest; the model's shapes still bound what is unpacked."""
    bomb = b"MKV1\x01" + zstandard.ZstdCompressor().compress(bytes(2**30 // 8))
    tier.blobs = [StoredChunk(tier.blobs[0].label, bomb), *tier.blobs[1:]]
    answer = ask(client, engine)
    assert (answer.way, answer.token_ids) == (Way.PREFILLED, prefilled)
    assert "would unpack to 134217728 bytes" in answer.reason


def in_first_chunk(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: {**content, "chunks": [{**content["chunks"][0], **changes}, *content["chunks"][1:]]}


@pytest.mark.parametrize(
    ("hook", "code"),
    [
        (in_first_chunk(bytes=2**31 - 1), "kv_rejected"),
        (in_first_chunk(start=1), "kv_rejected"),
        (in_first_chunk(group="swa"), "kv_rejected"),
        (lambda content: {**content, "chunks": content["chunks"][1:]}, "kv_rejected"),
        (lambda content: {**content, "chunks": content["chunks"] * 2}, "kv_rejected"),
        (lambda content: {**content, "model_key": "0" * 64}, "kv_rejected"),
        (in_first_chunk(end=2**40), "unavailable"),
        (in_first_chunk(key="../../etc/passwd"), "unavailable"),
        (in_first_chunk(codec="pickle"), "unavailable"),
        (lambda content: {**content, "chunks": "none"}, "unavailable"),
        (lambda _: [], "unavailable"),
        (lambda _: b"<html>", "unavailable"),
        (lambda _: b"[" * 100_000, "unavailable"),
        (lambda _: b" " * (33 * 2**20), "unavailable"),
    ],
)
def test_nonsense_in_a_lookup_fetches_nothing(
    hook: Callable[[dict[str, Any]], Any],
    code: str,
    client: KVClient,
    tier: Tier,
    engine: FakeEngine,
    prefilled: tuple[int, ...],
) -> None:
    tier.lookup_hook = hook
    answer = ask(client, engine)
    assert (answer.way, answer.token_ids) == (Way.PREFILLED, prefilled)
    assert answer.reason.startswith(code)
    assert "POST /v1/kv/bundles" not in tier.asked


@pytest.mark.parametrize("route", ["lookup", "bundles", "outcomes"])
@pytest.mark.parametrize("status", [404, 500, 507])
def test_a_refusal_anywhere_behind_the_plan_costs_only_time(
    route: str, status: int, client: KVClient, tier: Tier, engine: FakeEngine, prefilled: tuple[int, ...]
) -> None:
    tier.refused = {route: status}
    answer = ask(client, engine)
    assert answer.token_ids == prefilled
    if route == "outcomes":
        assert (answer.way, answer.reported) == (Way.RESTORED, False)
    else:
        assert answer.way is Way.PREFILLED
        assert "told to refuse" in answer.reason


def test_advice_is_obeyed_unless_told_otherwise(
    client: KVClient, tier: Tier, engine: FakeEngine, prefilled: tuple[int, ...]
) -> None:
    tier.advice = "prefill"
    answer = ask(client, engine)
    assert (answer.way, answer.token_ids) == (Way.PREFILLED, prefilled)
    assert answer.reason == "loading takes 40 ms, prefill 2600 ms"
    assert ask(client, engine, obey_advice=False).way is Way.RESTORED


def test_another_model_never_asks_for_this_ones_caches(client: KVClient, tier: Tier, engine: FakeEngine) -> None:
    other = engine.with_adapter("lora")
    assert model_key(other.identity) != tier.model
    answer = ask(client, other)
    assert (answer.way, answer.reason) == (Way.PREFILLED, "the service keeps no caches for this model")
    assert "POST /v1/kv/lookup" not in tier.asked
    found = client.lookup("cube", tier.model, plan_id="plan-1")
    with pytest.raises(KVRejected, match="another model"):
        restore(client, other, found.chunks, found.matched_tokens)


def test_a_plan_without_tokens_is_read_with_the_engines_own_tokenizer(
    client: KVClient, tier: Tier, engine: FakeEngine, prefilled: tuple[int, ...]
) -> None:
    tier.plan_hook = lambda content: {**content, "plan_id": None, "model_key": None, "token_ids": None}
    assert ask(client, engine).token_ids == prefilled


def test_without_a_plan_there_is_no_memory_to_answer_from(client: KVClient, tier: Tier, engine: FakeEngine) -> None:
    plan = client.plan("cube", tier.model)
    tier.refused = {"activation-plan": 404}
    with pytest.raises(NotFound, match="told to refuse"):
        ask(client, engine)
    assert ask(client, engine, plan=plan).way is Way.RESTORED


def test_a_prompt_says_something(client: KVClient, engine: FakeEngine) -> None:
    with pytest.raises(Invalid, match="at least one token"):
        generate(client, engine, "cube", "", max_new_tokens=1)


def test_one_chunk_by_its_own_address(client: KVClient, tier: Tier, engine: FakeEngine) -> None:
    ref = client.lookup("cube", tier.model, plan_id="plan-1").chunks[0]
    assert client.fetch_one(ref, engine.identity.spec).data == tier.blobs[0].data
    tier.bundle_hook = lambda body: body + b"more"
    with pytest.raises(KVRejected, match="instead of at most"):
        client.fetch_one(ref, engine.identity.spec)
    tier.bundle_hook = lambda body: body[:-1]
    with pytest.raises(KVRejected, match="came as"):
        client.fetch_one(ref, engine.identity.spec)


def test_nobody_there(engine: FakeEngine) -> None:
    with KVClient("http://127.0.0.1:9", "mk_test", timeout_s=1) as client, pytest.raises(Unavailable):
        client.plan("cube", "fake")
    with pytest.raises(Misconfigured, match="not the URL"):
        KVClient("file:///etc/passwd", "mk_test")


def test_the_package_loads_without_the_services_packages() -> None:
    blocked = [
        "fastapi",
        "starlette",
        "celery",
        "sqlalchemy",
        "psycopg",
        "redis",
        "cryptography",
        "torch",
        "transformers",
    ]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked})); import memos.kv; print(memos.kv.KVClient.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "KVClient"), done.stderr


def test_a_connection_is_used_again_until_the_service_hangs_up(tier: Tier) -> None:
    callers: list[Any] = []
    with served(tier, keeps_s=0.2, callers=callers) as url, KVClient(url, "mk_test", timeout_s=5) as client:
        plans = [client.plan("cube", tier.model) for _ in range(3)]
        kept = len(callers)
        time.sleep(0.6)
        plans.append(client.plan("cube", tier.model))
    assert len({plan.source_digest for plan in plans}) == 1
    assert (kept, len(callers)) == (1, 2)


def test_an_answer_longer_than_any_is_not_read_to_its_end(tier: Tier, client: KVClient) -> None:
    tier.plan_hook = lambda content: {**content, "prefix_text": "x" * (33 * 2**20)}
    with pytest.raises(Unavailable, match="more than"):
        client.plan("cube", tier.model)
