"""From a chunk's arrays to the bytes it is stored as, and back.

    codec       exact for        size against fp16    for
    raw         every dtype      2.0 (fp32 engines)   proof, and engines on the same machine
    bf16        bfloat16         about 0.7            hot chunks; byte planes compress, mantissas hardly
    int8        nothing          about 0.5            when an answer must not move visibly
    int4        nothing          about 0.26           cold chunks, and the default

How far a lossy codec moves a model's answers is measured per model (kv_gate), stored with the object, and refused
beyond a limit. `encode_chunk` and `decode_chunk` are the only ways in and out: every blob passes the container.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from memos.encoders.kv_container import ChunkLabel, CubeCipher, TensorLayout, seal, sealed_bytes_max, unseal
from memos.encoders.kv_quant import KiviCodec
from memos.encoders.kv_state import (
    Array,
    GroupKV,
    KVState,
    bfloat16_bits,
    checked,
    empty_group,
    from_float32,
    to_float32,
)
from memos.errors import Invalid, KVRejected
from memos.rules.kv_address import Chunk
from memos.rules.kv_layout import CHUNK_TOKENS, Group, GroupSpec, KVDtype, KVSpec


class KVCodec(Protocol):
    """Turns one group of one chunk into tensors whose layout is known before any byte is read."""

    @property
    def name(self) -> str: ...

    @property
    def zstd_level(self) -> int | None: ...

    def is_lossless(self, dtype: KVDtype) -> bool:
        """Whether an engine with this dtype gets back every bit."""

    def layout(self, spec: GroupSpec, dtype: KVDtype, start: int, n_tokens: int) -> dict[str, TensorLayout]: ...

    def encode(self, kv: GroupKV, spec: GroupSpec, dtype: KVDtype) -> dict[str, Array]: ...

    def decode(self, tensors: Mapping[str, Array], spec: GroupSpec, dtype: KVDtype, out: GroupKV) -> None:
        """Write into the arrays of `out`, which has the chunk's shape in the engine's dtype."""


@dataclass(frozen=True, slots=True)
class RawCodec:
    """The engine's own bits, uncompressed: what any safetensors reader can use."""

    name: str = "raw"
    zstd_level: int | None = None

    def is_lossless(self, dtype: KVDtype) -> bool:  # noqa: ARG002 - the port asks per dtype
        return True

    def layout(self, spec: GroupSpec, dtype: KVDtype, start: int, n_tokens: int) -> dict[str, TensorLayout]:  # noqa: ARG002
        shape = (len(spec.layers), spec.kv_heads, n_tokens, spec.head_dim)
        return {"k": TensorLayout(dtype.value, shape), "v": TensorLayout(dtype.value, shape)}

    def encode(self, kv: GroupKV, spec: GroupSpec, dtype: KVDtype) -> dict[str, Array]:  # noqa: ARG002
        return {"k": kv.k, "v": kv.v}

    def decode(self, tensors: Mapping[str, Array], spec: GroupSpec, dtype: KVDtype, out: GroupKV) -> None:  # noqa: ARG002
        out.k[...], out.v[...] = tensors["k"], tensors["v"]


@dataclass(frozen=True, slots=True)
class Bfloat16Codec:
    """bfloat16 in two byte planes: sign and exponent in one, where neighbours resemble each other; the rest apart."""

    name: str = "bf16"
    zstd_level: int | None = 1

    def is_lossless(self, dtype: KVDtype) -> bool:
        return dtype is KVDtype.BF16

    def layout(self, spec: GroupSpec, dtype: KVDtype, start: int, n_tokens: int) -> dict[str, TensorLayout]:  # noqa: ARG002
        plane = TensorLayout("U8", (len(spec.layers), spec.kv_heads, n_tokens, spec.head_dim))
        return dict.fromkeys(("k.high", "k.low", "v.high", "v.low"), plane)

    def encode(self, kv: GroupKV, spec: GroupSpec, dtype: KVDtype) -> dict[str, Array]:  # noqa: ARG002
        tensors: dict[str, Array] = {}
        for prefix, array in (("k", kv.k), ("v", kv.v)):
            if dtype is KVDtype.BF16:
                bits = array
            else:
                values = to_float32(array, dtype)
                if not np.isfinite(values).all():
                    raise Invalid("a cache with infinities or NaN cannot be rounded to bfloat16")
                bits = bfloat16_bits(values)
            tensors[f"{prefix}.high"] = (bits >> np.uint16(8)).astype(np.uint8)
            tensors[f"{prefix}.low"] = (bits & np.uint16(255)).astype(np.uint8)
        return tensors

    def decode(self, tensors: Mapping[str, Array], spec: GroupSpec, dtype: KVDtype, out: GroupKV) -> None:
        for layer in range(len(spec.layers)):
            for prefix, target in (("k", out.k), ("v", out.v)):
                high, low = tensors[f"{prefix}.high"][layer], tensors[f"{prefix}.low"][layer]
                if dtype is KVDtype.F32:
                    words = target[layer].view(np.uint32)
                    words[...] = high
                    words <<= np.uint32(8)
                    words |= low
                    words <<= np.uint32(16)
                else:
                    bits = (high.astype(np.uint16) << np.uint16(8)) | low
                    target[layer] = (
                        bits if dtype is KVDtype.BF16 else from_float32(to_float32(bits, KVDtype.BF16), dtype)
                    )


CODECS: Final[Mapping[str, KVCodec]] = {
    codec.name: codec for codec in (RawCodec(), Bfloat16Codec(), KiviCodec("int8", bits=8), KiviCodec("int4", bits=4))
}


def codec_named(name: str) -> KVCodec:
    """Raises Invalid when no codec goes by that name."""
    try:
        return CODECS[name]
    except KeyError:
        raise Invalid(f"no KV codec is called {name!r}; there are {', '.join(CODECS)}") from None


def encode_chunk(kv: GroupKV, spec: KVSpec, label: ChunkLabel, *, cipher: CubeCipher | None = None) -> bytes:
    """The stored bytes of one group of one chunk, by the codec its label names.

    Raises:
        Invalid: the arrays are not what the label and the model say, or the codec cannot hold their values.
    """
    codec, group = codec_named(label.codec), spec.group(label.group)
    checked(KVState({label.group: kv}), _only(spec, label.group), restorable=False)
    if (kv.start, kv.n_tokens) != (label.start, label.n_tokens) or kv.n_tokens > CHUNK_TOKENS:
        raise Invalid(f"the label says {label.start}+{label.n_tokens}, the arrays {kv.start}+{kv.n_tokens}")
    return seal(
        codec.encode(kv, group, spec.dtype),
        codec.layout(group, spec.dtype, kv.start, kv.n_tokens),
        label,
        zstd_level=codec.zstd_level,
        cipher=cipher,
    )


def decode_chunk(
    data: bytes,
    spec: KVSpec,
    label: ChunkLabel,
    *,
    cipher: CubeCipher | None = None,
    sha256: bytes | None = None,
    out: GroupKV | None = None,
    checked: bool = False,
) -> GroupKV:
    """The arrays of one stored chunk, written into `out` if that is given.

    Either `cipher` or `sha256` (the digest in the blob's row) has to authenticate the bytes, unless the caller has `checked`
    the digest itself.

    Raises:
        KVRejected: the bytes are not that chunk.
    """
    layout = _layout(spec, label)
    codec, group = codec_named(label.codec), spec.group(label.group)
    tensors = unseal(data, layout, label, cipher=cipher, sha256=sha256, checked=checked)
    if out is None:
        out = empty_group(group, spec.dtype, label.start, label.start + label.n_tokens)
    codec.decode(tensors, group, spec.dtype, out)
    return out


def blob_bytes_max(spec: KVSpec, label: ChunkLabel) -> int:
    """The most bytes such a chunk can have, known before any of them is read.

    Raises:
        Invalid: the model has no such group, or the codec is not one of ours.
        KVRejected: no chunk has that many tokens.
    """
    return sealed_bytes_max(_layout(spec, label))


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A blob as it was fetched, with the digest its row holds (None where the cipher is to vouch for it)."""

    label: ChunkLabel
    data: bytes
    sha256: bytes | None = None


def encode_prefix(
    state: KVState,
    chunks: Iterable[Chunk],
    spec: KVSpec,
    *,
    model: str,
    codec: str,
    cipher: CubeCipher | None = None,
) -> list[StoredChunk]:
    """Every group of every chunk whose tokens the state holds. `chunks` may reach further on either side."""
    stored = []
    for chunk in chunks:
        for group, kv in state.groups.items():
            if kv.start <= chunk.start and chunk.end <= kv.end:
                label = ChunkLabel(chunk.key, model, group, codec, chunk.start, chunk.n_tokens)
                data = encode_chunk(kv.tokens(chunk.start, chunk.end), spec, label, cipher=cipher)
                stored.append(StoredChunk(label, data, hashlib.sha256(data).digest()))
    return stored


def decode_prefix(
    blobs: Iterable[StoredChunk],
    spec: KVSpec,
    n_tokens: int,
    *,
    cipher: CubeCipher | None = None,
    into: KVState | None = None,
) -> KVState:
    """A restorable cache of `n_tokens` tokens from its chunks, in any order, decoded straight into their places.

    `into` gives arrays to fill (an engine's `blank`); they must cover exactly the tokens of the chunks.

    Raises:
        KVRejected: a blob is bad, overlaps another, or one that the restore needs is missing.
    """
    chunks = list(blobs)
    groups: dict[Group, GroupKV] = {}
    for group, start in restore_starts([blob.label for blob in chunks], spec, n_tokens).items():
        target = into.groups[group] if into else empty_group(spec.group(group), spec.dtype, start, n_tokens)
        if (target.start, target.end) != (start, n_tokens):
            raise Invalid(
                f"the arrays given for group {group} hold {target.start}..{target.end}, not {start}..{n_tokens}"
            )
        groups[group] = target
    for blob in chunks:
        place = groups[blob.label.group].tokens(blob.label.start, blob.label.start + blob.label.n_tokens)
        decode_chunk(blob.data, spec, blob.label, cipher=cipher, sha256=blob.sha256, out=place)
    return KVState(groups)


def restore_starts(labels: Iterable[ChunkLabel], spec: KVSpec, n_tokens: int) -> dict[Group, int]:
    """From which token on each group is covered by these chunks, which may come in any order.

    Raises:
        KVRejected: chunks overlap, leave a gap, end elsewhere than at `n_tokens`, or a restore there needs more.
    """
    by_group: dict[Group, list[ChunkLabel]] = {group: [] for group, _ in spec.groups()}
    for label in labels:
        if label.group not in by_group:
            raise KVRejected(f"this model has no group {label.group}")
        by_group[label.group].append(label)
    starts = {}
    for group, shape in spec.groups():
        starts[group] = _covered_from(sorted(by_group[group], key=lambda label: label.start), n_tokens)
        if starts[group] > shape.first_needed(n_tokens):
            raise KVRejected(f"group {group} starts at token {starts[group]}, a restore at {n_tokens} needs more")
    return starts


def _covered_from(labels: Iterable[ChunkLabel], n_tokens: int) -> int:
    """First token of chunks (in order) that follow on each other up to `n_tokens`."""
    start = at = None
    for label in labels:
        if at is None:
            start = at = label.start
        if label.start != at:
            raise KVRejected(f"group {label.group} has a gap or an overlap at token {at}")
        at += label.n_tokens
    if start is None or at != n_tokens:
        raise KVRejected(f"the chunks end at token {at or 0}, not at {n_tokens}")
    return start


def _layout(spec: KVSpec, label: ChunkLabel) -> dict[str, TensorLayout]:
    if not 1 <= label.n_tokens <= CHUNK_TOKENS:
        raise KVRejected(f"no chunk has {label.n_tokens} tokens")
    return codec_named(label.codec).layout(spec.group(label.group), spec.dtype, label.start, label.n_tokens)


def _only(spec: KVSpec, group: Group) -> KVSpec:
    """The same model as if its other group did not exist, with layers counted anew."""
    shape = spec.group(group)
    alone = GroupSpec(tuple(range(len(shape.layers))), shape.kv_heads, shape.head_dim, shape.window)
    return KVSpec(
        spec.dtype, full=alone if group is Group.FULL else None, swa=alone if group is Group.SLIDING else None
    )
