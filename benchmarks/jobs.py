"""Jobs per second with one and two worker processes, and a drill: workers, broker and database killed in turn.

Thousands of jobs wait while `kill -9` hits every process of the workers, of Valkey, of PostgreSQL, again and again. In the
end each job must have ended well, and its effect must be there exactly once. Most are tallies, whose effect would show
if it happened twice; the others are what real writes promise: a turn is read, and one fact comes of it.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import psycopg

from benchmarks.jobs_ground import KILLED, Ground, ended_or_none, ground, wait_for
from benchmarks.jobs_worker import IDLE, TALLY
from benchmarks.options import parser, settings_of
from benchmarks.report import Report, figure, progress
from memos.observing import configure_logging
from memos.rules.access import Principal
from memos.services import administer, remember
from memos.services.attempt import LEASE_S
from memos.services.remember import MessageIn, utc_now
from memos.settings import Settings
from memos.store import cubes, jobs
from memos.wiring import App

TALLY_CUBES = 8
# One job in so many belongs to a real write; each write promises two (reading it, and moving its vector into the graph).
REAL_SHARE = 20
JOBS_OF_A_WRITE = 2
BATCH = 500
# A dead worker's job is due again after its lease of a minute; everything else is a matter of seconds.
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: how many jobs had ended by then, and the seconds until the next one ended."""

    target: str
    ended_before: int
    resumed_s: float


@dataclass(frozen=True, slots=True)
class Count:
    """What became of everything. `lost` and `twice` count jobs by their effects, tallies and facts alike."""

    jobs: int
    succeeded: int
    lost: int
    twice: int
    tried_again: int


def main(argv: Sequence[str]) -> int:
    made = parser("jobs", __doc__)
    made.add_argument("--jobs", type=int, default=10_000, metavar="N", help="queued when the killing begins")
    made.add_argument("--kills", type=int, default=10, metavar="N")
    made.add_argument("--speed-jobs", type=int, default=2_000, metavar="N", help="jobs of each throughput run")
    made.add_argument("--processes", type=int, default=2, metavar="N", help="worker processes during the drill")
    made.add_argument(
        "--lease", type=float, default=LEASE_S, metavar="S", help="after which a dead worker's job is due"
    )
    made.add_argument("--seed", type=int, default=1)
    arguments = made.parse_args(argv)
    report = Report("jobs", settings=settings_of(arguments), out_dir=arguments.out)
    configure_logging(Settings(log_level="ERROR"), process="benchmark")
    with ground() as (place, app, who):
        _publish_speeds(report, _speeds(place, app, who, make_cubes(app, who), arguments.speed_jobs))
    with ground() as (place, app, who):
        count = _publish_drill(report, drill(place, app, who, make_cubes(app, who), arguments))
    report.finish()
    return 0 if count.lost == count.twice == 0 and count.succeeded == count.jobs else 1


# ---------------------------------------------------------------- how fast


def _speeds(place: Ground, app: App, who: Principal, cube_ids: Sequence[UUID], number: int) -> dict[str, list[float]]:
    """Jobs a second by kind, with one worker process and with two."""
    found: dict[str, list[float]] = {IDLE: [], TALLY: []}
    with progress("Measuring", 4) as step:
        for processes in (1, 2):
            for kind, rates in found.items():
                before = ended_or_none(place) or 0
                _queue(app, who, cube_ids, number, kind)
                place.start_parts(processes)
                wait_for(place, before + number, PATIENCE_S)
                place.stop_parts()
                rates.append(_rate(place, kind))
                step()
    return found


def _rate(place: Ground, kind: str) -> float:
    """Jobs a second between the first start and the last end, of those that ended; and forget them."""
    with place.connect() as connection:
        row = connection.execute(
            "SELECT count(*), extract(epoch FROM max(finished_at) - min(started_at)) FROM jobs "
            "WHERE kind = %s AND state = 'succeeded'",
            [kind],
        ).fetchone()
        connection.execute("DELETE FROM jobs WHERE kind = %s", [kind])
    assert row is not None
    return float(row[0]) / float(row[1])


def _publish_speeds(report: Report, speeds: dict[str, list[float]]) -> None:
    about = {IDLE: "a job that does nothing", TALLY: "a job that writes a revision"}
    report.table(
        "Jobs a second",
        ("", "1 process", "2 processes"),
        [(about[kind], *(figure(rate, 0) for rate in rates)) for kind, rates in speeds.items()],
    )
    report.figures["jobs_per_s"] = {
        about[kind]: dict(zip(("1", "2"), rates, strict=True)) for kind, rates in speeds.items()
    }


# ---------------------------------------------------------------- the drill


def drill(
    place: Ground, app: App, who: Principal, cube_ids: Sequence[UUID], arguments: argparse.Namespace
) -> tuple[list[Kill], Count, float]:
    """The kills, the final count, and the seconds all of it took."""
    writes = arguments.jobs // REAL_SHARE // JOBS_OF_A_WRITE
    real = [_write(app, who, number) for number in range(writes)]
    tallies = arguments.jobs - writes * JOBS_OF_A_WRITE
    _queue(app, who, cube_ids, tallies, TALLY)
    lot, kills, started = random.Random(arguments.seed), [], time.monotonic()
    place.start_parts(arguments.processes, arguments.lease)
    with progress("Killing", arguments.kills) as step:
        for number in range(arguments.kills):
            # Between two equal shares of the work, at a moment nobody chose.
            wait_for(place, arguments.jobs * (number + 1) // (arguments.kills + 2), PATIENCE_S)
            time.sleep(lot.uniform(0.0, 0.3))
            kills.append(_kill(place, KILLED[number % len(KILLED)]))
            step()
    wait_for(place, arguments.jobs, PATIENCE_S)
    took_s = time.monotonic() - started
    place.stop_parts()
    with place.connect() as connection:
        return kills, _count(connection, tallies, real), took_s


def _kill(place: Ground, target: str) -> Kill:
    place.kill(target)
    killed = time.monotonic()
    if target == "database":
        place.revive(target)
        before = ended_or_none(place) or 0
    else:
        before = ended_or_none(place) or 0
        place.revive(target)
    wait_for(place, before + 1, PATIENCE_S)
    return Kill(target, before, time.monotonic() - killed)


def _count(connection: psycopg.Connection, tallies: int, real: Sequence[UUID]) -> Count:
    """Effects by number: how often each tally is there, and how many facts and readings each written turn has led to."""
    applied = {
        int(number): int(times)
        for number, times in connection.execute(
            "SELECT split_part(c.text, ' ', 2), count(*) FROM memory_versions v JOIN contents c "
            "ON c.tenant_id = v.tenant_id AND c.id = v.content_id WHERE c.text LIKE 'tally %' GROUP BY 1"
        )
    }
    facts: dict[UUID, int] = dict(
        connection.execute(
            "SELECT cube_id, count(*) FROM memory_versions WHERE kind = 'fact' AND cube_id = ANY(%s) GROUP BY 1",
            [list(real)],
        ).fetchall()
    )
    times = [applied.get(number, 0) for number in range(tallies)] + [facts.get(cube_id, 0) for cube_id in real]
    row = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE state = 'succeeded'), count(*) FILTER (WHERE attempts > 1) FROM jobs"
    ).fetchone()
    assert row is not None
    lost, twice = sum(n == 0 for n in times), sum(n > 1 for n in times)
    return Count(jobs=row[0], succeeded=row[1], lost=lost, twice=twice, tried_again=row[2])


def _publish_drill(report: Report, done: tuple[list[Kill], Count, float]) -> Count:
    kills, count, took_s = done
    report.table(
        "kill -9 while jobs wait",
        ("killed", "jobs ended before", "until the next ended"),
        [(kill.target, str(kill.ended_before), f"{kill.resumed_s:.1f} s") for kill in kills],
    )
    report.table(
        "Counted by effect",
        ("jobs", "succeeded", "lost", "applied twice", "tried again", "took"),
        [(*(str(n) for n in asdict(count).values()), f"{took_s:.0f} s")],
    )
    report.figures |= {"drill": asdict(count) | {"took_s": took_s}, "kills": [asdict(kill) for kill in kills]}
    report.goal("jobs lost", count.lost + count.jobs - count.succeeded, "<=", 0)
    report.goal("jobs applied twice", count.twice, "<=", 0)
    return count


# ---------------------------------------------------------------- what is queued


def make_cubes(app: App, who: Principal) -> list[UUID]:
    """Where tallies are written: a few, because writers of one cube take turns."""
    return [_cube(app, who, f"tally-{n}") for n in range(TALLY_CUBES)]


def _cube(app: App, who: Principal, name: str) -> UUID:
    with app.database.transaction(who.tenant_id) as tx:
        return administer.create_cube(tx, who, name=name, description="", policy={}, now=utc_now()).id


def _queue(app: App, who: Principal, cube_ids: Sequence[UUID], number: int, kind: str) -> None:
    """Promised as a writer would, a batch a transaction."""
    for batch in _batches(number):
        with app.database.transaction(who.tenant_id) as tx:
            for n in batch:
                payload: dict[str, Any] = {"number": n}
                jobs.promise(tx, kind, cube_id=cube_ids[n % len(cube_ids)], payload=payload)


def _batches(number: int) -> Iterator[range]:
    for start in range(0, number, BATCH):
        yield range(start, min(start + BATCH, number))


def _write(app: App, who: Principal, number: int) -> UUID:
    """A cube with one turn, which promises the jobs of a write and from which one fact can be read."""
    cube_id, now = _cube(app, who, f"write-{number}"), utc_now()
    said = MessageIn("user", "I live in Lyon.", name="Ana")
    prepared = remember.prepare_messages(
        app.embedder, str(cube_id), session_id="s", messages=[said], branch=cubes.MAIN, now=now
    )
    with app.database.transaction(who.tenant_id) as tx:
        remember.write(tx, who, prepared, now=now)
    return cube_id
