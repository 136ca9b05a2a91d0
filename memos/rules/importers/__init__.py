"""Importers: what other memory systems write down, as items of ours.

Pure mappings, one module a system: a document in, `Foreign` out, in order. An item carries the names of our import format and
is checked like any other; what has no place here is said to be skipped, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from memos.errors import Invalid
from memos.rules.importers import langgraph, letta, mem0
from memos.rules.importers.foreign import Foreign, documents

READERS: Final[Mapping[str, Callable[[list[Any]], Iterator[Foreign]]]] = {
    "mem0": mem0.read,
    "letta": letta.read,
    "langgraph": langgraph.read,
}
"""Each takes the JSON values of a file (one, or one a line)."""


def read(system: str, body: bytes) -> Iterator[Foreign]:
    """Items of a file that `system` wrote. Raises `Invalid` for a system nobody knows, and for what is no JSON."""
    reader = READERS.get(system)
    if reader is None:
        raise Invalid(
            f"nothing is known of the format {system!r}; known: {', '.join(sorted(READERS))}", where=["format"]
        )
    return reader(documents(body))
