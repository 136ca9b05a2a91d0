"""all-MiniLM-L6-v2 in int8 on ONNX Runtime: the default embedder, without torch in the process.

One text per run (see minilm_graph for why), so a vector depends on its text and nothing else, bit for bit.
Cores are used by running several texts at once, each on one thread: the matrices of a single short text are
too small to share between threads without losing more than is won.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

import memos
from memos.encoders.built_file import built_file
from memos.encoders.minilm_weights import TOKENIZER_SHA256, WEIGHTS_SHA256, minilm_dir, verified_file
from memos.encoders.texts import well_formed
from memos.errors import Misconfigured

RECIPE = "minilm-int8 1: weights 7 bits per output channel, activations 8 bits per text, mean over 256 tokens"
"""Part of the fingerprint: change it whenever minilm_graph or the tokenising below gives other vectors."""

Encoded = TypeVar("Encoded")

_CLS, _SEP = 101, 102
_MAX_TOKENS = 254  # 256 positions were trained, two of them for the marks around a text
_FIRST_CHARACTERS = 4096  # holds 254 tokens of any ordinary text; see `_leading_tokens`
_LONGEST_WORD_TOKENS = 100  # WordPiece gives a longer word one unknown token
_PIECE_CHARACTERS = 16_384
_BUILD_TIMEOUT_S = 300.0  # it takes a second; beyond this the machine is in trouble


class OnnxEmbedder:
    """An `Embedder` of 384 dimensions. The first one on a machine builds its graph into `cache_dir`: a
    second, 23 MB.

    Raises:
        Misconfigured: the model's package is missing or altered, or the graph cannot be built.
    """

    name = "minilm-int8"
    dimensions = 384
    max_tokens = _MAX_TOKENS
    fingerprint = hashlib.sha256(f"{RECIPE}\n{WEIGHTS_SHA256}\n{TOKENIZER_SHA256}".encode()).hexdigest()

    def __init__(self, cache_dir: Path, *, threads: int = 1, model_dir: Path | None = None) -> None:
        model_dir = model_dir or minilm_dir()
        # Tokenising is a fortieth of the work: not worth threads of its own, which a later fork would break.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._tokenizer = _load_tokenizer(model_dir)
        graph = built_file(
            cache_dir / f"{self.name}-{self.fingerprint[:12]}.onnx",
            lambda out: _build_apart(model_dir / "model.safetensors", out),
        )
        self._session = _load_session(graph)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="embedder") if threads > 1 else None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dimensions), dtype=np.float32)
        return np.concatenate(self._each(self._vector, self._leading_tokens(texts)))

    def count_tokens(self, text: str) -> int:
        return sum(len(self._tokens([piece])[0]) for piece in _pieces(text))

    def token_starts(self, text: str) -> list[int]:
        starts: list[int] = []
        begin = 0
        for piece in _pieces(text):
            [encoding] = self._tokenizer.encode_batch([well_formed(piece)], add_special_tokens=False)
            starts += [begin + start for start, _ in encoding.offsets]
            begin += len(piece)
        return starts

    def _vector(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._session.run(["vector"], _feed(tokens))[0]
        return vector

    def _each(self, encode: Callable[[Sequence[int]], Encoded], texts: list[list[int]]) -> list[Encoded]:
        if self._executor is None or len(texts) == 1:
            return [encode(tokens) for tokens in texts]
        return list(self._executor.map(encode, texts))

    def _leading_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the first `max_tokens` tokens of each text, without reading a megabyte to get them.

        Cutting characters can change only the last word: tokens further than a word from the cut are right.
        """
        needed = _MAX_TOKENS + _LONGEST_WORD_TOKENS
        tokens = self._tokens([text[:_FIRST_CHARACTERS] for text in texts])
        for index, text in enumerate(texts):
            if len(text) > _FIRST_CHARACTERS and len(tokens[index]) < needed:
                tokens[index] = self._tokens([text])[0]
        return [each[:_MAX_TOKENS] for each in tokens]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        # The batch call, also for one text: it alone lets other Python threads run meanwhile.
        accepted = [well_formed(text) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(accepted, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


def _pieces(text: str) -> Iterator[str]:
    """Cut a long text where that changes no token: whole, it would take the tokenizer 100 bytes a character.

    A word longer than a piece is cut too, and then counts as several.
    """
    start = 0
    while len(text) - start > _PIECE_CHARACTERS:
        space = max(text.rfind(mark, start + 1, start + _PIECE_CHARACTERS) for mark in " \n")
        end = space if space > 0 else start + _PIECE_CHARACTERS
        yield text[start:end]
        start = end
    yield text[start:]


def _feed(tokens: Sequence[int]) -> dict[str, NDArray[np.int64]]:
    return {"input_ids": np.array([[_CLS, *tokens, _SEP]], dtype=np.int64)}


def _load_tokenizer(model_dir: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(verified_file(model_dir / "tokenizer.json", TOKENIZER_SHA256)))
    # As published it pads and cuts at 128 tokens, and takes "[MASK]" in a text for the mark, not for a word.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _load_session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # The graph is fused by hand already, and fusing it further was measured to win nothing.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _build_apart(weights: Path, out: Path) -> None:
    """Build the graph in another process, so that this one never holds the weights in full precision."""
    verified_file(weights, WEIGHTS_SHA256)
    root = str(Path(memos.__file__).resolve().parent.parent)
    search_path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "memos.encoders.minilm_graph", str(weights), str(out)]
    try:
        subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": search_path},
            check=True,
            capture_output=True,
            text=True,
            timeout=_BUILD_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
        raise Misconfigured(f"the embedding model cannot be built: {reason[-1]}") from error
    except subprocess.TimeoutExpired as error:
        raise Misconfigured(f"building the embedding model took over {_BUILD_TIMEOUT_S:.0f} s") from error
