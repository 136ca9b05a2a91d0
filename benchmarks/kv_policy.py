"""What admission and eviction rules would save: traces of recalls against small KV budgets.

The synthetic trace is 60,000 requests for 2,000 prefixes whose lengths are lognormal around 700 tokens and whose
popularity follows Zipf's law with exponent 0.9; every 6,000 requests a tenth of the ranks is dealt anew. A LoCoMo file
gives a second trace: each question asks for the sessions that hold its evidence.
Costs are those of this machine: prefill as measured here, load as measured for int4 chunks read from files.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.report import Report
from memos.encoders.transformers_engine import TransformersEngine
from memos.rules.kv_policy import LoadCost, PrefillCost, fit_prefill
from memos.rules.kv_simulation import Bundle, Order, Outcome, Rules, simulate

BUNDLES, REQUESTS, DRIFT_EVERY, SEEDS = 2_000, 60_000, 6_000, 3
WINDOW_SHARE = 0.1
"""A second use counts within a tenth of the trace."""
MEDIAN_TOKENS, TOKENS_SIGMA, ZIPF = 700, 0.8, 0.9
INT4_RATIO = 3.87
"""Measured by the `codecs` part: how many times int4 is smaller than fp16 on this model."""
LOAD = LoadCost(latency_s=0.002, fetch_bytes_per_s=1e9, decode_bytes_per_s={"int4": 1.5e8})
"""Measured by the `ttft` part: 6 MB of int4 chunks are read, checked and decoded in about 45 ms."""

OURS = "GDSF + second use + worth"
"""What kv_policy.admit and kv_policy.evict do together."""


def arms(window: int) -> dict[str, Rules]:
    return {
        "LRU": Rules(Order.LRU),
        "LFU": Rules(Order.LFU),
        "GDSF": Rules(Order.GDSF),
        "LRU + second use": Rules(Order.LRU, second_use_within=window),
        "GDSF + second use": Rules(Order.GDSF, second_use_within=window),
        OURS: Rules(Order.GDSF, second_use_within=window, must_beat_victims=True),
    }


@dataclass(frozen=True, slots=True)
class Trace:
    bundles: list[Bundle]
    requests: list[int]

    @property
    def n_bytes(self) -> int:
        return sum(bundle.n_bytes for bundle in self.bundles)


def run(report: Report, engine: TransformersEngine, *, locomo: Path | None) -> None:
    cost = _calibrated(engine)
    report.figures["policy.prefill"] = {"linear_s": cost.linear_s, "quadratic_s": cost.quadratic_s}
    bytes_per_token = engine.identity.spec.bytes_per_token / 2 / INT4_RATIO
    traces = [_synthetic(random.Random(seed), cost, bytes_per_token) for seed in range(SEEDS)]
    _table(report, "synthetic", traces)
    if locomo is not None:
        _table(report, "LoCoMo", [_recalls(random.Random(s), locomo, cost, bytes_per_token) for s in range(SEEDS)])


def _calibrated(engine: TransformersEngine) -> PrefillCost:
    """CPU prefill of three lengths, fitted."""
    samples = []
    for n_tokens in (128, 512, 1536):
        started = time.process_time()
        engine.build([1000] * n_tokens)
        samples.append((n_tokens, time.process_time() - started))
    return fit_prefill(samples)


def _table(report: Report, name: str, traces: Sequence[Trace]) -> None:
    rows = []
    for share in (0.05, 0.10):
        net = {}
        for arm, rules in arms(int(len(traces[0].requests) * WINDOW_SHARE)).items():
            outcomes = [
                simulate(t.requests, t.bundles, capacity_bytes=int(t.n_bytes * share), rules=rules) for t in traces
            ]
            net[arm] = mean(outcome.net_share for outcome in outcomes)
            gigabytes = mean(t.n_bytes * share / 1e9 for t in traces)
            rows.append(_row(f"{arm} @ {share:.0%}", outcomes, gigabytes))
            report.figures[f"policy.{name}.{arm}.{share}"] = {
                "hit": mean(o.hit_share for o in outcomes),
                "saved": mean(o.saved_share for o in outcomes),
                "net": net[arm],
                "built_s": mean(o.built_s for o in outcomes),
            }
        report.goal(f"{name} @ {share:.0%}: net gain of {OURS} over LRU", net[OURS] - net["LRU"], ">=", 0.0)
    columns = ("policy @ budget", "hits", "prefill saved", "net of builds", "built s", "saved s/GB")
    size = f"{len(traces[0].requests)} requests, {len(traces[0].bundles)} prefixes, {len(traces)} seeds"
    report.table(f"Policy on the {name} trace: {size}, against CPU prefill", columns, rows)


def _row(name: str, outcomes: Sequence[Outcome], gigabytes: float) -> list[str]:
    return [
        name,
        f"{mean(o.hit_share for o in outcomes):.2f}",
        f"{mean(o.saved_share for o in outcomes):.2f}",
        f"{mean(o.net_share for o in outcomes):+.2f}",
        f"{mean(o.built_s for o in outcomes):.0f}",
        f"{mean(o.saved_s for o in outcomes) / gigabytes:.0f}",
    ]


def _bundle(n_tokens: int, cost: PrefillCost, bytes_per_token: float) -> Bundle:
    n_bytes = int(n_tokens * bytes_per_token)
    return Bundle(n_bytes, cost.seconds(n_tokens), LOAD.seconds(n_bytes, "int4"))


def _synthetic(rng: random.Random, cost: PrefillCost, bytes_per_token: float) -> Trace:
    lengths = [max(16, int(MEDIAN_TOKENS * rng.lognormvariate(0, TOKENS_SIGMA))) for _ in range(BUNDLES)]
    weights = [(rank + 1) ** -ZIPF for rank in range(BUNDLES)]
    by_rank = list(range(BUNDLES))
    rng.shuffle(by_rank)
    requests: list[int] = []
    while len(requests) < REQUESTS:
        requests += [by_rank[rank] for rank in rng.choices(range(BUNDLES), weights, k=DRIFT_EVERY)]
        moved = rng.sample(range(BUNDLES), BUNDLES // 10)
        bundles = [by_rank[rank] for rank in moved]
        rng.shuffle(bundles)
        for rank, bundle in zip(moved, bundles, strict=True):
            by_rank[rank] = bundle
    return Trace([_bundle(n, cost, bytes_per_token) for n in lengths], requests)


def _recalls(rng: random.Random, path: Path, cost: PrefillCost, bytes_per_token: float) -> Trace:
    """Sessions as prefixes (four characters to a token), questions in random order as requests for them."""
    bundles: list[Bundle] = []
    requests: list[list[int]] = []
    for sample in json.loads(path.read_text(encoding="utf-8")):
        places: dict[str, int] = {}
        for name, turns in sample["conversation"].items():
            if name.startswith("session_") and isinstance(turns, list):
                places[name.removeprefix("session_")] = len(bundles)
                n_tokens = max(16, sum(len(turn["speaker"]) + len(turn["text"]) + 3 for turn in turns) // 4)
                bundles.append(_bundle(n_tokens, cost, bytes_per_token))
        for question in sample["qa"]:
            sessions = {evidence.removeprefix("D").split(":")[0] for evidence in question["evidence"]}
            requests.append([places[s] for s in sorted(sessions) if s in places])
    rng.shuffle(requests)
    return Trace(bundles, [bundle for asked in requests for bundle in asked])
