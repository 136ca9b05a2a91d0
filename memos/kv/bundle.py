"""Reading a bundle: chunks of one prefix in one stream, each checked against what was asked for before it is read.

    "MKVB" 1 | { u32 header length | header JSON | body }* | u32 0

The reader knows every chunk's size and digest from the lookup, and the most bytes such a chunk can have from the
model. So it never makes room because a stream says so, and a stream that says anything else is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from memos.encoders.kv_codecs import StoredChunk, blob_bytes_max
from memos.errors import KVRejected
from memos.kv.wire import ChunkRef
from memos.rules.kv_layout import KVSpec

MEDIA_TYPE: Final = "application/vnd.memos.kv-bundle"
_MAGIC: Final = b"MKVB\x01"
_HEADER_MAX: Final = 2_048

Read = Callable[[int], bytes]
"""Returns that many bytes, or fewer when the stream has ended."""


def checked_refs(refs: Sequence[ChunkRef], spec: KVSpec) -> Sequence[ChunkRef]:
    """The same, once none of them claims more bytes than such a chunk can have. Raises KVRejected otherwise."""
    for ref in refs:
        most = blob_bytes_max(spec, ref.label)
        if ref.n_bytes > most:
            raise KVRejected(f"a chunk is said to have {ref.n_bytes} bytes; it cannot need more than {most}")
    return refs


def bundle_bytes_max(refs: Sequence[ChunkRef]) -> int:
    """The most bytes a bundle of these chunks can have."""
    return len(_MAGIC) + 4 + sum(4 + _HEADER_MAX + ref.n_bytes for ref in refs)


def bundled(read: Read, refs: Sequence[ChunkRef]) -> Iterator[StoredChunk]:
    """The chunks `refs` of a stream, each as soon as it is complete.

    Raises:
        KVRejected: the stream is truncated, or holds anything but these chunks in this order.
    """
    if _exactly(read, len(_MAGIC)) != _MAGIC:
        raise KVRejected("the answer is not a bundle of chunks")
    for ref in refs:
        n_header = _u32(read)
        if not 2 <= n_header <= _HEADER_MAX:
            raise KVRejected(f"a bundle's header of {n_header} bytes is not plausible")
        _check_header(_exactly(read, n_header), ref)
        yield StoredChunk(ref.label, _exactly(read, ref.n_bytes), ref.sha256)
    if _u32(read) != 0:
        raise KVRejected("the bundle holds more chunks than were asked for")


def _check_header(text: bytes, ref: ChunkRef) -> None:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KVRejected("a bundle's header is not JSON") from error
    expected: dict[str, Any] = {
        **ref.request(),
        "start": ref.label.start,
        "n_tokens": ref.label.n_tokens,
        "model": ref.label.model,
        "bytes": ref.n_bytes,
        "sha256": ref.sha256.hex(),
    }
    if not isinstance(header, dict) or {name: header.get(name) for name in expected} != expected:
        raise KVRejected(f"the bundle holds another chunk where tokens {ref.label.start}... should be")


def _u32(read: Read) -> int:
    return int.from_bytes(_exactly(read, 4), "big")


def _exactly(read: Read, n_bytes: int) -> bytes:
    data = read(n_bytes)
    if len(data) != n_bytes:
        raise KVRejected("the bundle ends early")
    return data
