from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from memos.encoders.embedder import DEFAULT_EMBEDDER, build_embedder
from memos.encoders.minilm_weights import minilm_dir
from memos.encoders.sentence_transformer_embedder import SentenceTransformerEmbedder
from memos.errors import Misconfigured
from memos.settings import Settings


def test_the_default_of_the_settings_is_the_default_embedder(model_cache: Path) -> None:
    assert Settings.model_fields["embedder"].default == DEFAULT_EMBEDDER
    built = build_embedder(DEFAULT_EMBEDDER, cache_dir=model_cache)
    assert (built.name, built.dimensions, built.max_tokens) == ("minilm-int8", 384, 254)


@pytest.mark.parametrize(("name", "dimensions"), [("fake", 384), ("fake:64", 64), ("fake:1", 1)])
def test_fakes_have_the_dimensions_asked_for(tmp_path: Path, name: str, dimensions: int) -> None:
    built = build_embedder(name, cache_dir=tmp_path)

    assert built.dimensions == dimensions
    assert built.embed(["some words"]).shape == (1, dimensions)
    assert build_embedder(built.name, cache_dir=tmp_path).fingerprint == built.fingerprint


@pytest.mark.parametrize("name", ["gpt-9", "", "fake:many", "fake:-1", "Minilm-int8", "minilm-int8:2", "fake:٣x"])
def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured, match=r"'minilm-int8'.*'minilm'.*'fake'.*path"):
        build_embedder(name, cache_dir=tmp_path)


@pytest.mark.parametrize("name", ["fake:0", "fake:100000"])
def test_impossible_dimensions_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured, match="dimensions"):
        build_embedder(name, cache_dir=tmp_path)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"no config\.json"):
        build_embedder(str(tmp_path), cache_dir=tmp_path)


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="nowhere"):
        build_embedder(str(tmp_path / "nowhere"), cache_dir=tmp_path)


@pytest.mark.slow
def test_a_model_that_is_not_on_this_machine_is_never_downloaded(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="nothing is downloaded"):
        build_embedder("somebody/some-model", cache_dir=tmp_path)
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.slow
def test_a_folder_with_a_broken_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")

    with pytest.raises(Misconfigured, match="cannot be loaded"):
        build_embedder(str(tmp_path), cache_dir=tmp_path)


@pytest.mark.slow
def test_a_path_gives_the_model_in_it(tmp_path: Path, torch_embedder: SentenceTransformerEmbedder) -> None:
    by_path = build_embedder(str(minilm_dir()), cache_dir=tmp_path)

    assert by_path.fingerprint == torch_embedder.fingerprint
    texts = ["the same weights", "by another name"]
    assert np.allclose(by_path.embed(texts), torch_embedder.embed(texts), atol=1e-6)
