"""Receiving and checking a chunk while the one before it is decoded: two cores work on one restore.

Both halves spend their time outside of Python's lock (sockets and SHA-256 there, zstd and numpy here). Order stays as it
was: nothing is unpacked before its digest has been compared.
"""

from __future__ import annotations

import hashlib
import hmac
import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Final

from memos.encoders.kv_codecs import StoredChunk
from memos.errors import KVRejected

_AHEAD: Final = 2
"""Chunks that wait to be decoded, at most: enough to even out the two halves, and a few megabytes."""


def checked_ahead(chunks: Iterable[StoredChunk]) -> Generator[StoredChunk]:
    """The same chunks in the same order, each one's digest compared. Whatever iterating raises is raised here.

    Raises:
        KVRejected: a chunk does not have the digest it was announced with, or was announced without one.
    """
    waiting: queue.Queue[StoredChunk | BaseException | None] = queue.Queue(_AHEAD)
    given_up = threading.Event()

    def receive() -> None:
        try:
            for chunk in chunks:
                waiting.put(_checked(chunk))
                if given_up.is_set():
                    break
            waiting.put(None)
        except BaseException as error:  # noqa: BLE001 - nothing is swallowed: it is raised where the chunks are wanted
            waiting.put(error)
        finally:
            if isinstance(chunks, Generator):
                chunks.close()  # here, because it cannot be closed elsewhere while it runs

    thread = threading.Thread(target=receive, name="memos-kv-ahead", daemon=True)
    thread.start()
    try:
        while (found := waiting.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        given_up.set()
        while thread.is_alive():
            with suppress(queue.Empty):
                waiting.get(timeout=0.01)


def _checked(chunk: StoredChunk) -> StoredChunk:
    if chunk.sha256 is None or not hmac.compare_digest(hashlib.sha256(chunk.data).digest(), chunk.sha256):
        raise KVRejected("the blob does not have the digest it was stored with")
    return chunk
