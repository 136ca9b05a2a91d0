"""Any sentence-transformers model on this machine, in fp32 by torch: the way to another model than the
default.

Slower and larger than the default by the measure of torch (6 s to import, 600 MB), so it is imported only
when an operator names such a model. Nothing is ever downloaded: a model is a folder, or lies in the Hugging
Face cache.

Queries and stored texts are embedded alike, which fits symmetric models such as the all-* and paraphrase-*
families; models trained with an instruction before the query work less well than they could.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memos.encoders.minilm_weights import WEIGHTS_SHA256, minilm_dir, verified_file
from memos.encoders.texts import well_formed
from memos.errors import Misconfigured

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_RECIPE = "sentence-transformers 1: fp32"
_BATCH_TEXTS = 32
_SHAPING_SUFFIXES = frozenset({".json", ".txt", ".model", ".safetensors", ".bin"})


class SentenceTransformerEmbedder:
    """An `Embedder` around one model. `threads` sets torch's number for the whole process: torch has but one.

    Raises:
        Misconfigured: there is no such model on this machine, or it cannot be loaded.
    """

    def __init__(self, name: str, *, threads: int = 1) -> None:
        folder = _model_dir(name)
        self.name = name
        self._model = _load(folder, threads)
        # Torch shares cores badly between calls, and tokenizers refuse to be used by two threads at once.
        self._lock = Lock()
        tokenizer_limit = int(self._model.tokenizer.model_max_length)
        positions = min(self._model.max_seq_length or tokenizer_limit, tokenizer_limit)
        self._model.max_seq_length = positions
        self.max_tokens = positions - int(self._model.tokenizer.num_special_tokens_to_add())
        self.dimensions = int(self._model.get_embedding_dimension() or 0)
        self.fingerprint = _fingerprint(folder, positions)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dimensions), dtype=np.float32)
        with self._lock:
            vectors = self._model.encode(
                [well_formed(text) for text in texts],
                batch_size=_BATCH_TEXTS,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return np.asarray(vectors, dtype=np.float32)

    def count_tokens(self, text: str) -> int:
        with self._lock:
            encoded = self._model.tokenizer(
                well_formed(text), add_special_tokens=False, truncation=False, verbose=False
            )
        return len(encoded["input_ids"])

    def token_starts(self, text: str) -> list[int]:
        with self._lock:
            encoded = self._model.tokenizer(
                well_formed(text),
                add_special_tokens=False,
                truncation=False,
                verbose=False,
                return_offsets_mapping=True,
            )
        return [start for start, _ in encoded["offset_mapping"]]


def _model_dir(name: str) -> Path:
    if name == "minilm":
        folder = minilm_dir()
        verified_file(folder / "model.safetensors", WEIGHTS_SHA256)
        return folder
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.exists() or folder.is_absolute():
        raise Misconfigured(f"{name} holds no sentence-transformers model: it has no config.json")
    _stay_offline()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"no embedder {name!r} on this machine: it is neither a folder nor in the Hugging Face cache, "
            "and nothing is downloaded"
        ) from error


def _load(folder: Path, threads: int) -> SentenceTransformer:
    _stay_offline()
    try:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise Misconfigured(f"this embedder needs torch and sentence-transformers: {error}") from error
    torch.set_num_threads(threads)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise Misconfigured(f"the model in {folder} cannot be loaded: {error}") from error
    return model.float().eval()


def _stay_offline() -> None:
    """Tell the hub's client, which reads this when imported, never to reach for the network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _fingerprint(folder: Path, positions: int) -> str:
    """Hash every file that may shape a vector, with its place in the folder."""
    total = hashlib.sha256(f"{_RECIPE}\n{positions}\n".encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _SHAPING_SUFFIXES:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{path.relative_to(folder).as_posix()} {digest}\n".encode())
    return total.hexdigest()
