"""The activation tier through its API, on loopback: what an engine gains that asks for memory instead of reading it.

    time to first token   a 32-token question behind 256, 1,024 and 4,096 tokens of memory: lookup, bundle, checks,
                          decoding and the question, against a CPU prefill of memory and question in the same process
    exactness             logits after a restore of lossless chunks, bit for bit
    serving               chunks of 16 MB and more as one stream, beside a plain read of as large a file
    lookup                the longest stored prefix among 100,000 chunk rows

The service decrypts what it serves; the times include that. Wall time counts here, since two processes share the work;
the CPU time of the asking process stands beside it.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.floor import connect, database_url
from benchmarks.kv_service import Promoted, promoted
from benchmarks.kv_ttft import GOALS, QUESTION_TOKENS, Seconds, timed
from benchmarks.metrics import percentile
from benchmarks.report import Report, progress
from memos.encoders.kv_engines import SMOLLM2, AnyEngine
from memos.kv import Lookup, restore

CODECS = ("bf16", "int8", "int4")
LOSSLESS = "raw"
LOSSLESS_TOKENS = 512
"""Enough for two whole chunks; raw chunks of 4,096 tokens would be 190 MB."""
SERVED_MIN = 16_000_000
SERVING_GOAL = 0.8
ROWS = 100_000
LOOKUPS = 500
LOOKUP_GOAL_MS = 5.0
READ_BYTES = 4 * 2**20


def run(report: Report, engine: AnyEngine, text: str, arguments: argparse.Namespace, *, model: str = SMOLLM2) -> None:
    longest = max(arguments.lengths)
    with promoted(
        report,
        text,
        n_tokens=longest,
        codecs=CODECS,
        models=arguments.models,
        blobs=arguments.blobs,
        model=model,
    ) as tier:
        for n_tokens in arguments.lengths:
            _ttft(report, engine, tier, n_tokens, arguments.rounds)
        _serving(report, engine, tier, longest)
        _lossless(report, engine, tier)
        _lookup(report, tier, longest)


def _ttft(report: Report, engine: AnyEngine, tier: Promoted, n_tokens: int, rounds: int) -> None:
    prefix = tier.token_ids[:n_tokens]
    question = tier.token_ids[n_tokens : n_tokens + QUESTION_TOKENS]
    # A prefill of 4,096 tokens takes 15 s and varies little; a restore takes half a second.
    cold_rounds = 1 if n_tokens > 2_000 else rounds
    with progress(f"time to first token over HTTP after {n_tokens} tokens", None):
        cold = timed(cold_rounds, lambda: engine.generate(engine.restore(None), [*prefix, *question], 1))
        rows = [["CPU prefill", "-", f"{cold.wall:.3f}", f"{cold.cpu:.3f}", "1.0", "1.0", "-"]]
        report.figures[f"http.{n_tokens}.prefill"] = cold
        rows += [_restoring(report, engine, tier, n_tokens, question, codec, cold, rounds + 2) for codec in CODECS]
    columns = ("way", "MB", "wall s", "asking CPU s", "x wall", "x CPU", "first token")
    title = f"Time to first token over HTTP, {n_tokens} + {QUESTION_TOKENS} tokens, against CPU prefill"
    report.table(title, columns, rows)


def _restoring(
    report: Report,
    engine: AnyEngine,
    tier: Promoted,
    n_tokens: int,
    question: Sequence[int],
    codec: str,
    cold: Seconds,
    rounds: int,
) -> list[str]:
    def restored() -> tuple[int, ...]:
        found = _found(tier, n_tokens, codec)
        return engine.generate(restore(tier.client, engine, found.chunks, n_tokens), question, 1)

    found = _found(tier, n_tokens, codec)
    if found.matched_tokens != n_tokens:
        report.note(f"{codec} is not stored up to token {n_tokens}: refused by its gate, or not built")
        report.goal(f"HTTP restore {codec} @ {n_tokens}: x CPU prefill", float("nan"), ">=", GOALS.get(n_tokens, 1.0))
        return [codec, "-", "-", "-", "-", "-", "not stored"]
    restored()  # A first restore pays for pages that every later one finds mapped.
    warm = timed(rounds, restored)
    same = "same" if warm.first_token == cold.first_token else "other"
    report.figures[f"http.{n_tokens}.{codec}"] = {
        "wall": warm.wall,
        "cpu": warm.cpu,
        "bytes": found.n_bytes,
        "ratio_wall": cold.wall / warm.wall,
        "ratio_cpu": cold.cpu / warm.cpu,
        "same_first_token": same == "same",
        "advice": "load" if found.should_load else "prefill",
    }
    if n_tokens in GOALS:
        report.goal(f"HTTP restore {codec} @ {n_tokens}: x CPU prefill", cold.wall / warm.wall, ">=", GOALS[n_tokens])
    ratios = f"{cold.wall / warm.wall:.1f}", f"{cold.cpu / warm.cpu:.1f}"
    return [codec, f"{found.n_bytes / 1e6:.1f}", f"{warm.wall:.3f}", f"{warm.cpu:.3f}", *ratios, same]


def _found(tier: Promoted, n_tokens: int, codec: str) -> Lookup:
    return tier.client.lookup(tier.cube, tier.model, token_ids=tier.token_ids[:n_tokens], codecs=[codec])


def _lossless(report: Report, engine: AnyEngine, tier: Promoted) -> None:
    """Raw chunks of a shorter plan of the same cube: every logit of a continuation, compared."""
    job = tier.client.promote(tier.cube, tier.model, codecs=[LOSSLESS], budget_tokens=LOSSLESS_TOKENS + QUESTION_TOKENS)
    tier.client.finished(job)
    plan = tier.client.plan(tier.cube, tier.model, budget_tokens=LOSSLESS_TOKENS + QUESTION_TOKENS)
    assert plan.token_ids is not None
    question = tier.token_ids[-QUESTION_TOKENS:]
    found = tier.client.lookup(tier.cube, tier.model, token_ids=plan.token_ids, codecs=[LOSSLESS])
    handle = restore(tier.client, engine, found.chunks, found.matched_tokens)
    prefilled = engine.restore(engine.build(plan.token_ids[: found.matched_tokens]))
    moved = float(np.abs(engine.logits(handle, question) - engine.logits(prefilled, question)).max())
    report.figures["http.lossless"] = {"tokens": found.matched_tokens, "max_dlogit": moved}
    report.goal(f"{LOSSLESS} over HTTP @ {found.matched_tokens}: max dlogit against prefill", moved, "<=", 0.0)


def _serving(report: Report, engine: AnyEngine, tier: Promoted, n_tokens: int) -> None:
    rows = []
    best = 0.0
    for codec in CODECS:
        found = _found(tier, n_tokens, codec)
        if found.n_bytes < SERVED_MIN:
            continue
        rates = []
        for _ in range(7):
            began = time.perf_counter()
            received = sum(len(chunk.data) for chunk in tier.client.fetch(found.chunks, engine.identity.spec))
            rates.append(received / (time.perf_counter() - began) / 1e9)
        file_rate = _file_rate(found.n_bytes)
        report.figures[f"serving.{codec}"] = {"bytes": found.n_bytes, "gb_per_s": rates, "file_gb_per_s": file_rate}
        best = max(best, median(rates))
        rows.append(
            [codec, f"{found.n_bytes / 1e6:.0f}", f"{median(rates):.2f}", f"{max(rates):.2f}", f"{file_rate:.2f}"]
        )
    columns = ("codec", "MB", "GB/s", "best GB/s", "plain file read GB/s")
    report.table("Chunks as one stream on loopback, decrypted by the service", columns, rows)
    report.goal("serving at least 16 MB of chunks: GB/s", best, ">=", SERVING_GOAL)


def _file_rate(n_bytes: int) -> float:
    """GB/s of reading as large a file in the same steps, from the page cache."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(secrets.token_bytes(n_bytes))
        file.flush()
        rates = []
        for _ in range(5):
            began, left = time.perf_counter(), n_bytes
            with Path(file.name).open("rb", buffering=0) as reading:
                while left:
                    left -= len(reading.read(READ_BYTES))
            rates.append(n_bytes / (time.perf_counter() - began) / 1e9)
    return median(rates)


def _lookup(report: Report, tier: Promoted, n_tokens: int) -> None:
    url = database_url(tier.service, None)
    if url is None:
        report.note("lookup among many rows was not measured: it needs a service that this run started")
        return
    with connect(url) as database:
        database.execute(_MORE_CHUNKS, {"cube": tier.plan.cube_id, "rows": ROWS})
        database.execute(_MORE_OBJECTS, {"cube": tier.plan.cube_id})
        for table in ("kv_chunks", "kv_objects"):
            database.execute(f"ANALYZE {table}")
    asking: dict[str, Callable[[], Lookup]] = {
        "by plan": lambda: tier.client.lookup(tier.cube, tier.model, plan_id=tier.plan.plan_id),
        "by tokens": lambda: tier.client.lookup(tier.cube, tier.model, token_ids=tier.token_ids[:n_tokens]),
    }
    rows = []
    for name, ask in asking.items():
        taken = []
        for _ in range(LOOKUPS):
            began = time.perf_counter()
            ask()
            taken.append((time.perf_counter() - began) * 1e3)
        p50, p99 = percentile(taken, 50), percentile(taken, 99)
        report.figures[f"lookup.{name}"] = {"p50_ms": p50, "p99_ms": p99, "rows": ROWS, "lookups": LOOKUPS}
        rows.append([name, f"{p50:.2f}", f"{p99:.2f}"])
        report.goal(f"lookup {name} among {ROWS} chunk rows, over HTTP: p99 ms", p99, "<=", LOOKUP_GOAL_MS)
    report.table(f"Lookup of {n_tokens} tokens among {ROWS} chunk rows, over HTTP", ("asked", "p50 ms", "p99 ms"), rows)


_MORE_CHUNKS = """
INSERT INTO kv_chunks (tenant_id, key, cube_id, model_key, parent_key, start, n_tokens)
SELECT c.tenant_id, sha256(CAST('k' || i AS bytea)), c.id, m.model_key, sha256(CAST('p' || i AS bytea)), 256 * mod(i, 16),
       CASE WHEN mod(i, 16) = 0 THEN 100 ELSE 256 END
FROM cubes c JOIN kv_models m ON m.tenant_id = c.tenant_id, generate_series(1, %(rows)s) AS i
WHERE c.id = CAST(%(cube)s AS uuid)
"""
_MORE_OBJECTS = """
INSERT INTO kv_objects (tenant_id, key, grp, codec, cube_id, blob, n_bytes, sha256, wire_bytes, state, verified_at)
SELECT k.tenant_id, k.key, 'full', 'int8', k.cube_id, k.key, 3000000, k.key, 3000000, 'verified', now()
FROM kv_chunks k WHERE k.cube_id = CAST(%(cube)s AS uuid)
  AND NOT EXISTS (SELECT 1 FROM kv_objects o WHERE o.tenant_id = k.tenant_id AND o.key = k.key)
"""
