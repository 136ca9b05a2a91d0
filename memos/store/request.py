"""What a query asks of the store, and what every candidate must fulfil."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from memos.rules.filters import Filter
from memos.store.facets import NOT_NARROWED, Narrowed


@dataclass(frozen=True, slots=True)
class Depth:
    """How far to look: rows per channel, postings read per term, neighbours on each side of the best `rim` hits of each
    channel, and up to how many memories a branch is read whole."""

    per_channel: int
    postings: int
    neighbours: int
    rim: int
    whole: int


@dataclass(frozen=True, slots=True)
class Request:
    """A query as the store needs it. `embedding` is float32 of the embedder's width; `kinds` of None means all.

    `named` are the speakers that the query names, and `names` the terms that name them: they say who spoke, and must not
    fill the lexical channel with greetings. `role` is that whose words the query is after.
    Folded memories (see `folds`) are left out unless their kind is asked for: in `kinds`, or among `beside`, the kinds
    that a question of its class is answered with too. `only` asks for these versions, as far as they fulfil all the rest.
    `narrowed` is what lists tell of `filter`.
    """

    embedding: np.ndarray
    terms: Sequence[str]
    documents: Mapping[str, int]
    names: frozenset[str]
    depth: Depth
    as_of: datetime
    kinds: Sequence[str] | None = None
    beside: Collection[str] = ()
    filter: Filter | None = None
    only: Sequence[int] | None = None
    named: Collection[str] = ()
    role: str | None = None
    narrowed: Narrowed = NOT_NARROWED

    @property
    def counts_folded(self) -> bool:
        """Whether terms are weighed among folded memories as well."""
        return self.kinds is not None


@dataclass(frozen=True, slots=True)
class Corpus:
    """What term weights are relative to: memories searched, the mean number of terms in one, and holders of each term."""

    documents: int
    mean_length: float
    document_frequency: Mapping[str, int]


def condition_of(request: Request) -> tuple[str, dict[str, object]]:
    """What every candidate must fulfil, whatever channel found it: `{row}` stands for its row."""
    parts = [
        "({row}.valid_from IS NULL OR {row}.valid_from <= :as_of)",
        "({row}.valid_to IS NULL OR {row}.valid_to > :as_of)",
        "({row}.expires_at IS NULL OR {row}.expires_at > :as_of)",
    ]
    parameters: dict[str, object] = {"as_of": request.as_of}
    if request.kinds is not None:
        parts.append("{row}.kind = ANY(:kinds)")
        parameters["kinds"] = list(request.kinds)
    return " AND ".join(parts), parameters


def counts(terms: Sequence[str], parameters: dict[str, object]) -> str:
    """SQL for how often each term stands in a text, in order. Spelled out: a subquery per row costs five times as much."""
    parameters |= {f"t{i}": term for i, term in enumerate(terms)}
    each = (f"coalesce(h.counts[array_position(h.terms, CAST(:t{i} AS text))], 0)" for i in range(len(terms)))
    # Arrays of nothing cannot be gathered into an array: without terms there is one column too many.
    return f"CAST(ARRAY[{', '.join(each) or '0'}] AS smallint[])"
