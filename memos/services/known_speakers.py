"""Speakers met in earlier queries, so that a query is usually embedded once, before the database is asked anything.

A query is embedded without the names of people who speak in the cube. Which words are such names, the database knows; but no
model should run inside a transaction. So names are guessed from what earlier queries learned; the search then checks the guess
in its snapshot and embeds again in the rare case that it was wrong. The answer never depends on this memo, only its cost does.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from uuid import UUID

from memos.rules.speakers import named_speakers

Scope = tuple[UUID, tuple[str, ...], str]
MOST_SCOPES = 10_000
MOST_NAMES = 200


class KnownSpeakers:
    """Thread-safe, bounded, and free to forget."""

    def __init__(self) -> None:
        self._names: OrderedDict[Scope, frozenset[str]] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, scope: Scope, query: str) -> frozenset[str]:
        """Names in the query that were speakers when last looked up."""
        return named_speakers(query, self._names.get(scope, frozenset()))

    def learn(self, scope: Scope, query: str, named: Iterable[str]) -> None:
        """What the database said about this query's names."""
        with self._lock:
            before = self._names.pop(scope, frozenset())
            names = (before - named_speakers(query, before)) | frozenset(named)
            self._names[scope] = frozenset(sorted(names)[:MOST_NAMES])
            if len(self._names) > MOST_SCOPES:
                self._names.popitem(last=False)
