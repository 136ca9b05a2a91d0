"""The embedding port: texts in, unit vectors out, and a name for the space those vectors live in.

Vectors of two encoders must never be compared, so an embedder carries a `fingerprint`: a hash of its weights
and of everything else that shapes a vector (pooling, truncation, quantisation). Rows keep it beside the
vector, and a service started with another embedder notices.

Two promises make stored vectors reproducible, and the contract tests hold every implementation to them: the
same text gives the same vector whatever else is in the batch, and a text longer than `max_tokens` gives the
vector of its first `max_tokens` tokens. Nothing is said about the tail: who has long texts cuts them into
passages first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memos.errors import Misconfigured

DEFAULT_EMBEDDER = "minilm-int8"


class Embedder(Protocol):
    """Thread-safe: the API calls one instance from many threads at once.

    Build it after a fork, never before: inference sessions and thread pools do not survive one.
    """

    @property
    def name(self) -> str:
        """What an operator would write in `MEMOS_EMBEDDER` to get this one."""

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits; equal exactly when vectors may be compared."""

    @property
    def dimensions(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """How many tokens of a text, as `count_tokens` counts them, shape its vector."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return an array [n, dimensions] whose rows have length 1, in the order of `texts`.

        Takes any string: empty, in any script, with NUL bytes or lone surrogates.
        """

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of the whole text, without the marks a model adds around it."""

    def token_starts(self, text: str) -> Sequence[int]:
        """Return the place of each of those tokens' first character, ascending: one pass tells the tokens of every part."""


def build_embedder(name: str, *, cache_dir: Path, threads: int = 1) -> Embedder:
    """Return the embedder an operator named.

    `minilm-int8` is all-MiniLM-L6-v2 quantised, without torch; `minilm` the same weights in fp32 by
    sentence-transformers; `fake` or `fake:64` hashed words, for tests; anything with a slash is a folder in
    the sentence-transformers layout or, failing that, the name of a model in the local Hugging Face cache.
    `cache_dir` receives built models. `threads` is how many cores one call may use.

    Raises:
        Misconfigured: nothing goes by that name, or the model is missing, damaged or cannot be built.
    """
    kind, _, argument = name.partition(":")
    if name == "minilm-int8":
        from memos.encoders.onnx_embedder import OnnxEmbedder

        return OnnxEmbedder(cache_dir, threads=threads)
    if kind == "fake" and (not argument or argument.isdecimal()):
        from memos.encoders.fake_embedder import FakeEmbedder

        return FakeEmbedder(int(argument)) if argument else FakeEmbedder()
    if name == "minilm" or "/" in name or (name and Path(name).is_dir()):
        from memos.encoders.sentence_transformer_embedder import SentenceTransformerEmbedder

        return SentenceTransformerEmbedder(name, threads=threads)
    raise Misconfigured(
        f"no embedder is called {name!r}: set MEMOS_EMBEDDER to 'minilm-int8' (the default), 'minilm', "
        "'fake', 'fake:<dimensions>', or the path of a folder with a sentence-transformers model"
    )
