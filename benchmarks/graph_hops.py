"""What a walk brings to questions of several hops, on FactConsolidation-format files (MemoryAgentBench).

The file's facts are stored as facts and read by the job `extract`; each question is searched for as `POST .../search` does,
which walks from the best hits where `memos.rules.graph_routing` says so, and then put in the order it would have without what the
walk gave. A question counts as reached when one of the first results holds its answer's words. The time of a walk is taken apart.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.graph_chains import chains
from benchmarks.metrics import Latency, mean
from benchmarks.report import Report, figure, progress
from memos.rules.access import Principal
from memos.rules.header import Kind
from memos.rules.understanding import understand
from memos.services import administer, extract, remember, work
from memos.services.gathering import Scored, SearchQuery, gather
from memos.services.graph_channel import graph_gains
from memos.services.remember import ItemIn
from memos.store import cubes
from memos.wiring import App

_NUMBERED = re.compile(r"^\d+\.\s+(?P<fact>\S.*)$", re.MULTILINE)
BATCH = 50
DEEP = 200
"""Results asked for, to be put in order again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: whether its answer is in the first results, before and after, and what the walk took."""

    before: tuple[bool, bool]
    after: tuple[bool, bool]
    walked: bool
    walk_ms: float


def measure_hops(app: App, who: Principal, path: Path, report: Report) -> None:
    """One row per set of questions in the file, and two of made-up facts, which know other relations (graph_chains.py)."""
    rows = []
    for sample in json.loads(path.read_text()):
        name = str(sample["metadata"]["qa_pair_ids"][0]).rpartition("_no")[0]
        cube = _fill(app, who, name, [match["fact"] for match in _NUMBERED.finditer(sample["context"])])
        questions = list(zip(sample["questions"], sample["answers"], strict=True))
        rows.append(_asked(app, who, cube, name, questions, report))
    made = chains()
    cube = _fill(app, who, "made-up", made.facts)
    for name, asked in (("made-up chains", made.chained), ("made-up single facts", made.plain)):
        questions = [(question, [answer]) for question, answer in asked]
        rows.append(_asked(app, who, cube, name, questions, report))
    columns = ("questions", "@5", "@5 with walks", "@10", "@10 with walks", "walked", "walk p50")
    report.table("Answers among the first facts", columns, rows)


def _asked(
    app: App, who: Principal, cube: str, name: str, questions: Sequence[tuple[str, Sequence[str]]], report: Report
) -> tuple[str, ...]:
    asked = []
    with progress(f"Asking {name}", len(questions)) as step:
        for question, answers in questions:
            asked.append(_ask(app, who, cube, question, answers))
            step()
    return _row(name, asked, report)


def _fill(app: App, who: Principal, name: str, facts: Sequence[str]) -> str:
    now = datetime.now(UTC)
    with app.database.transaction(who.tenant_id) as tx:
        cube = administer.create_cube(tx, who, name=f"hops-{name}", description="", policy={}, now=now).name
    for start in range(0, len(facts), BATCH):
        items = [ItemIn(kind=Kind.FACT, content=text) for text in facts[start : start + BATCH]]
        prepared = remember.prepare_items(app.embedder, cube, items=items, branch=cubes.MAIN, now=now)
        with app.database.transaction(who.tenant_id) as tx:
            remember.write(tx, who, prepared, now=now)
    with app.database.transaction(who.tenant_id) as tx:
        job = extract.request(tx, who, cube, branch=cubes.MAIN, again=False)
    work.run_job(app, who.tenant_id, job.id)
    return cube


def _ask(app: App, who: Principal, cube: str, question: str, answers: Sequence[str]) -> Asked:
    now = datetime.now(UTC)
    found = gather(app.recall, who, [cube], SearchQuery(question, limit=DEEP), clock=now).scored
    without = sorted(found, key=lambda one: -(one.ranked.evidence - one.ranked.channels.get("graph", 0.0)))
    best = [(one.row.memory_id, one.row.kind, one.ranked.score) for one in without]
    started = time.perf_counter()
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        view, names = cubes.view(tx, cube), understand(question, now).entities
        gains = graph_gains(tx, view, question, names, best, budget="auto", as_of=now)
    walk_ms = (time.perf_counter() - started) * 1_000
    return Asked(_reached(without, answers), _reached(found, answers), bool(gains), walk_ms)


def _reached(found: Sequence[Scored], answers: Sequence[str]) -> tuple[bool, bool]:
    """Among the first five, and among the first ten."""
    holds = [any(answer.casefold() in one.row.text.casefold() for answer in answers) for one in found[:10]]
    return any(holds[:5]), any(holds)


def _row(name: str, asked: Sequence[Asked], report: Report) -> tuple[str, ...]:
    figures = {
        "questions": len(asked),
        "at_5": mean([float(one.before[0]) for one in asked]),
        "at_5_walking": mean([float(one.after[0]) for one in asked]),
        "at_10": mean([float(one.before[1]) for one in asked]),
        "at_10_walking": mean([float(one.after[1]) for one in asked]),
        "walked": mean([float(one.walked) for one in asked]),
    }
    latency = Latency.of([one.walk_ms for one in asked if one.walked] or [0.0])
    report.figures.setdefault("hops", {})[name] = figures | {"walk": latency}
    shares = [figure(figures[key]) for key in ("at_5", "at_5_walking", "at_10", "at_10_walking")]
    return (f"{name} ({len(asked)})", *shares, f"{figures['walked']:.0%}", f"{latency.p50_ms:.1f} ms")
