"""An embedder without a model: signed hashes of words, added up.

Each word owns a few coordinates, chosen with their signs by its hash (the hashing trick, Weinberger et al.
2009), so texts that share words get similar vectors and others nearly orthogonal ones. Microseconds a text,
any number of dimensions, the same on every machine: enough for every test that is not about quality.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memos.encoders.texts import plain_words, word_starts
from memos.errors import Misconfigured

_COORDINATES_PER_WORD = 8
_LARGEST = 16_000  # pgvector's limit for a vector that is stored without an index


class FakeEmbedder:
    """An `Embedder` whose tokens are words. By default it has the real one's dimensions, to fit the same column."""

    max_tokens = 254

    def __init__(self, dimensions: int = 384) -> None:
        if not 1 <= dimensions <= _LARGEST:
            raise Misconfigured(f"a fake embedder has 1 to {_LARGEST} dimensions, not {dimensions}")
        self.dimensions = dimensions
        self.name = f"fake:{dimensions}"
        self.fingerprint = hashlib.sha256(f"hashed words 1: {dimensions}".encode()).hexdigest()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in self._words(text):
                self._add(word, row)
        return _unit_rows(vectors)

    def count_tokens(self, text: str) -> int:
        return len(plain_words(text))

    def token_starts(self, text: str) -> list[int]:
        return word_starts(text)

    def _words(self, text: str) -> list[str]:
        return plain_words(text)[: self.max_tokens]

    def _add(self, word: str, row: NDArray[np.float32]) -> None:
        digest = hashlib.blake2b(word.encode(), digest_size=4 * _COORDINATES_PER_WORD).digest()
        hashes = np.frombuffer(digest, dtype="<u4")
        signs = np.where(hashes >> 31, -1.0, 1.0)
        np.add.at(row, hashes % self.dimensions, signs)


def _unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1 in place; one without words, or whose words cancel, becomes the first axis."""
    lengths = np.linalg.norm(vectors, axis=1)
    vectors[lengths == 0, 0] = 1.0
    lengths[lengths == 0] = 1.0
    vectors /= lengths[:, None]
    return vectors
