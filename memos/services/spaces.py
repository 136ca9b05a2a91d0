"""Spaces: which model embeds for which cube, while some have moved to another one and some have not.

Most cubes are in the space of the configured model, and then nothing here costs anything. A cube that was moved says so in its
view, in the snapshot of the search itself, so an answer never compares vectors of two models; which models a query will need is
guessed from the query before, because no model should run inside a transaction (compare `known_speakers`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from uuid import UUID

import numpy as np

from memos.encoders.embedder import Embedder
from memos.encoders.padded_embedder import PaddedEmbedder
from memos.errors import Misconfigured
from memos.store import spaces
from memos.store.engine import Database

Scope = tuple[UUID, tuple[str, ...], str]
SpaceRef = tuple[str, str] | None
"""(fingerprint, model) of a space; None for the configured model's."""
Vectors = dict[SpaceRef, np.ndarray]
MOST_SCOPES = 10_000


class Spaces:
    """Thread-safe. Models other than the configured one are loaded when a cube first needs them, and stay."""

    def __init__(self, database: Database, home: Embedder, build: Callable[[str], Embedder]) -> None:
        self.home = home
        self._database = database
        self._build = build
        self._loaded: dict[str, Embedder] = {}
        self._expected: OrderedDict[Scope, frozenset[SpaceRef]] = OrderedDict()
        self._lock = threading.Lock()

    def model(self, name: str) -> Embedder:
        """The embedder of that name, as wide as this database's vectors. Raises `Misconfigured` when it cannot be."""
        if name == self.home.name:
            return self.home
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = PaddedEmbedder(self._build(name), self.home.dimensions)
            return self._loaded[name]

    def of(self, tenant_id: UUID, reference: str) -> Embedder:
        """The embedder of a cube, by id or name, as of now; the configured one for a cube that is not there."""
        with self._database.transaction(tenant_id, read_only=True) as tx:
            found = spaces.model_for(tx, reference)
        return self._embedder(found)

    def query(self, text: str, wanted: Iterable[SpaceRef]) -> Vectors:
        """The text in each of these spaces."""
        return {space: self._embedder(space).embed([text])[0] for space in wanted}

    def expected(self, scope: Scope) -> frozenset[SpaceRef]:
        """What the last query of this scope needed. A guess: whoever searches checks it in the snapshot."""
        return self._expected.get(scope, _HOME)

    def learn(self, scope: Scope, needed: Iterable[SpaceRef]) -> None:
        found = frozenset(needed)
        with self._lock:
            self._expected.pop(scope, None)
            if found != _HOME:
                self._expected[scope] = found
                if len(self._expected) > MOST_SCOPES:
                    self._expected.popitem(last=False)

    def _embedder(self, space: SpaceRef) -> Embedder:
        if space is None or space[0] == self.home.fingerprint:
            return self.home
        fingerprint, name = space
        embedder = self.model(name)
        if embedder.fingerprint != fingerprint:
            raise Misconfigured(
                f"the model {name!r} is not the one it was when a cube's vectors were made: restore it, or embed the cube anew "
                "with 'memos reembed'"
            )
        return embedder


_HOME: frozenset[SpaceRef] = frozenset({None})
