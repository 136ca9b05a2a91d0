"""A transformer of a few hundred numbers, in numpy: the engine that tests and demonstrations use.

It is a real one in every way that matters to the KV tier: causal attention with rotary positions, grouped heads, one
sliding-window layer among full ones. It works token by token, so its bits cannot depend on how a prompt was cut. Its
weights come from a seed and it has learned nothing. A token is a UTF-8 byte; two more mark a turn's start and end.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from memos.encoders.causal_lm import Tokenized, checked_tokens
from memos.encoders.kv_state import GroupKV, KVState, checked
from memos.rules.kv_address import ModelIdentity
from memos.rules.kv_layout import Group, KVDtype, KVSpec

_VOCABULARY = 258
_MARKS = {"<|start|>": 256, "<|end|>": 257}
_HEADS, _KV_HEADS, _HEAD_DIM = 4, 2, 16
_WIDTH = _HEADS * _HEAD_DIM
_ROTARY_BASE = 10_000.0

Vector = NDArray[np.float32]


@dataclass(slots=True, eq=False)
class FakeHandle:
    """Per group, room for the keys and values of every token: arrays [layers, KV heads, tokens, head size]. Zero where
    nothing was written: what was trimmed away stays so, and no window reaches it."""

    keys: dict[Group, Vector]
    values: dict[Group, Vector]
    n_tokens: int


@dataclass(slots=True, eq=False)
class _Layer:
    query: Vector
    key: Vector
    value: Vector
    output: Vector
    window: int | None
    group: Group
    row: int


@dataclass(slots=True, eq=False)
class FakeEngine:
    """`windows` gives each layer's sliding window, None for full attention."""

    seed: int = 0
    windows: tuple[int | None, ...] = (None, 64, None)
    max_tokens: int = 4096
    adapter: str | None = None
    identity: ModelIdentity = field(init=False)
    _layers: list[_Layer] = field(init=False)
    _embedding: Vector = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)

        def weights(rows: int, columns: int) -> Vector:
            return rng.normal(0, 1 / math.sqrt(rows), (rows, columns)).astype(np.float32)

        self._embedding = weights(_WIDTH, _VOCABULARY).T.copy() * np.float32(math.sqrt(_WIDTH))
        self._layers = [
            _Layer(
                query=weights(_WIDTH, _WIDTH),
                key=weights(_WIDTH, _KV_HEADS * _HEAD_DIM),
                value=weights(_WIDTH, _KV_HEADS * _HEAD_DIM),
                output=weights(_WIDTH, _WIDTH),
                window=window,
                group=Group.FULL if window is None else Group.SLIDING,
                row=sum((before is None) == (window is None) for before in self.windows[:index]),
            )
            for index, window in enumerate(self.windows)
        ]
        spec = KVSpec.of_layers(self.windows, kv_heads=_KV_HEADS, head_dim=_HEAD_DIM, dtype=KVDtype.F32)
        self.identity = ModelIdentity(
            weights_sha256=_digest(f"weights {self.seed}"),
            spec=spec,
            positions=f'{{"rope_theta":{_ROTARY_BASE}}}',
            tokenizer_sha256=_digest("bytes and two marks"),
            template_sha256=_digest("no template"),
            engine="fake-1",
            numerics="numpy float32 token by token",
            adapter_sha256=_digest(self.adapter) if self.adapter else None,
        )

    def tokenize(self, text: str, *, special: bool = False) -> Tokenized:
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        at = 0
        while at < len(text):
            mark = next((m for m in _MARKS if special and text.startswith(m, at)), None)
            piece = mark or text[at]
            codes = [_MARKS[mark]] if mark else list(piece.encode("utf-8", errors="replace"))
            ids += codes
            offsets += [(at, at + len(piece))] * len(codes)
            at += len(piece)
        return Tokenized(tuple(ids), tuple(offsets))

    def detokenize(self, ids: Sequence[int]) -> str:
        names = {code: mark.encode() for mark, code in _MARKS.items()}
        return b"".join(names.get(i) or bytes([i]) for i in ids).decode(errors="replace")

    def build(self, token_ids: Sequence[int], past: KVState | None = None) -> KVState:
        handle = self.restore(past)
        start = handle.n_tokens
        for token in self._checked(token_ids, handle):
            self._step(handle, token)
        return self._state(handle, start)

    def restore(self, state: KVState | None) -> FakeHandle:
        if state is None:
            return self._handle(0)
        checked(state, self.identity.spec)
        handle, own = self.blank(state.end, {group: kv.start for group, kv in state.groups.items()})
        for group, kv in state.groups.items():
            own.groups[group].k[...], own.groups[group].v[...] = kv.k, kv.v
        return handle

    def blank(self, n_tokens: int, starts: Mapping[Group, int]) -> tuple[FakeHandle, KVState]:
        handle = self._handle(n_tokens)
        groups = {
            group: GroupKV(handle.keys[group], handle.values[group]).tokens(starts[group], n_tokens)
            for group, _ in self.identity.spec.groups()
        }
        return handle, checked(KVState(groups), self.identity.spec)

    def logits(self, handle: FakeHandle, token_ids: Sequence[int]) -> NDArray[np.float32]:
        return np.stack([self._step(handle, token) for token in self._checked(token_ids, handle)])

    def generate(self, handle: FakeHandle, suffix: Sequence[int], max_new_tokens: int) -> tuple[int, ...]:
        scores = self.logits(handle, suffix)[-1]
        out: list[int] = []
        while len(out) < max_new_tokens:
            token = int(np.argmax(scores))
            if token == _MARKS["<|end|>"]:
                break
            out.append(token)
            if len(out) == max_new_tokens or handle.n_tokens == self.max_tokens:
                break
            scores = self._step(handle, token)
        return tuple(out)

    def with_adapter(self, name: str) -> FakeEngine:
        """The same model with something merged into it, as far as its identity goes."""
        return replace(self, adapter=name)

    def _checked(self, token_ids: Sequence[int], handle: FakeHandle) -> list[int]:
        return checked_tokens(token_ids, after=handle.n_tokens, max_tokens=self.max_tokens, vocabulary=_VOCABULARY)

    def _step(self, handle: FakeHandle, token: int) -> Vector:
        """Feed one token; return its logits."""
        at = handle.n_tokens
        stream = self._embedding[token]
        for layer in self._layers:
            normal = stream / np.sqrt(np.mean(stream * stream) + np.float32(1e-6))
            query = _rotated((normal @ layer.query).reshape(_HEADS, _HEAD_DIM), at)
            query = query.reshape(_KV_HEADS, _HEADS // _KV_HEADS, 1, _HEAD_DIM)
            all_keys, all_values = handle.keys[layer.group][layer.row], handle.values[layer.group][layer.row]
            all_keys[:, at] = _rotated((normal @ layer.key).reshape(_KV_HEADS, _HEAD_DIM), at)
            all_values[:, at] = (normal @ layer.value).reshape(_KV_HEADS, _HEAD_DIM)
            first = 0 if layer.window is None else max(0, at + 1 - layer.window)
            keys, values = all_keys[:, None, first : at + 1], all_values[:, None, first : at + 1]
            scores = np.sum(keys * query, axis=3) / np.float32(math.sqrt(_HEAD_DIM))
            weights = np.exp(scores - scores.max(axis=2, keepdims=True))
            weights /= weights.sum(axis=2, keepdims=True)
            mixed = np.sum(weights[..., None] * values, axis=2).reshape(_WIDTH)
            stream = stream + np.tanh(mixed @ layer.output)
        handle.n_tokens += 1
        logits: Vector = self._embedding @ stream / np.float32(_HEAD_DIM)
        return logits

    def _state(self, handle: FakeHandle, start: int) -> KVState:
        part = slice(start, handle.n_tokens)
        return KVState(
            {
                group: GroupKV(handle.keys[group][:, :, part].copy(), handle.values[group][:, :, part].copy(), start)
                for group, _ in self.identity.spec.groups()
            }
        )

    def _handle(self, n_tokens: int) -> FakeHandle:
        shapes = {
            group: (len(shape.layers), shape.kv_heads, self.max_tokens, shape.head_dim)
            for group, shape in self.identity.spec.groups()
        }
        return FakeHandle(
            {group: np.zeros(shape, np.float32) for group, shape in shapes.items()},
            {group: np.zeros(shape, np.float32) for group, shape in shapes.items()},
            n_tokens,
        )


def _rotated(heads: Vector, position: int) -> Vector:
    """Rotary position embedding, halves rotated against each other."""
    half = _HEAD_DIM // 2
    angles = position * _ROTARY_BASE ** (-np.arange(half, dtype=np.float64) / half)
    cosine, sine = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    first, second = heads[:, :half], heads[:, half:]
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
