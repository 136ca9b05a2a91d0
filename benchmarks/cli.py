"""The commands: `memos eval NAME ...` and `python -m benchmarks NAME ...` both come here.

Adding a benchmark is adding a line to BENCHMARKS. Its module is imported when it is asked for, so that
`--help` and the others do not pay for what one of them needs.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

# Name: (module with main(argv) -> int, what it measures).
BENCHMARKS = {
    "locomo": ("benchmarks.locomo", "evidence recall on LoCoMo-format conversations"),
    "context": ("benchmarks.locomo_context", "evidence inside a token budget on LoCoMo-format conversations"),
    "longmemeval": ("benchmarks.longmemeval", "sessions and turns found on LongMemEval-format files"),
    "conflict": ("benchmarks.conflict", "newest fact ranked above the stale one (FactConsolidation)"),
    "lifecycle": ("benchmarks.lifecycle", "a year of use with forgetting and without: memories, times, recall"),
    "consolidate": ("benchmarks.consolidation", "ten thousand memories consolidated: time, memory, counts"),
    "ablate": ("benchmarks.ablate", "LoCoMo with one thing changed at a time: gain and milliseconds"),
    "graph": ("benchmarks.graph", "building the graph, walks over it at volume, questions of several hops"),
    "speed": ("benchmarks.speed", "latency, rates and memory at volume, beside the floor"),
    "kv": ("benchmarks.kv_codecs", "KV codecs, time to first token, composition, policy"),
    "crash": ("benchmarks.crash", "kill -9 of everything under writers: nothing acknowledged is lost"),
    "load": (
        "benchmarks.load",
        "a hundred users for minutes, with a rolling restart: errors, latency, memory over time",
    ),
    "restore": ("benchmarks.restore", "export, wipe, import; backup, restore: the same answers and hashes"),
    "isolation": ("benchmarks.isolation", "tenants probing one another on every route and page: leaks"),
    "poison": ("benchmarks.poison", "planted instructions and facts: set aside or outranked; false alarms"),
    "jobs": ("benchmarks.jobs", "jobs a second; none lost or doubled while workers, broker and database are killed"),
    "concurrency": ("benchmarks.concurrency", "searching and writing at once, without an error"),
}


def main(argv: Sequence[str]) -> int:
    """`argv` is what follows `memos eval`. Returns an exit code: 0 measured, 2 no such benchmark."""
    if not argv or argv[0] in {"-h", "--help"}:
        sys.stdout.write(usage())
        return 0 if argv else 2
    if argv[0] not in BENCHMARKS:
        sys.stderr.write(f"memos eval: no benchmark {argv[0]!r}\n\n{usage()}")
        return 2
    return run(argv[0], argv[1:])


def run(name: str, argv: Sequence[str]) -> int:
    """Run one benchmark with its own options; KeyError for a name that is not in BENCHMARKS."""
    module = importlib.import_module(BENCHMARKS[name][0])
    return int(module.main(argv))


def usage() -> str:
    width = max(map(len, BENCHMARKS))
    lines = [f"  {name:{width}}  {about}" for name, (_, about) in BENCHMARKS.items()]
    return "\n".join(["usage: memos eval NAME [options]   (memos eval NAME --help)", "", *lines, ""])
