"""The bytes a KV chunk is stored as, and the checks that come before believing them.

    "MKV1" | flags | body          flags: 1 = zstd, 2 = AES-256-GCM
    body = nonce (12) | ciphertext and tag        if encrypted
    plain = zstd frame of a safetensors file      if compressed, else the file itself

A reader knows beforehand what a chunk of this model must look like, so it takes nothing from the file on trust: the
size a zstd frame announces, the safetensors header (names, dtypes, shapes, offsets, metadata) and the label are
compared with the expectation, and only then are arrays made. Nothing is ever unpickled.

The label (key, model, group, codec, place) is both in the safetensors metadata and, when encrypted, in the associated
data of AES-GCM: a blob cannot be passed off as another chunk's, not even by someone who can write to the store.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import zstandard
from safetensors import TensorSpec, serialize

from memos.encoders.kv_state import Array
from memos.errors import KVRejected
from memos.rules.kv_layout import Group

_MAGIC: Final = b"MKV1"
_ZSTD: Final = 1
_ENCRYPTED: Final = 2
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_HEADER_MAX: Final = 16 * 2**10
"""A safetensors header of a chunk is about 700 bytes: a handful of tensors and the label."""
_SLACK: Final = 2**12
"""What zstd and the envelope may add to data that does not compress."""

_DTYPES: Final[Mapping[str, tuple[str, np.dtype[Any]]]] = {
    # safetensors name: (name its writer expects, numpy dtype that holds it)
    "F32": ("float32", np.dtype("<f4")),
    "F16": ("float16", np.dtype("<f2")),
    "BF16": ("bfloat16", np.dtype("<u2")),
    "U8": ("uint8", np.dtype("u1")),
}


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """One expected tensor: safetensors dtype name and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * _DTYPES[self.dtype][1].itemsize


@dataclass(frozen=True, slots=True)
class ChunkLabel:
    """Which chunk a blob claims to be. `model` is the model key, `start` its first token in the prefix."""

    key: bytes
    model: str
    group: Group
    codec: str
    start: int
    n_tokens: int

    def metadata(self) -> dict[str, str]:
        return {
            "format": "memos-kv-1",
            "key": self.key.hex(),
            "model": self.model,
            "group": self.group.value,
            "codec": self.codec,
            "start": str(self.start),
            "n_tokens": str(self.n_tokens),
        }

    def associated_data(self, flags: int) -> bytes:
        fields = [bytes([flags]), *(f"{name}={value}".encode() for name, value in self.metadata().items())]
        return b"".join(struct.pack(">I", len(part)) + part for part in fields)


class CubeCipher:
    """AES-256-GCM with the data key of one cube. Destroying that key erases every copy of the cube's blobs."""

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError("a cube's data key has 32 bytes")
        # Only the service holds keys: an engine that reads served blobs does without the package.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead = AESGCM(key)

    def encrypt(self, plain: bytes, associated: bytes) -> bytes:
        # Random nonces are safe for 2^32 blobs a key; a cube holds thousands.
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, associated)

    def decrypt(self, sealed: memoryview, associated: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
            raise KVRejected("the blob is truncated inside its envelope")
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], associated)
        except InvalidTag as error:
            raise KVRejected("the blob was changed, or belongs to another cube or chunk") from error


def seal(
    tensors: Mapping[str, Array],
    layout: Mapping[str, TensorLayout],
    label: ChunkLabel,
    *,
    zstd_level: int | None,
    cipher: CubeCipher | None,
) -> bytes:
    """The stored bytes of a chunk. `tensors` must be what `layout` says; the caller is our own codec."""
    arrays = {name: np.ascontiguousarray(tensors[name]) for name in layout}
    specs = {}
    for name, expected in layout.items():
        array = arrays[name]
        if array.shape != expected.shape or array.dtype != _DTYPES[expected.dtype][1]:
            raise ValueError(f"tensor {name} is {array.dtype}{array.shape}, its layout says {expected}")
        specs[name] = TensorSpec(
            dtype=_DTYPES[expected.dtype][0],
            shape=list(expected.shape),
            data_ptr=array.ctypes.data,
            data_len=array.nbytes,
        )
    body = bytes(serialize(specs, metadata=label.metadata()))
    flags = 0
    if zstd_level is not None:
        flags |= _ZSTD
        body = zstandard.ZstdCompressor(level=zstd_level, write_content_size=True).compress(body)
    if cipher is not None:
        flags |= _ENCRYPTED
        body = cipher.encrypt(body, label.associated_data(flags))
    return _MAGIC + bytes([flags]) + body


def sealed_bytes_max(layout: Mapping[str, TensorLayout]) -> int:
    """The most bytes a chunk of this layout can be stored as: what a reader makes room for."""
    size = _size(layout)
    return size + _HEADER_MAX + _SLACK + size // 128


def unseal(
    data: bytes,
    layout: Mapping[str, TensorLayout],
    label: ChunkLabel,
    *,
    cipher: CubeCipher | None,
    sha256: bytes | None,
    checked: bool = False,
) -> dict[str, Array]:
    """The tensors of a stored chunk, as read-only views of the decompressed bytes.

    Something must authenticate the blob: the cube's cipher, or the digest its row holds (or held it before: `checked`).
    With a cipher, a blob that is not encrypted is refused too.

    Raises:
        KVRejected: the blob is damaged, truncated, too large, of another shape or another chunk's.
    """
    if cipher is None and sha256 is None and not checked:
        raise KVRejected("nothing authenticates this blob: give its cipher or its digest")
    size = _size(layout)
    if len(data) > sealed_bytes_max(layout):
        raise KVRejected(f"the blob has {len(data)} bytes; this chunk cannot need more than {size}")
    if sha256 is not None and not hmac.compare_digest(hashlib.sha256(data).digest(), sha256):
        raise KVRejected("the blob does not have the digest it was stored with")
    if len(data) < len(_MAGIC) + 1 or data[: len(_MAGIC)] != _MAGIC:
        raise KVRejected("this is not a KV blob")
    flags = data[len(_MAGIC)]
    if flags & ~(_ZSTD | _ENCRYPTED) or bool(flags & _ENCRYPTED) != (cipher is not None):
        raise KVRejected("the blob is not packed the way this cube packs its blobs")
    body = memoryview(data)[len(_MAGIC) + 1 :]
    if cipher is not None:
        body = memoryview(cipher.decrypt(body, label.associated_data(flags)))
    if flags & _ZSTD:
        body = memoryview(_decompressed(body, at_least=size, at_most=size + _HEADER_MAX))
    return _tensors(body, layout, label)


def closed(data: bytes, label: ChunkLabel, cipher: CubeCipher) -> bytes:
    """The stored form of a blob that travels open. The caller has checked what is in it."""
    flags = _flags(data) | _ENCRYPTED
    body = cipher.encrypt(data[len(_MAGIC) + 1 :], label.associated_data(flags))
    return b"".join((_MAGIC, bytes([flags]), body))


def opened(data: bytes, label: ChunkLabel, cipher: CubeCipher) -> tuple[bytes, bytes]:
    """The form in which a stored blob travels to those who may read it: its head, and its body, undecoded.

    Raises:
        KVRejected: the blob was changed, or is another chunk's or cube's.
    """
    flags = _flags(data)
    if not flags & _ENCRYPTED:
        raise KVRejected("the blob is not packed the way this cube packs its blobs")
    body = cipher.decrypt(memoryview(data)[len(_MAGIC) + 1 :], label.associated_data(flags))
    return _MAGIC + bytes([flags & ~_ENCRYPTED]), body


def _flags(data: bytes) -> int:
    if len(data) < len(_MAGIC) + 1 or data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC)] & ~(_ZSTD | _ENCRYPTED):
        raise KVRejected("this is not a KV blob")
    return data[len(_MAGIC)]


def _size(layout: Mapping[str, TensorLayout]) -> int:
    return sum(expected.n_bytes for expected in layout.values())


def _decompressed(frame: memoryview, *, at_least: int, at_most: int) -> bytes:
    """Decompress one frame whose announced size is plausible. zstd allocates what the frame announces, so that is
    read first; its own `max_output_size` only counts when nothing is announced."""
    try:
        announced = zstandard.get_frame_parameters(frame)
        if not at_least < announced.content_size <= at_most:
            raise KVRejected(f"the blob would unpack to {announced.content_size} bytes instead of {at_least}")
        if announced.dict_id or announced.window_size > at_most + _SLACK:
            raise KVRejected("the blob asks for a dictionary or window it has no need of")
        plain = zstandard.ZstdDecompressor().decompress(frame, max_output_size=at_most, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise KVRejected(f"the blob cannot be unpacked: {error}") from error
    return plain


def _tensors(file: memoryview, layout: Mapping[str, TensorLayout], label: ChunkLabel) -> dict[str, Array]:
    header_bytes = int.from_bytes(file[:8], "little")
    if len(file) < 8 or header_bytes > min(_HEADER_MAX, len(file) - 8):
        raise KVRejected("the blob has no plausible safetensors header")
    header = _header(bytes(file[8 : 8 + header_bytes]))
    if header.pop("__metadata__", None) != label.metadata():
        raise KVRejected("the blob is labelled as another chunk")
    if set(header) != set(layout):
        raise KVRejected(f"the blob holds tensors {sorted(header)[:8]}, not {sorted(layout)}")
    at = 0
    arrays: dict[str, Array] = {}
    for name in sorted(header, key=lambda name: _begin(header[name])):
        expected = layout[name]
        described = {
            "dtype": expected.dtype,
            "shape": list(expected.shape),
            "data_offsets": [at, at + expected.n_bytes],
        }
        if header[name] != described or 8 + header_bytes + at + expected.n_bytes > len(file):
            raise KVRejected(f"tensor {name} is not {expected.dtype} {list(expected.shape)} in its place")
        count = int(np.prod(expected.shape, dtype=np.int64))
        flat = np.frombuffer(file, _DTYPES[expected.dtype][1], count, offset=8 + header_bytes + at)
        arrays[name] = flat.reshape(expected.shape)
        at += expected.n_bytes
    if 8 + header_bytes + at != len(file):
        raise KVRejected("the blob holds more than its tensors")
    return arrays


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KVRejected("the blob's safetensors header is not JSON") from error
    if not isinstance(header, dict):
        raise KVRejected("the blob's safetensors header is not an object")
    return header


def _begin(entry: object) -> int:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    first = offsets[0] if isinstance(offsets, list) and offsets else None
    return first if isinstance(first, int) else -1
