"""A batch on its way through the model: in order, whatever is done meanwhile, and never half."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from memos.encoders.fake_embedder import FakeEmbedder
from memos.rules.header import Draft, Kind
from memos.services.encode import Encoding, encode

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def drafts(*texts: str) -> list[Draft]:
    return [Draft(kind=Kind.TURN, text=text, created_at=NOW, name="Ann") for text in texts]


def test_each_draft_gets_its_own() -> None:
    embedder = FakeEmbedder(32)
    texts = [f"note {n} about tram {n}" for n in range(20)]
    encoded = encode(embedder, drafts(*texts))
    for text, one in zip(texts, encoded, strict=True):
        [alone] = encode(embedder, drafts(text))
        assert np.array_equal(one.embedding, alone.embedding)
        assert (one.terms, one.tokens, one.space) == (alone.terms, embedder.count_tokens(text), embedder.fingerprint)
    assert encode(embedder, []) == []


def test_a_model_that_fails_fails_the_batch() -> None:
    class Broken(FakeEmbedder):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            raise MemoryError("no room for the batch")

    encoding = Encoding(Broken(32), drafts("one", "two"))
    with pytest.raises(MemoryError, match="no room"):
        encoding.result()
