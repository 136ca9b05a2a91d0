"""Time to first token: a 32-token question behind a memory prefix, prefilled or restored.

A restore reads the chunks from files (in the page cache), checks their digest or decrypts them, decodes them into one
cache and predicts the first token of the answer; a prefill feeds prefix and question. The floor is the question alone.
The machine is shared, so ratios are of CPU time; wall time stands beside it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.report import Report, progress
from memos.encoders.kv_codecs import CODECS, StoredChunk, decode_prefix, encode_prefix
from memos.encoders.kv_container import ChunkLabel, CubeCipher
from memos.encoders.kv_state import KVState
from memos.encoders.transformers_engine import TransformersEngine, TransformersHandle
from memos.rules.kv_address import chain, model_key
from memos.rules.kv_layout import Group
from memos.rules.kv_policy import fit_prefill
from memos.store.blobs import BlobRef, FilesystemBlobs

QUESTION_TOKENS = 32
GOALS = {256: 2.5, 1024: 8.0, 4096: 30.0}


@dataclass(frozen=True, slots=True)
class Seconds:
    """Medians of one way to the first token."""

    wall: float
    cpu: float
    first_token: int


@dataclass(frozen=True, slots=True)
class Arm:
    """One codec, sealed or not, with its chunks on disk."""

    name: str
    files: list[tuple[ChunkLabel, BlobRef]]
    n_bytes: int
    cipher: CubeCipher | None


def run(
    report: Report, engine: TransformersEngine, token_ids: Sequence[int], *, lengths: Sequence[int], rounds: int
) -> None:
    samples: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory(prefix="memos-kv-") as folder:
        blobs = FilesystemBlobs(Path(folder))
        for n_tokens in lengths:
            prefix = token_ids[:n_tokens]
            question = token_ids[n_tokens : n_tokens + QUESTION_TOKENS]
            cold = _one_length(report, engine, blobs, prefix, question, rounds)
            samples.append((n_tokens + QUESTION_TOKENS, cold.cpu))
    cost = fit_prefill(samples)
    report.figures["prefill"] = {"linear_s": cost.linear_s, "quadratic_s": cost.quadratic_s}
    report.note(f"CPU prefill fits {cost.linear_s * 1e3:.3f} ms n + {cost.quadratic_s * 1e9:.1f} ns n^2")


def _one_length(
    report: Report,
    engine: TransformersEngine,
    blobs: FilesystemBlobs,
    prefix: Sequence[int],
    question: Sequence[int],
    rounds: int,
) -> Seconds:
    n_tokens = len(prefix)
    with progress(f"time to first token after {n_tokens} tokens", None):
        state = engine.build(prefix)
        arms = _arms(engine, blobs, state, prefix)
        cold = timed(rounds, lambda: engine.generate(engine.restore(None), [*prefix, *question], 1))
        floor = timed(rounds, lambda: engine.generate(engine.restore(None), question, 1))
        rows = [
            ["CPU prefill", "-", f"{cold.wall:.3f}", f"{cold.cpu:.3f}", "1.0", "1.0", "-", "-"],
            ["question alone", "-", f"{floor.wall:.3f}", f"{floor.cpu:.3f}", "-", "-", "-", "-"],
        ]
        report.figures[f"ttft.{n_tokens}.prefill"] = cold
        report.figures[f"ttft.{n_tokens}.floor"] = floor
        for arm in arms:
            load = timed(rounds, partial(_load_only, engine, blobs, arm, n_tokens))
            warm = timed(rounds, partial(_restored, engine, blobs, arm, n_tokens, question))
            ratio = cold.cpu / warm.cpu
            same = "same" if warm.first_token == cold.first_token else "other"
            rows.append(
                [
                    arm.name,
                    f"{arm.n_bytes / 1e6:.1f}",
                    f"{warm.wall:.3f}",
                    f"{warm.cpu:.3f}",
                    f"{ratio:.1f}",
                    f"{cold.wall / warm.wall:.1f}",
                    f"{load.wall * 1e3:.0f}",
                    same,
                ]
            )
            report.figures[f"ttft.{n_tokens}.{arm.name}"] = {
                "wall": warm.wall,
                "cpu": warm.cpu,
                "load_wall": load.wall,
                "load_cpu": load.cpu,
                "bytes": arm.n_bytes,
                "ratio_cpu": ratio,
                "ratio_wall": cold.wall / warm.wall,
                "same_first_token": same == "same",
            }
            if n_tokens in GOALS:
                report.goal(f"restore {arm.name} @ {n_tokens}: x faster than CPU prefill", ratio, ">=", GOALS[n_tokens])
    columns = ("way", "MB", "wall s", "CPU s", "x CPU", "x wall", "of it load ms", "first token")
    report.table(f"Time to first token, {n_tokens} + {len(question)} tokens, against CPU prefill", columns, rows)
    return cold


def _arms(engine: TransformersEngine, blobs: FilesystemBlobs, state: KVState, prefix: Sequence[int]) -> list[Arm]:
    spec, model, chunks = engine.identity.spec, model_key(engine.identity), chain(bytes(32), prefix)
    ways: list[tuple[str, str, CubeCipher | None]] = [(codec, codec, None) for codec in CODECS]
    ways.append(("int4 encrypted", "int4", CubeCipher(bytes(32))))
    arms = []
    for name, codec, cipher in ways:
        stored = encode_prefix(state, chunks, spec, model=model, codec=codec, cipher=cipher)
        files = [(blob.label, blobs.put("bench", [blob.data])) for blob in stored]
        arms.append(Arm(name, files, sum(len(blob.data) for blob in stored), cipher))
    return arms


def _load(engine: TransformersEngine, blobs: FilesystemBlobs, arm: Arm, n_tokens: int) -> TransformersHandle:
    def chunks() -> list[StoredChunk]:
        found = []
        for label, ref in arm.files:
            with blobs.open(ref) as blob:
                digest = None if arm.cipher else bytes.fromhex(ref.sha256)
                found.append(StoredChunk(label, blob.read(), digest))
        return found

    handle, arrays = engine.blank(n_tokens, {Group.FULL: 0})
    decode_prefix(chunks(), engine.identity.spec, n_tokens, cipher=arm.cipher, into=arrays)
    return handle


def _load_only(engine: TransformersEngine, blobs: FilesystemBlobs, arm: Arm, n_tokens: int) -> tuple[int, ...]:
    _load(engine, blobs, arm, n_tokens)
    return ()


def _restored(
    engine: TransformersEngine, blobs: FilesystemBlobs, arm: Arm, n_tokens: int, question: Sequence[int]
) -> tuple[int, ...]:
    return engine.generate(_load(engine, blobs, arm, n_tokens), question, 1)


def timed(rounds: int, way: Callable[[], tuple[int, ...]]) -> Seconds:
    walls: list[float] = []
    cpus: list[float] = []
    tokens: tuple[int, ...] = ()
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        tokens = way()
        cpus.append(time.process_time() - cpu)
        walls.append(time.perf_counter() - wall)
    return Seconds(median(walls), median(cpus), tokens[0] if tokens else -1)
