"""Codecs: exact where they promise it, bounded where they do not, and every prefix reassembled or refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.encoders.kv_codecs import (
    CODECS,
    StoredChunk,
    codec_named,
    decode_chunk,
    decode_prefix,
    encode_chunk,
    encode_prefix,
)
from memos.encoders.kv_container import CubeCipher
from memos.encoders.kv_state import KVState, bfloat16_bits, from_float32, to_float32, trimmed
from memos.errors import Invalid, KVRejected
from memos.rules.kv_address import chain
from memos.rules.kv_layout import Group, KVDtype, KVSpec
from tests.encoders.kv_arrays import MODEL, label_for, made_up, mixed_spec, same_bytes

NEAR_ZERO = 3e-6
"""Half of the finest step: float16 has no numbers closer together than 2^-24, and a step keeps one in 64 of them."""

chunks = st.tuples(
    st.sampled_from(list(KVDtype)),
    st.sampled_from(list(Group)),
    st.sampled_from([0, 256, 1024]),
    st.integers(1, 256),
    st.sampled_from([2, 16, 64, 80, 128]),
)


@given(chunk=chunks, codec=st.sampled_from(sorted(CODECS)), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=80)
def test_lossless_codecs_return_every_bit_and_lossy_ones_the_right_shape(
    chunk: tuple[KVDtype, Group, int, int, int], codec: str, seed: int
) -> None:
    dtype, group, start, n_tokens, head_dim = chunk
    spec = mixed_spec(dtype, head_dim)
    kv = made_up(spec, group, start, n_tokens, seed=seed)
    label = label_for(group, codec, start, n_tokens)
    data = encode_chunk(kv, spec, label)
    back = decode_chunk(data, spec, label, sha256=hashlib.sha256(data).digest())
    assert back.k.shape == kv.k.shape
    assert back.k.dtype == kv.k.dtype
    assert same_bytes(back, kv) or not codec_named(codec).is_lossless(dtype)


@given(chunk=chunks, bits=st.sampled_from([8, 4]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=80)
def test_a_code_is_within_half_a_step_of_its_value(
    chunk: tuple[KVDtype, Group, int, int, int], bits: int, seed: int
) -> None:
    _, group, start, n_tokens, head_dim = chunk
    spec = mixed_spec(KVDtype.F32, head_dim)
    kv = made_up(spec, group, start, n_tokens, seed=seed)
    label = label_for(group, f"int{bits}", start, n_tokens)
    data = encode_chunk(kv, spec, label)
    back = decode_chunk(data, spec, label, sha256=hashlib.sha256(data).digest())
    exact = 4 if start == 0 else 0
    assert np.array_equal(back.k[:, :, :exact], kv.k[:, :, :exact])
    assert np.array_equal(back.v[:, :, :exact], kv.v[:, :, :exact])
    for first in range(0, n_tokens, 64):
        span = slice(max(first, exact), first + 64)
        group_k = kv.k[:, :, span]
        if group_k.shape[2] == 0:
            continue
        # A step is the range over 255 or 15 levels, up to 1/16 coarser for its short mantissa, plus float16 rounding.
        size = np.ptp(group_k, axis=2) + np.abs(group_k).max(axis=2) * 2**-10
        bound = size / (2**bits - 1) * (1 + 1 / 16) / 2 * 1.01 + NEAR_ZERO
        assert (np.abs(back.k[:, :, span] - group_k) <= bound[:, :, None]).all()
    width = int(np.gcd(head_dim, 64))
    rows = kv.v[:, :, exact:].reshape(*kv.v.shape[:2], -1, head_dim // width, width)
    error = np.abs(back.v[:, :, exact:].reshape(rows.shape) - rows)
    size = np.ptp(rows, axis=-1) + np.abs(rows).max(axis=-1) * 2**-10
    assert (error <= (size / (2**bits - 1) * (1 + 1 / 16) / 2 * 1.01 + NEAR_ZERO)[..., None]).all()


def test_sizes_against_fp16() -> None:
    spec = KVSpec.of_layers([None] * 4, kv_heads=2, head_dim=64, dtype=KVDtype.F32)
    kv = made_up(spec, Group.FULL, 256, 256)
    fp16 = kv.k.size * 2 * 2
    ratio = {codec: fp16 / len(encode_chunk(kv, spec, label_for(Group.FULL, codec, 256, 256))) for codec in CODECS}
    assert 0.49 < ratio["raw"] < 0.5
    assert ratio["bf16"] > 1.3
    assert ratio["int8"] > 1.8
    assert ratio["int4"] > 3.5


def test_outlier_channels_and_first_tokens_do_not_spoil_their_neighbours() -> None:
    spec = mixed_spec()
    kv = made_up(spec, Group.FULL, 0, 256)
    label = label_for(Group.FULL, "int4", 0, 256)
    data = encode_chunk(kv, spec, label)
    back = decode_chunk(data, spec, label, sha256=hashlib.sha256(data).digest())
    assert np.abs(back.k - kv.k).max() < 0.4


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("codec", ["bf16", "int8", "int4"])
def test_lossy_codecs_refuse_what_they_cannot_hold(codec: str, value: float) -> None:
    spec = mixed_spec()
    kv = made_up(spec, Group.FULL, 256, 64)
    kv.k[0, 0, 5, 5] = value
    with pytest.raises(Invalid):
        encode_chunk(kv, spec, label_for(Group.FULL, codec, 256, 64))


def test_quantising_beyond_float16_is_refused_not_clipped() -> None:
    spec = mixed_spec()
    kv = made_up(spec, Group.FULL, 256, 64)
    kv.v[0, 0, 5, 5] = 1e6
    with pytest.raises(Invalid):
        encode_chunk(kv, spec, label_for(Group.FULL, "int4", 256, 64))


def test_constant_groups_survive() -> None:
    spec = mixed_spec()
    kv = made_up(spec, Group.FULL, 256, 70)
    kv.k[...], kv.v[...] = 3.0, 0.0
    for codec in ("int8", "int4"):
        label = label_for(Group.FULL, codec, 256, 70)
        data = encode_chunk(kv, spec, label)
        back = decode_chunk(data, spec, label, sha256=hashlib.sha256(data).digest())
        assert same_bytes(back, kv)


@given(st.lists(st.floats(-(2.0**126), 2.0**126, width=32)))
@settings(deadline=None, max_examples=60)
def test_bfloat16_rounds_to_nearest_even(values: list[float]) -> None:
    array = np.array(values, np.float32)
    rounded = to_float32(bfloat16_bits(array), KVDtype.BF16)
    below = ((array.view(np.uint32) >> 16) << 16).view(np.float32)
    above = (((array.view(np.uint32) >> 16) + 1) << 16).view(np.float32)
    distance = np.abs(rounded.astype(float) - array)
    assert (distance <= np.abs(below.astype(float) - array)).all()
    assert (distance <= np.abs(above.astype(float) - array)).all()
    assert np.array_equal(from_float32(rounded, KVDtype.BF16), bfloat16_bits(array))


def test_unknown_codec_is_named_in_the_error() -> None:
    with pytest.raises(Invalid, match="turbo"):
        codec_named("turbo")


@pytest.mark.parametrize("change", [{"start": 0}, {"n_tokens": 99}, {"group": Group.SLIDING}])
def test_a_label_must_fit_its_arrays(change: dict[str, Any]) -> None:
    spec = mixed_spec()
    kv = made_up(spec, Group.FULL, 256, 100)
    with pytest.raises(Invalid):
        encode_chunk(kv, spec, replace(label_for(Group.FULL, "raw", 256, 100), **change))


PREFIX_SPEC = mixed_spec()
PREFIX = KVState({group: made_up(PREFIX_SPEC, group, 0, 900) for group in Group})
CHUNKS = chain(bytes(32), range(900))


class TestPrefix:
    def stored(self, state: KVState | None = None, cipher: CubeCipher | None = None) -> list[StoredChunk]:
        return encode_prefix(state or PREFIX, CHUNKS, PREFIX_SPEC, model=MODEL, codec="raw", cipher=cipher)

    @pytest.mark.parametrize("cipher", [None, CubeCipher(bytes(32))])
    def test_comes_back_whole_in_any_order(self, cipher: CubeCipher | None) -> None:
        blobs = self.stored(cipher=cipher)
        assert len(blobs) == 8
        back = decode_prefix(reversed(blobs), PREFIX_SPEC, 900, cipher=cipher)
        assert all(same_bytes(back.groups[group], PREFIX.groups[group]) for group in Group)

    def test_needs_only_the_sliding_chunks_the_window_reaches(self) -> None:
        blobs = [b for b in self.stored() if b.label.group is Group.FULL or b.label.start >= 512]
        back = decode_prefix(blobs, PREFIX_SPEC, 900)
        assert back.groups[Group.SLIDING].start == 512
        needed, exact = trimmed(back, PREFIX_SPEC), trimmed(PREFIX, PREFIX_SPEC)
        assert all(same_bytes(needed.groups[group], exact.groups[group]) for group in Group)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda blobs: blobs[:-1],
            lambda blobs: [b for b in blobs if b.label.start != 256],
            lambda blobs: [b for b in blobs if b.label.group is Group.SLIDING],
            lambda blobs: [*blobs, blobs[0]],
            lambda _: [],
        ],
    )
    def test_gaps_overlaps_and_missing_groups_are_refused(
        self, spoil: Callable[[list[StoredChunk]], list[StoredChunk]]
    ) -> None:
        with pytest.raises(KVRejected):
            decode_prefix(spoil(self.stored()), PREFIX_SPEC, 900)

    def test_chunks_outside_the_state_are_skipped(self) -> None:
        suffix = KVState({group: PREFIX.groups[group].tokens(512, 900) for group in Group})
        assert {b.label.start for b in self.stored(suffix)} == {512, 768}
