"""The last few vectors, kept: agents ask the same thing again, on other cubes or with other filters."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from memos.encoders.embedder import Embedder
from memos.metering import meters


class CachedEmbedder:
    """An `Embedder` that answers texts it saw lately from memory, dropping the least recently used.

    Meant for queries; bulk writes go to the inner embedder, or they would flush what queries share. Texts are
    kept as hashes: an entry takes its vector and 150 bytes however long the text was. Two threads that miss
    the same text at the same time both compute it, which is cheaper than making every miss wait for the
    slowest.
    """

    def __init__(self, inner: Embedder, max_entries: int) -> None:
        if max_entries < 1:
            raise ValueError(f"a cache holds at least one entry, not {max_entries}")
        self._inner = inner
        self._max_entries = max_entries
        self._entries: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = Lock()

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def fingerprint(self) -> str:
        return self._inner.fingerprint

    @property
    def dimensions(self) -> int:
        return self._inner.dimensions

    @property
    def max_tokens(self) -> int:
        return self._inner.max_tokens

    def count_tokens(self, text: str) -> int:
        return self._inner.count_tokens(text)

    def token_starts(self, text: str) -> Sequence[int]:
        return self._inner.token_starts(text)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        keys = [_key(text) for text in texts]
        known = self._recalled(keys)
        hits = sum(key in known for key in keys)
        meters().caches.labels("vectors", "hit").inc(hits)
        meters().caches.labels("vectors", "miss").inc(len(keys) - hits)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            computed = dict(zip(missing, self._inner.embed(list(missing.values())), strict=True))
            self._remember(computed)
            known |= computed
        vectors = np.empty((len(keys), self.dimensions), dtype=np.float32)
        for row, key in zip(vectors, keys, strict=True):
            row[:] = known[key]
        return vectors

    def _recalled(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        with self._lock:
            known = {key: self._entries[key] for key in keys if key in self._entries}
            for key in known:
                self._entries.move_to_end(key)
            return known

    def _remember(self, vectors: dict[bytes, NDArray[np.float32]]) -> None:
        with self._lock:
            for key, vector in vectors.items():
                # A copy, since a row of the batch would keep the whole batch alive.
                self._entries[key] = vector.copy()
                self._entries.move_to_end(key)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
