"""Consolidation at volume: how long it takes, how much memory, what there is before and after, and that rolling it back
leaves what was there.

The corpus is synthetic (corpus.py), with a share of turns that repeat an earlier one in hardly other words, so that there is
something to merge. Through the service's own library on a database of its own: the job runs in this process, whose
memory is what is measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psutil

from benchmarks.corpus import SESSION, Memory, memory
from benchmarks.lifecycle import fresh_service
from benchmarks.options import parser, settings_of
from benchmarks.report import Report, figure, progress
from memos.encoders.embedder import DEFAULT_EMBEDDER
from memos.observing import configure_logging
from memos.rules.access import Principal
from memos.services import administer, branch, consolidate, remember, work
from memos.services.remember import MessageIn
from memos.settings import Settings
from memos.store import cubes, jobs, memories
from memos.wiring import App

MIB = 2**20
EVERY_S = 0.05
CUBE = "consolidated"


def main(argv: Sequence[str]) -> int:
    made = parser("consolidate", __doc__)
    made.add_argument("--memories", type=int, default=10_000, metavar="N")
    made.add_argument("--repeat-every", type=int, default=20, metavar="N", help="each N-th turn repeats an earlier one")
    made.add_argument("--seed", default="much")
    made.add_argument("--embedder", default=DEFAULT_EMBEDDER)
    arguments = made.parse_args(argv)
    report = Report("consolidate", settings=settings_of(arguments), out_dir=arguments.out)
    configure_logging(Settings(log_level="WARNING"), process="benchmark")
    with fresh_service(arguments.embedder) as (app, who):
        fill(app, who, arguments)
        before = counts(app, who)
        with peak() as first:
            result = run(app, who)
        after = counts(app, who)
        with peak() as second:
            again = run(app, who)
        undone = roll_back(app, who, before["revision"])
    publish(report, before, after, undone, [first, second], [result, again])
    report.finish()
    return 0


def fill(app: App, who: Principal, arguments: Any) -> None:
    with app.database.transaction(who.tenant_id) as tx:
        policy = {"extraction": {"enabled": False}}
        administer.create_cube(tx, who, name=CUBE, description="", policy=policy, now=datetime.now(UTC))
    with progress("Writing", arguments.memories) as step:
        for start in range(0, arguments.memories, SESSION):
            turns = [turn(arguments, number) for number in range(start, min(start + SESSION, arguments.memories))]
            messages = [
                MessageIn("user", content, name=one.speaker, external_id=f"m{number}", created_at=one.created_at)
                for number, one, content in turns
            ]
            now = datetime.now(UTC)
            prepared = remember.prepare_messages(
                app.embedder, CUBE, session_id=turns[0][1].session_id, messages=messages, branch=cubes.MAIN, now=now
            )
            with app.database.transaction(who.tenant_id) as tx:
                remember.write(tx, who, prepared, now=now)
            step(len(turns))
    for due in work.due(app, 1_000):
        work.run_job(app, who.tenant_id, due.job_id)


def turn(arguments: Any, number: int) -> tuple[int, Memory, str]:
    """(number, turn, its text): of every so many one says what its predecessor of the same session has said."""
    one = memory(arguments.seed, number)
    if number % SESSION == 0 or number % arguments.repeat_every:
        return number, one, one.content
    earlier = memory(arguments.seed, number - 1)
    return number, earlier, f"Oh, {earlier.content[:1].lower()}{earlier.content[1:]}"


def run(app: App, who: Principal) -> dict[str, Any]:
    """The result of one run of the job; RuntimeError when it did not succeed."""
    with app.database.transaction(who.tenant_id) as tx:
        job_id = consolidate.request(tx, who, CUBE, branch=cubes.MAIN).id
    state = work.run_job(app, who.tenant_id, job_id)
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        job = jobs.get(tx, job_id)
    if state != "succeeded":
        raise RuntimeError(f"the consolidation ended as {state}: {job.error}")
    return job.result or {}


def counts(app: App, who: Principal) -> dict[str, Any]:
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        view = cubes.view(tx, CUBE)
        return {**memories.counts(tx, view), "live": view.branch.live_count, "revision": view.branch.head_revision}


def roll_back(app: App, who: Principal, revision: int) -> dict[str, Any]:
    with app.database.transaction(who.tenant_id) as tx:
        branch.rollback(tx, who, CUBE, to=revision, branch=cubes.MAIN, now=datetime.now(UTC))
    return counts(app, who)


@contextmanager
def peak() -> Iterator[dict[str, float]]:
    """Seconds, and by how much the resident memory of this process rose at its highest, in MiB."""
    process, told, over = psutil.Process(), {"before_mib": 0.0, "peak_mib": 0.0, "seconds": 0.0}, threading.Event()
    told["before_mib"] = process.memory_info().rss / MIB

    def watch() -> None:
        while not over.wait(EVERY_S):
            told["peak_mib"] = max(told["peak_mib"], process.memory_info().rss / MIB - told["before_mib"])

    watcher = threading.Thread(target=watch, name="peak", daemon=True)
    watcher.start()
    started = time.perf_counter()
    try:
        yield told
    finally:
        told["seconds"] = time.perf_counter() - started
        over.set()
        watcher.join()


def publish(
    report: Report,
    before: dict[str, Any],
    after: dict[str, Any],
    undone: dict[str, Any],
    costs: Sequence[dict[str, float]],
    results: Sequence[dict[str, Any]],
) -> None:
    states = sorted({*before["by_state"], *after["by_state"]})
    kinds = sorted({*before["by_kind"], *after["by_kind"]})
    report.table(
        "Memories",
        ("", "live", *states, *kinds),
        [
            (
                name,
                str(one["live"]),
                *(str(one["by_state"].get(state, 0)) for state in states),
                *(str(one["by_kind"].get(kind, 0)) for kind in kinds),
            )
            for name, one in (("before", before), ("after", after), ("rolled back", undone))
        ],
    )
    report.table(
        "Runs",
        ("", "seconds", "memory before, MiB", "rise at most, MiB", "episodes", "merged", "unchanged"),
        [
            (
                name, figure(cost["seconds"], 1), figure(cost["before_mib"], 0), figure(cost["peak_mib"], 0),
                *(str(result.get(field, 0)) for field in ("episodes", "merged", "unchanged")),
            )
            for name, cost, result in zip(("first", "again, with nothing new"), costs, results, strict=True)
        ],
    )  # fmt: skip
    report.figures |= {"before": before, "after": after, "rolled_back": undone, "costs": costs, "results": results}
    report.goal("live memories after rolling back, of those before", undone["live"] / before["live"], ">=", 1.0)
    written = sum(results[1].get(field, 0) for field in ("episodes", "profiles", "procedures", "merged", "retired"))
    report.goal("written by a run with nothing new", written, "<=", 0)
