"""A model with narrower vectors in a column made for wider ones: zeros are appended, which changes no cosine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memos.encoders.embedder import Embedder
from memos.errors import Misconfigured


class PaddedEmbedder:
    """An `Embedder` of `width` dimensions over a narrower one. The space is the inner one's, and so is the fingerprint."""

    def __init__(self, inner: Embedder, width: int) -> None:
        if inner.dimensions > width:
            raise Misconfigured(
                f"{inner.name} makes vectors of {inner.dimensions} dimensions, and this database holds {width}: make "
                "room first, with MEMOS_VECTOR_WIDTH and 'memos widen' (docs/portability.md)"
            )
        self._inner = inner
        self._width = width

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def fingerprint(self) -> str:
        return self._inner.fingerprint

    @property
    def dimensions(self) -> int:
        return self._width

    @property
    def max_tokens(self) -> int:
        return self._inner.max_tokens

    def count_tokens(self, text: str) -> int:
        return self._inner.count_tokens(text)

    def token_starts(self, text: str) -> Sequence[int]:
        return self._inner.token_starts(text)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        narrow = self._inner.embed(texts)
        return np.pad(narrow, ((0, 0), (0, self._width - narrow.shape[1])))
