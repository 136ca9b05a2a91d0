"""The container believes nothing: each way a blob can be wrong is refused, before anything large is allocated."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.encoders.kv_codecs import CODECS, decode_chunk, encode_chunk
from memos.encoders.kv_container import ChunkLabel, CubeCipher, TensorLayout, seal
from memos.errors import KVRejected, MemosError
from memos.rules.kv_layout import Group, KVDtype, KVSpec
from tests.encoders.kv_arrays import label_for, made_up, mixed_spec

SPEC = mixed_spec()
KV = made_up(SPEC, Group.FULL, 0, 70)
CIPHER = CubeCipher(b"k" * 32)
SEALED = {
    (codec, encrypted): encode_chunk(
        KV, SPEC, label_for(Group.FULL, codec, 0, 70), cipher=CIPHER if encrypted else None
    )
    for codec in CODECS
    for encrypted in (False, True)
}
variants = st.sampled_from(sorted(SEALED))


def read(data: bytes, codec: str, *, cipher: CubeCipher | None = None, label: ChunkLabel | None = None) -> object:
    """Read as someone who has no digest to compare but the blob's own, so that every other check must hold."""
    return decode_chunk(
        data,
        SPEC,
        label or label_for(Group.FULL, codec, 0, 70),
        cipher=cipher,
        sha256=hashlib.sha256(data).digest(),
    )


@given(variant=variants, at=st.integers(0, 10**9), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=150)
def test_any_flipped_bit_is_noticed(variant: tuple[str, bool], at: int, bit: int) -> None:
    codec, encrypted = variant
    good = SEALED[variant]
    bad = bytearray(good)
    bad[at % len(good)] ^= 1 << bit
    with pytest.raises(KVRejected):
        decode_chunk(
            bytes(bad),
            SPEC,
            label_for(Group.FULL, codec, 0, 70),
            cipher=CIPHER if encrypted else None,
            sha256=None if encrypted else hashlib.sha256(good).digest(),
        )


@given(variant=variants, cut=st.integers(0, 10**9))
@settings(deadline=None, max_examples=100)
def test_any_truncation_is_noticed_even_with_a_matching_digest(variant: tuple[str, bool], cut: int) -> None:
    codec, encrypted = variant
    with pytest.raises(KVRejected):
        read(SEALED[variant][: cut % len(SEALED[variant])], codec, cipher=CIPHER if encrypted else None)


@given(variant=variants, more=st.binary(min_size=1, max_size=50))
@settings(deadline=None, max_examples=60)
def test_anything_appended_is_noticed(variant: tuple[str, bool], more: bytes) -> None:
    codec, encrypted = variant
    with pytest.raises(KVRejected):
        read(SEALED[variant] + more, codec, cipher=CIPHER if encrypted else None)


@given(data=st.binary(max_size=300), codec=st.sampled_from(sorted(CODECS)), flags=st.sampled_from([None, 0, 1, 2, 3]))
@settings(deadline=None, max_examples=150)
def test_rubbish_is_rejected_and_never_raises_anything_else(data: bytes, codec: str, flags: int | None) -> None:
    blob = data if flags is None else b"MKV1" + bytes([flags]) + data
    with pytest.raises(KVRejected):
        read(blob, codec)


def test_rejections_are_ours_and_say_what_is_wrong() -> None:
    with pytest.raises(KVRejected, match="digest") as caught:
        decode_chunk(SEALED["raw", False], SPEC, label_for(Group.FULL, "raw", 0, 70), sha256=bytes(32))
    assert isinstance(caught.value, MemosError)
    assert caught.value.status == 422


def test_something_must_authenticate_a_blob() -> None:
    with pytest.raises(KVRejected, match="authenticates"):
        decode_chunk(SEALED["raw", False], SPEC, label_for(Group.FULL, "raw", 0, 70))


@pytest.mark.parametrize(
    "change",
    [
        {"key": bytes(32)},
        {"model": "n" * 64},
        {"codec": "int8"},
        {"start": 256},
        {"n_tokens": 69},
        {"n_tokens": 10**12},
        {"n_tokens": 0},
    ],
)
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_blob_cannot_pass_as_another_chunk(change: dict[str, Any], encrypted: bool) -> None:
    label = replace(label_for(Group.FULL, "int4", 0, 70), **change)
    with pytest.raises(KVRejected):
        read(SEALED["int4", encrypted], "int4", cipher=CIPHER if encrypted else None, label=label)


def test_groups_are_bound_even_where_their_shapes_agree() -> None:
    twin = KVSpec.of_layers([None, 300], kv_heads=2, head_dim=64, dtype=KVDtype.F32)
    kv = made_up(twin, Group.FULL, 256, 64)
    data = encode_chunk(kv, twin, label_for(Group.FULL, "raw", 256, 64), cipher=CIPHER)
    with pytest.raises(KVRejected):
        decode_chunk(data, twin, label_for(Group.SLIDING, "raw", 256, 64), cipher=CIPHER)


def test_another_cubes_key_opens_nothing() -> None:
    with pytest.raises(KVRejected):
        read(SEALED["int4", True], "int4", cipher=CubeCipher(b"x" * 32))


def test_who_expects_encryption_does_not_accept_less_nor_more() -> None:
    with pytest.raises(KVRejected, match="packed"):
        read(SEALED["int4", False], "int4", cipher=CIPHER)
    with pytest.raises(KVRejected, match="packed"):
        read(SEALED["int4", True], "int4")


def test_encrypting_twice_shares_no_bytes_to_compare() -> None:
    again = encode_chunk(KV, SPEC, label_for(Group.FULL, "raw", 0, 70), cipher=CIPHER)
    assert again != SEALED["raw", True]


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_data_key_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32"):
        CubeCipher(bytes(length))


def bomb(size: int, *, announced: bool) -> bytes:
    compressor = zstandard.ZstdCompressor(level=19, write_content_size=announced).compressobj(
        size=size if announced else -1
    )
    step = bytes(2**20)
    body = b"".join(compressor.compress(step) for _ in range(size // len(step))) + compressor.flush()
    return b"MKV1\x01" + body


@pytest.mark.parametrize("announced", [True, False])
def test_a_zip_bomb_is_refused_without_being_unpacked(announced: bool) -> None:
    data = bomb(256 * 2**20, announced=announced)
    assert len(data) < 100_000
    tracemalloc.start()
    with pytest.raises(KVRejected, match="unpack"):
        read(data, "int4")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_frame_that_lies_about_its_size_is_refused() -> None:
    good = SEALED["int4", False][5:]
    size = zstandard.get_frame_parameters(good).content_size
    lying = bytearray(zstandard.ZstdCompressor().compress(bytes(size * 4)))
    # RFC 8878: after magic number and descriptor, a size below 64 KiB stands as two bytes, less 256.
    assert lying[5:7] == (size * 4 - 256).to_bytes(2, "little")
    lying[5:7] = (size - 256).to_bytes(2, "little")
    assert zstandard.get_frame_parameters(bytes(lying)).content_size == size
    with pytest.raises(KVRejected):
        read(b"MKV1\x01" + bytes(lying), "int4")


def test_an_oversized_blob_is_refused_by_its_length_alone() -> None:
    with pytest.raises(KVRejected, match="cannot need more"):
        read(SEALED["int4", False] + bytes(10**6), "int4")


def with_header(edit: Callable[[Any], object]) -> bytes:
    """The raw blob with its safetensors header edited."""
    file = SEALED["raw", False][5:]
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    text = edit(header)
    text = text if isinstance(text, bytes) else json.dumps(header).encode()
    return b"MKV1\x00" + len(text).to_bytes(8, "little") + text + file[8 + length :]


@pytest.mark.parametrize(
    "edit",
    [
        lambda h: h["k"].update(dtype="F64"),
        lambda h: h["k"].update(shape=[1, 2, 70, 65]),
        lambda h: h["k"].update(shape=[2, 1, 70, 64]),
        lambda h: h["v"].update(data_offsets=h["k"]["data_offsets"]),
        lambda h: h["k"].update(data_offsets=[0, 2**40]),
        lambda h: h["k"].update(data_offsets=[-8, 0]),
        lambda h: h["k"].update(data_offsets="0"),
        lambda h: h["k"].update(extra=1),
        lambda h: h.update(k=None),
        lambda h: h.update(w=h.pop("v")),
        lambda h: h.update(w=h["v"]) and None,
        lambda h: h.pop("__metadata__") and None,
        lambda h: h["__metadata__"].update(more="x"),
        lambda _: b"[]",
        lambda _: b"{",
        lambda _: b"\xff\xfe",
        lambda _: b"[" * 16_000,
        lambda _: b" " * 20_000,
    ],
)
def test_a_header_that_is_not_what_the_model_demands_is_refused(edit: Callable[[Any], object]) -> None:
    with pytest.raises(KVRejected):
        read(with_header(edit), "raw")


def test_an_untouched_header_passes_the_same_door() -> None:
    read(with_header(lambda _: None), "raw")


def test_a_header_length_beyond_the_file_is_refused() -> None:
    with pytest.raises(KVRejected, match="header"):
        read(b"MKV1\x00" + (2**63).to_bytes(8, "little") + b"{}", "raw")


def test_what_is_inside_is_safetensors_for_everyone() -> None:
    tensors = safetensors.numpy.load(SEALED["raw", False][5:])
    assert np.array_equal(tensors["k"], KV.k)
    assert np.array_equal(tensors["v"], KV.v)


def test_sealing_something_other_than_announced_is_a_bug_of_ours() -> None:
    layout = {"k": TensorLayout("F32", (2, 2))}
    with pytest.raises(ValueError, match="layout"):
        seal(
            {"k": np.zeros((2, 3), np.float32)},
            layout,
            label_for(Group.FULL, "raw", 0, 2),
            zstd_level=None,
            cipher=None,
        )
