"""What a codec does to a model's answers, measured, and the limit beyond which its objects are refused.

A window is a stretch of text: a context that is cached, and a continuation that is then fed token by token (teacher
forcing). The same engine predicts the continuation once from its own cache and once from the cache as the codec
gives it back; what differs between the two is the codec's doing and nothing else's.

    kl          mean KL divergence of the predictions, in nats per token
    top1        share of tokens whose most likely successor stays the same
    delta_nll   mean change in the negative log likelihood of the true next token, in nats
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos.encoders.causal_lm import Engine, HandleT
from memos.encoders.kv_codecs import (
    codec_named,
    decode_chunk,
    decode_prefix,
    encode_chunk,
    encode_prefix,
)
from memos.encoders.kv_container import ChunkLabel
from memos.encoders.kv_state import GroupKV, KVState, to_float32
from memos.errors import Invalid
from memos.rules.kv_address import chain, model_key
from memos.rules.kv_layout import KVDtype, KVSpec

_ROWS: Final = 32
"""Predictions compared at a time: 32 rows of a 50k vocabulary in float64 are 13 MB."""


@dataclass(frozen=True, slots=True)
class Window:
    context: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GateFigures:
    """Means over all predicted tokens of all windows; `max_dlogit` is the largest change of any single logit."""

    kl: float
    top1: float
    delta_nll: float
    max_dlogit: float
    windows: int
    tokens: int

    def as_json(self) -> dict[str, float | int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GateLimits:
    kl_max: float
    top1_min: float
    delta_nll_max: float | None = None


DEVIATION_MAX: Final[Mapping[str, float]] = {"raw": 1e-3, "bf16": 0.01, "int8": 0.05, "int4": 0.4}
"""How far a stored token may be from its recomputation, relative to its chunk. On equal arithmetic it is zero; on other
hardware the last bits differ and now and then tip a code or a scale. Another token's keys are 0.44 or more away."""

LIMITS: Final[Mapping[str, GateLimits]] = {
    "bf16": GateLimits(kl_max=1e-4, top1_min=0.99),
    "int8": GateLimits(kl_max=1e-4, top1_min=0.99),
    "int4": GateLimits(kl_max=0.01, top1_min=0.95, delta_nll_max=0.02),
}
"""Limits of the lossy codecs. A codec that is lossless for the model must not move any logit at all."""


def windows_of(token_ids: Sequence[int], *, n_context: int, n_predicted: int = 191, count: int = 8) -> list[Window]:
    """`count` windows spread evenly over a text, as far apart as it allows (they overlap in a short one)."""
    length = n_context + n_predicted + 1
    if len(token_ids) < length or count < 1:
        raise Invalid(f"{count} windows of {length} tokens do not fit into {len(token_ids)} tokens")
    room = len(token_ids) - length
    starts = [room * i // max(1, count - 1) for i in range(count)]
    return [Window(tuple(token_ids[s : s + n_context]), tuple(token_ids[s + n_context : s + length])) for s in starts]


def measure(engine: Engine[HandleT], codecs: Sequence[str], windows: Sequence[Window]) -> dict[str, GateFigures]:
    """Figures per codec. The context of each window is prefilled once for all of them."""
    sums = {codec: _Sums() for codec in codecs}
    for window in windows:
        state = engine.build(window.context)
        reference = _predictions(engine, state, window)
        for codec in codecs:
            restored = round_trip(engine, state, window.context, codec)
            sums[codec].add(reference, _predictions(engine, restored, window), window)
    return {codec: sums[codec].figures() for codec in codecs}


def compare(engine: Engine[HandleT], exact: KVState, other: KVState, window: Window) -> GateFigures:
    """Figures of any other cache of the window's context beside the exact one."""
    sums = _Sums()
    sums.add(_predictions(engine, exact, window), _predictions(engine, other, window), window)
    return sums.figures()


def round_trip(engine: Engine[HandleT], state: KVState, token_ids: Sequence[int], codec: str) -> KVState:
    """The cache as it comes back from storage, unencrypted."""
    spec, model = engine.identity.spec, model_key(engine.identity)
    chunks = chain(bytes(32), token_ids)
    return decode_prefix(encode_prefix(state, chunks, spec, model=model, codec=codec), spec, state.end)


def refusals(figures: GateFigures, codec: str, dtype: KVDtype) -> list[str]:
    """Why objects of this codec must not be served for this model; empty when they may."""
    if codec_named(codec).is_lossless(dtype):
        moved = figures.max_dlogit != 0
        return [f"{codec} is to be exact but moved a logit by {figures.max_dlogit:.3g}"] if moved else []
    limits = LIMITS[codec]
    reasons = []
    # Written so that a figure that is not a number fails.
    if not figures.kl <= limits.kl_max:
        reasons.append(f"KL {figures.kl:.3g} is above {limits.kl_max:g}")
    if not figures.top1 >= limits.top1_min:
        reasons.append(f"top-1 agreement {figures.top1:.4f} is below {limits.top1_min:g}")
    if limits.delta_nll_max is not None and not abs(figures.delta_nll) <= limits.delta_nll_max:
        reasons.append(f"delta NLL {figures.delta_nll:.3g} is beyond {limits.delta_nll_max:g}")
    return reasons


def deviation(stored: GroupKV, exact: GroupKV, dtype: KVDtype) -> float:
    """Largest distance of a token's keys or values, in any layer and head, relative to that head's mean size."""
    worst = 0.0
    for a, b in ((stored.k, exact.k), (stored.v, exact.v)):
        values, true = to_float32(a, dtype), to_float32(b, dtype)
        size = np.sqrt(np.mean(true**2, axis=(2, 3)))[:, :, None]
        distance = np.sqrt(np.mean((values - true) ** 2, axis=3))
        worst = max(worst, float(np.max(distance / np.maximum(size, np.float32(1e-30)))))
    return worst


def agrees_with_recomputation(stored: GroupKV, recomputed: GroupKV, spec: KVSpec, label: ChunkLabel) -> bool:
    """Whether a stored chunk is what an honest engine would have stored: the check for samples and for uploads.

    The recomputed arrays take the same way through the codec first, so its error is on both sides.
    """
    data = encode_chunk(recomputed, spec, label)
    again = decode_chunk(data, spec, label, sha256=hashlib.sha256(data).digest())
    # Written so that a deviation that is not a number disagrees.
    return deviation(stored, again, spec.dtype) <= DEVIATION_MAX[label.codec]


def greedy_divergence(engine: Engine[HandleT], window: Window, codec: str, *, max_new_tokens: int) -> int | None:
    """Greedily decoded tokens until the codec's answer leaves the exact one; None if it never does.

    Small errors add up over a long answer, which single-token figures do not show.
    """
    state = engine.build(window.context)
    exact = engine.generate(engine.restore(state), window.continuation, max_new_tokens)
    restored = round_trip(engine, state, window.context, codec)
    lossy = engine.generate(engine.restore(restored), window.continuation, max_new_tokens)
    for at, (a, b) in enumerate(zip(exact, lossy, strict=False)):
        if a != b:
            return at
    return None if len(exact) == len(lossy) else min(len(exact), len(lossy))


@dataclass(slots=True)
class _Sums:
    kl: float = 0.0
    same: int = 0
    delta_nll: float = 0.0
    max_dlogit: float = 0.0
    tokens: int = 0

    windows: int = 0

    def add(self, exact: NDArray[np.float32], other: NDArray[np.float32], window: Window) -> None:
        targets = np.array(window.continuation[1:])
        for rows in _row_blocks(len(targets)):
            a, b = _log_softmax(exact[rows]), _log_softmax(other[rows])
            self.kl += float(np.sum(np.exp(a) * (a - b)))
            self.same += int(np.sum(a.argmax(axis=1) == b.argmax(axis=1)))
            each = np.arange(len(a)), targets[rows]
            self.delta_nll += float(np.sum(a[each] - b[each]))
            self.max_dlogit = max(self.max_dlogit, float(np.abs(exact[rows] - other[rows]).max()))
        self.tokens += len(targets)
        self.windows += 1

    def figures(self) -> GateFigures:
        n = self.tokens
        return GateFigures(self.kl / n, self.same / n, self.delta_nll / n, self.max_dlogit, self.windows, n)


def _predictions(engine: Engine[HandleT], state: KVState, window: Window) -> NDArray[np.float32]:
    """Logits after each token of the continuation but the last, whose successor is not known."""
    if len(window.continuation) < 2:
        raise Invalid("a window predicts at least one token from another")
    return engine.logits(engine.restore(state), window.continuation[:-1])


def _row_blocks(n_rows: int) -> Iterator[slice]:
    for start in range(0, n_rows, _ROWS):
        yield slice(start, min(start + _ROWS, n_rows))


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
