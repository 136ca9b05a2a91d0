"""One embedder of each kind for the whole run: the real ones take a second or more to load."""

from __future__ import annotations

from pathlib import Path

import pytest

from memos.encoders.embedder import Embedder
from memos.encoders.fake_embedder import FakeEmbedder
from memos.encoders.onnx_embedder import OnnxEmbedder
from memos.encoders.sentence_transformer_embedder import SentenceTransformerEmbedder


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def onnx_embedder(model_cache: Path) -> OnnxEmbedder:
    return OnnxEmbedder(model_cache)


@pytest.fixture(scope="session")
def onnx_embedder_on_two_cores(model_cache: Path) -> OnnxEmbedder:
    return OnnxEmbedder(model_cache, threads=2)


@pytest.fixture(scope="session")
def torch_embedder() -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder("minilm")


@pytest.fixture(
    params=[
        "fake",
        "fake of 64 dimensions",
        "onnx_embedder",
        "onnx_embedder_on_two_cores",
        pytest.param("torch_embedder", marks=pytest.mark.slow),
    ]
)
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "fake":
        return FakeEmbedder()
    if request.param == "fake of 64 dimensions":
        return FakeEmbedder(64)
    real: Embedder = request.getfixturevalue(request.param)
    return real
