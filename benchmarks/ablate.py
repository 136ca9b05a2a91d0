"""What each part is worth: the LoCoMo questions again and again, on the same memories, with one thing changed
at a time.

A variant is a name and the search fields that differ from the default, such as {"budget": "low"}. Variants
that need other memories (another cube policy) give a `policy` too and are replayed into cubes of their own.
The built-in ones show the frontier low / mid / high / auto (`mid` is `auto` with the router off) and single
granularities, and then what each part of the ranking gains (see ablate_parts.py); --variants reads more from
a file: {"name": {"search": {...}, "policy": {...}}, ...}. The first variant is the one the others are
compared with.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.ablate_parts import ask_parts, publish_parts
from benchmarks.client import MemosClient
from benchmarks.locomo import Answer, ask_all, raw_row, scores
from benchmarks.locomo_data import Conversation, load
from benchmarks.locomo_replay import replayed
from benchmarks.metrics import Latency, mean
from benchmarks.options import add_search_options, parser, service_of, settings_of
from benchmarks.report import Report, figure


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    search: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)


BUILT_IN = (
    Variant("auto"),
    Variant("budget low", {"budget": "low"}),
    Variant("budget mid", {"budget": "mid"}),
    Variant("budget high", {"budget": "high"}),
    Variant("turns only", {"granularity": "turn"}),
)
MEASURES = ("R@5", "R@10", "any@10", "MRR")


def main(argv: Sequence[str]) -> int:
    made = parser("ablate", __doc__)
    made.add_argument("--data", type=Path, required=True, metavar="FILE")
    made.add_argument("--variants", type=_read_variants, default=BUILT_IN, metavar="FILE")
    add_search_options(made)
    arguments = made.parse_args(argv)
    conversations = load(arguments.data)
    report = Report("ablate", settings=settings_of(arguments), out_dir=arguments.out)
    answers: dict[str, list[Answer]] = {}
    parts: dict[str, list[Answer]] = {}
    with service_of(arguments) as service, MemosClient(service.url, service.key) as client:
        report.settings["service"] = service.description
        # Neighbours with the same policy share one replay.
        for _, group in groupby(arguments.variants, key=lambda variant: json.dumps(variant.policy, sort_keys=True)):
            given, reasons = _ask_group(client, conversations, list(group), arguments, report, parts=not answers)
            answers |= given
            parts = parts or reasons
    publish(report, answers)
    publish_parts(report, parts)
    report.finish()
    return 0


def _ask_group(
    client: MemosClient,
    conversations: Sequence[Conversation],
    variants: Sequence[Variant],
    arguments: argparse.Namespace,
    report: Report,
    *,
    parts: bool,
) -> tuple[dict[str, list[Answer]], dict[str, list[Answer]]]:
    """The answers of each variant, and with `parts` those of the first without each part of the ranking."""
    policy = {**arguments.policy, **variants[0].policy}
    sources = arguments.credit == "sources"
    with replayed(client, conversations, report, policy=policy, jobs_timeout_s=arguments.jobs_timeout) as done:
        given = {
            variant.name: ask_all(client, done, sources=sources, extra={**arguments.search, **variant.search})
            for variant in variants
        }
        first = {**arguments.search, **variants[0].search}
        return given, ask_parts(client, done, sources=sources, extra=first) if parts else {}


def publish(report: Report, answers: Mapping[str, Sequence[Answer]]) -> None:
    """One row a variant: its figures, and its gain and milliseconds against the first."""
    figures = {name: scores(given) for name, given in answers.items()}
    latencies = {name: Latency.of([answer.elapsed_ms for answer in given]) for name, given in answers.items()}
    effort = {
        name: {
            "mean_ms": mean([answer.elapsed_ms for answer in given]),
            "candidates": mean([answer.candidates for answer in given]),
            "escalated": mean([float(answer.escalated) for answer in given]),
        }
        for name, given in answers.items()
    }
    first = next(iter(figures))
    rows = [
        (
            name,
            *(figure(figures[name][measure]) for measure in MEASURES),
            f"{100 * (figures[name]['R@10'] - figures[first]['R@10']):+.1f}",
            f"{latencies[name].p50_ms:.1f}",
            f"{latencies[name].p50_ms - latencies[first].p50_ms:+.1f}",
            f"{effort[name]['mean_ms']:.1f}",
            f"{effort[name]['candidates']:.0f}",
            f"{effort[name]['escalated']:.0%}",
        )
        for name in figures
    ]
    columns = ("variant", *MEASURES, "R@10, points", "p50 ms", "ms more", "mean ms", "candidates", "looked again")
    report.table(f"LoCoMo, compared with '{first}'", columns, rows)
    report.figures |= {"quality": figures, "search_latency": latencies, "effort": effort}
    if {"auto", "budget high"} <= effort.keys():
        # Goal of issue 4: as good as everything, within a point, for half of the work.
        auto, everything = effort["auto"], effort["budget high"]
        report.goal(
            "auto: recall@10 below 'high'", figures["budget high"]["R@10"] - figures["auto"]["R@10"], "<=", 0.01
        )
        report.goal("auto: share of the time of 'high'", auto["mean_ms"] / everything["mean_ms"], "<=", 0.5)
        if everything["candidates"]:
            report.goal("auto: share of its candidates", auto["candidates"] / everything["candidates"], "<=", 0.5)
    report.raw = [{"variant": name, **raw_row(answer)} for name, given in answers.items() for answer in given]


def _read_variants(path: str) -> tuple[Variant, ...]:
    described = json.loads(Path(path).read_text())
    return tuple(Variant(name, **fields) for name, fields in described.items())
