"""Chunks that arrive while others are decoded: in order, checked, and with an end however it comes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from memos.encoders.kv_codecs import StoredChunk
from memos.encoders.kv_container import ChunkLabel
from memos.errors import KVRejected, Unavailable
from memos.kv.ahead import checked_ahead
from memos.rules.kv_layout import Group


def chunk(number: int, *, data: bytes | None = None) -> StoredChunk:
    body = bytes([number]) * 5_000
    label = ChunkLabel(bytes(32), "m" * 64, Group.FULL, "raw", 256 * number, 256)
    return StoredChunk(label, body if data is None else data, hashlib.sha256(body).digest())


def alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "memos-kv-ahead"]


def test_they_come_in_order_and_the_thread_ends() -> None:
    sent = [chunk(number) for number in range(9)]
    assert list(checked_ahead(iter(sent))) == sent
    assert list(checked_ahead([])) == []
    assert alive() == []


@pytest.mark.parametrize("bad", [chunk(3, data=b"other"), StoredChunk(chunk(3).label, b"x", None)])
def test_what_is_not_what_was_announced_ends_it_before_anybody_unpacks_it(bad: StoredChunk) -> None:
    got = []
    with pytest.raises(KVRejected, match="digest"), closing(checked_ahead([chunk(0), bad, chunk(2)])) as arriving:
        for each in arriving:
            got.append(each)
    assert got == [chunk(0)]
    assert alive() == []


def test_a_stream_that_breaks_off_is_its_error() -> None:
    def breaking() -> Iterator[StoredChunk]:
        yield chunk(0)
        raise Unavailable("gone")

    with pytest.raises(Unavailable, match="gone"):
        list(checked_ahead(breaking()))
    assert alive() == []


def test_who_stops_early_closes_the_stream() -> None:
    closed = threading.Event()

    def endless() -> Iterator[StoredChunk]:
        try:
            for number in range(200):
                yield chunk(number)
        finally:
            closed.set()

    with closing(checked_ahead(endless())) as arriving:
        assert next(arriving) == chunk(0)
    assert closed.is_set()
    assert alive() == []
