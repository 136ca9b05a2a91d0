"""Which codecs may be used for a model: what each does to its answers, measured on the tenant's own text.

Measured once per model and codec, kept with the model, copied to every object; beyond the limits a codec is refused and
the next one tried. A lossless codec is always admitted in the end, so there is always one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from memos.encoders.kv_codecs import codec_named
from memos.encoders.kv_engines import AnyEngine
from memos.encoders.kv_gate import measure, refusals, windows_of
from memos.rules.kv_layout import CHUNK_TOKENS, KVDtype

WINDOWS: Final = 8
PREDICTED: Final = 191
_LEAST: Final = 64
"""Tokens below which nothing can be measured, and only what is exact is admitted."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Figures of one codec, and why it is refused; empty when it is not."""

    figures: dict[str, Any]
    refused: list[str]

    def as_json(self) -> dict[str, Any]:
        return {**self.figures, "refused": self.refused}


def measured(engine: AnyEngine, token_ids: Sequence[int], codecs: Sequence[str]) -> dict[str, Gate]:
    """Gates by codec, over windows spread through the text; none when it is too short to tell."""
    n = len(token_ids)
    if n < _LEAST or not codecs:
        return {}
    n_context = min(CHUNK_TOKENS, n // 2)
    n_predicted = min(PREDICTED, n - n_context - 1)
    # Windows that overlap entirely would only repeat each other.
    count = min(WINDOWS, max(1, 1 + (n - n_context - n_predicted - 1) // 16))
    windows = windows_of(token_ids, n_context=n_context, n_predicted=n_predicted, count=count)
    dtype = engine.identity.spec.dtype
    return {
        codec: Gate(dict(figures.as_json()), refusals(figures, codec, dtype))
        for codec, figures in measure(engine, codecs, windows).items()
    }


def admitted(known: Mapping[str, Any], codecs: Sequence[str], dtype: KVDtype) -> list[str]:
    """Those of the wished codecs that may be used, in the same order; `raw` when none of them may."""
    fine = [
        codec
        for codec in codecs
        if (codec in known and not known[codec]["refused"])
        or (codec not in known and codec_named(codec).is_lossless(dtype))
    ]
    return fine or ["raw"]


def figures(known: Mapping[str, Any], codec: str) -> dict[str, Any] | None:
    """What is stored with an object of that codec."""
    gate = known.get(codec)
    return None if gate is None else {name: value for name, value in gate.items() if name != "refused"}
