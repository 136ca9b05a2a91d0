"""Writing beside the bare embedder: what remains of its rate when storing, indexing and answering come on
top.

Batches alternate, one through HTTP and one through the embedder alone, on texts of the same corpus that were
never seen before. Single messages are what an agent sends in a conversation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.corpus import SESSION, Memory, memories
from benchmarks.metrics import Latency
from benchmarks.options import cube_name
from benchmarks.report import Report, figure, progress
from benchmarks.speed_run import Tools

BATCH = SESSION
SINGLES = 100


def measure_adding(tools: Tools, report: Report, *, batches: int, policy: Mapping[str, Any]) -> None:
    """Batches of 100 and single messages into a new cube; figures, table and goal go into the report."""
    cube = str(tools.client.create_cube(cube_name("speed-adding"), policy=policy)["id"])
    # The first batch of each kind warms up and is not counted.
    texts = list(memories(f"{tools.seed}-adding", 2 * (batches + 1) * BATCH + SINGLES))
    served_ms: list[float] = []
    bare_ms: list[float] = []
    with progress("Adding in batches", batches + 1) as step:
        for number in range(batches + 1):
            start = 2 * number * BATCH
            served_ms.append(_add(tools, cube, texts[start : start + BATCH]))
            if tools.embedder is not None:
                bare_ms.append(_embed(tools, texts[start + BATCH : start + 2 * BATCH]))
            step()
    with progress("Adding one by one", SINGLES) as step:
        singles_ms = []
        for one in texts[-SINGLES:]:
            singles_ms.append(_add(tools, cube, [one]))
            step()
    served = _rate(served_ms[1:])
    bare = _rate(bare_ms[1:])
    single = Latency.of(singles_ms)
    report.figures["adding"] = {
        "turns_per_s": served,
        "bare_embedder_turns_per_s": bare,
        "share_of_bare": served / bare,
        "single_message": single,
        "retried_writes": tools.client.retried_writes,
    }
    report.table(
        "Adding",
        ("", "turns/s in batches of 100", "share of the bare embedder", "one message p50", "p95"),
        [
            (
                "over HTTP",
                f"{served:.0f}",
                figure(served / bare, 2),
                f"{single.p50_ms:.1f} ms",
                f"{single.p95_ms:.1f} ms",
            ),
            ("bare embedder", figure(bare, 0), "", "", ""),
        ],
    )
    if not math.isnan(bare):
        report.goal("adding / bare embedder", served / bare, ">=", 0.7)


def _add(tools: Tools, cube: str, batch: list[Memory]) -> float:
    messages = [memory.message() for memory in batch]
    return tools.client.add_messages(cube, batch[0].session_id, messages).elapsed_ms


def _embed(tools: Tools, batch: list[Memory]) -> float:
    assert tools.embedder is not None
    started = time.perf_counter()
    tools.embedder.embed([memory.content for memory in batch])
    return (time.perf_counter() - started) * 1000


def _rate(batches_ms: list[float]) -> float:
    """Turns per second; NaN when nothing was measured."""
    return len(batches_ms) * BATCH / (sum(batches_ms) / 1000) if batches_ms else math.nan
