"""Job `kv.calibrate`: what prefill and loading cost on this machine, measured, so that advice is not a guess.

Prefill is timed at a few lengths and fitted; decoding is timed per codec, and reading from the blob store with opening. The
link to the caller is not known here: `fetch` is what this service can give.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

from memos.encoders.kv_codecs import CODECS, decode_prefix, encode_prefix
from memos.encoders.kv_container import ChunkLabel, CubeCipher, closed, opened
from memos.encoders.kv_engines import AnyEngine
from memos.rules import kv_address
from memos.rules.kv_layout import Group
from memos.rules.kv_policy import fit_prefill
from memos.services.attempt import Attempt, Outcome
from memos.store import kv_models
from memos.store.blobs import BlobStore

CALIBRATE: Final = "kv.calibrate"
_LENGTHS: Final = (64, 256, 768)
_SAMPLE_BYTES: Final = 8 * 2**20
_LATENCY_S: Final = 3e-3
"""A request on the same machine; figures of other links belong to the caller."""


def calibrate(attempt: Attempt) -> Outcome:
    tier = attempt.parts.kv
    engine = tier.engine
    samples = [(n, _timed(lambda n=n: engine.build(_tokens(engine, n)))) for n in _LENGTHS if n < engine.max_tokens]  # type: ignore[misc]
    attempt.check()
    prefill = fit_prefill(samples)
    load = {
        "latency_s": _LATENCY_S,
        "fetch_bytes_per_s": _fetch_speed(tier.blobs(attempt.tenant_id)),
        "decode_bytes_per_s": _decode_speeds(engine),
    }
    figures = {"linear_s": prefill.linear_s, "quadratic_s": prefill.quadratic_s}
    with attempt.saving() as tx:
        model = tier.register(tx)
        kv_models.calibrate(tx, model.model_key, figures, load)
        return attempt.finish(tx, {"model_key": model.model_key, "prefill": figures, "load": load})


def _decode_speeds(engine: AnyEngine) -> dict[str, float]:
    """Stored bytes decoded per second, by codec."""
    spec = engine.identity.spec
    ids = _tokens(engine, 256)
    state, chunks = engine.build(ids), kv_address.chain(bytes(32), ids)
    speeds = {}
    for codec in CODECS:
        stored = encode_prefix(state, chunks, spec, model="0" * 64, codec=codec)
        seconds = _timed(lambda stored=stored: decode_prefix(stored, spec, len(ids)))  # type: ignore[misc]
        speeds[codec] = sum(len(each.data) for each in stored) / seconds
    return speeds


def _fetch_speed(blobs: BlobStore) -> float:
    """Bytes per second from the store through the cipher, out of a page cache that has just seen them."""
    cipher, label = CubeCipher(os.urandom(32)), ChunkLabel(bytes(32), "0" * 64, Group.FULL, "raw", 0, 1)
    sealed = closed(b"MKV1\x00" + os.urandom(_SAMPLE_BYTES), label, cipher)
    ref = blobs.put(f"calibration-{uuid4().hex[:12]}", [sealed])
    try:

        def fetch() -> None:
            with blobs.open(ref) as blob:
                opened(blob.read(), label, cipher)

        return len(sealed) / _timed(fetch)
    finally:
        blobs.delete(ref)


def _timed(action: Callable[[], Any]) -> float:
    """Seconds of the better of two runs: the first may find caches cold."""
    best = float("inf")
    for _ in range(2):
        began = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - began)
    return max(best, 1e-6)


def _tokens(engine: AnyEngine, n: int) -> list[int]:
    """Text of that length; what it says does not matter to the clock."""
    ids: list[int] = []
    while len(ids) < n:
        ids += engine.tokenize("The ferry to the island leaves at nine, and the next one after lunch. ").ids
    return ids[:n]
