"""Caches made up for tests: no engine, right shapes, values that look like keys and values."""

from __future__ import annotations

import hashlib

import numpy as np

from memos.encoders.kv_container import ChunkLabel
from memos.encoders.kv_state import GroupKV, from_float32
from memos.rules.kv_layout import Group, KVDtype, KVSpec

MODEL = "m" * 64


def mixed_spec(dtype: KVDtype = KVDtype.F32, head_dim: int = 64) -> KVSpec:
    return KVSpec.of_layers([300, None, 300], kv_heads=2, head_dim=head_dim, dtype=dtype)


def made_up(spec: KVSpec, group: Group, start: int, n_tokens: int, *, seed: int = 0) -> GroupKV:
    """Keys have some channels far from zero in every token, and the first tokens of a prefix stand out."""
    shape = spec.group(group)
    rng = np.random.default_rng([seed, start])
    size = (len(shape.layers), shape.kv_heads, n_tokens, shape.head_dim)
    k = rng.normal(0, 1, size) + 20 * (np.arange(shape.head_dim) % 13 == 3)
    v = rng.normal(0, 1, size)
    if start == 0:
        k[:, :, :4] *= 50
    return GroupKV(
        from_float32(k.astype(np.float32), spec.dtype), from_float32(v.astype(np.float32), spec.dtype), start
    )


def label_for(group: Group, codec: str, start: int, n_tokens: int) -> ChunkLabel:
    return ChunkLabel(hashlib.sha256(b"key").digest(), MODEL, group, codec, start, n_tokens)


def same_bytes(a: GroupKV, b: GroupKV) -> bool:
    return (a.start, a.k.tobytes(), a.v.tobytes()) == (b.start, b.k.tobytes(), b.v.tobytes())
