"""Searching and writing at once: 8 clients search and 2 write for 60 s, each in a thread with a connection of
its own.

Nothing may fail: any error, 5xx or timeout is counted by what it was. A 503 or a wait for a connection would
mean that a pool ran dry. All clients run in this one process on the machine of the service, so their own work
is in the times.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import httpx

from benchmarks.client import ApiError, MemosClient
from benchmarks.corpus import Questions, memories
from benchmarks.metrics import Latency
from benchmarks.options import cube_name, json_object, parser, service_of, settings_of
from benchmarks.processes import MemoryWatch, usage_rows
from benchmarks.report import Report, Step, progress
from benchmarks.server import Service

# Messages in each write: a few turns at a time, as a chat sends them.
WRITE_BATCH = 5
SEED = "concurrency"
START_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Tally:
    """What one client saw."""

    elapsed_ms: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    retried_writes: int = 0


@dataclass(frozen=True, slots=True)
class Together:
    """All clients of one kind."""

    latency: Latency
    per_s: float
    errors: dict[str, int]
    retried_writes: int


def main(argv: Sequence[str]) -> int:
    made = parser("concurrency", __doc__)
    made.add_argument("--seconds", type=float, default=60.0, metavar="S")
    made.add_argument("--searchers", type=int, default=8, metavar="N")
    made.add_argument("--writers", type=int, default=2, metavar="N")
    made.add_argument("--size", type=int, default=5_000, metavar="N", help="memories in the cube beforehand")
    made.add_argument("--policy", type=json_object, default={}, metavar="JSON")
    made.add_argument("--jobs-timeout", type=float, default=1800.0, metavar="S")
    arguments = made.parse_args(argv)
    report = Report("concurrency", settings=settings_of(arguments), out_dir=arguments.out)
    with service_of(arguments) as service, MemosClient(service.url, service.key) as client:
        report.settings["service"] = service.description
        cube = str(client.create_cube(cube_name("concurrency"), policy=arguments.policy)["id"])
        try:
            fill(client, cube, arguments.size)
            with progress("Waiting for background jobs", None) as step:
                client.wait_for_jobs(timeout_s=arguments.jobs_timeout, waiting=step)
            with MemoryWatch(service.pid, service.data_dir) as watch:
                searched, wrote = hammer(
                    service,
                    cube,
                    searchers=arguments.searchers,
                    writers=arguments.writers,
                    size=arguments.size,
                    seconds=arguments.seconds,
                )
            readable = bool(client.search(cube, "Who was there?", limit=1).hits)
        finally:
            client.delete_cube(cube)
    report.figures["peak_memory"] = watch.peaks
    publish(report, searched, wrote, seconds=arguments.seconds)
    report.figures["readable_afterwards"] = readable
    if watch.peaks:
        report.table("Peak memory", ("process", "how many", "RSS (sum)", "PSS (sum)"), usage_rows(watch.peaks))
    report.finish()
    return 0


def fill(client: MemosClient, cube: str, size: int) -> None:
    with progress("Filling the cube", size) as step:
        batch = 100
        for start in range(0, size, batch):
            part = list(memories(SEED, min(batch, size - start), first=start))
            client.add_messages(cube, f"before-{start}", [memory.message() for memory in part])
            step(len(part))


def hammer(
    service: Service, cube: str, *, searchers: int, writers: int, size: int, seconds: float
) -> tuple[list[Tally], list[Tally]]:
    """Run all clients for `seconds`; what the searching and the writing ones saw.

    Clients connect before the clock starts: opening one costs more than many requests.
    """
    stop = threading.Event()
    ready = threading.Barrier(searchers + writers + 1, timeout=START_TIMEOUT_S)
    jobs: list[tuple[Tally, Callable[[Tally], None]]] = [
        *((Tally(), _searcher(service, cube, number, size, ready, stop)) for number in range(searchers)),
        *((Tally(), _writer(service, cube, number, ready, stop)) for number in range(writers)),
    ]
    threads = [threading.Thread(target=run, args=(tally,), daemon=True) for tally, run in jobs]
    for thread in threads:
        thread.start()
    ready.wait()
    with progress(f"{searchers} searching, {writers} writing", round(seconds * 10)) as step:
        _wait(seconds, step)
    stop.set()
    for thread in threads:
        thread.join()
    tallies = [tally for tally, _ in jobs]
    return tallies[:searchers], tallies[searchers:]


def together(tallies: Sequence[Tally], seconds: float) -> Together:
    samples = [value for tally in tallies for value in tally.elapsed_ms]
    errors: Counter[str] = Counter()
    for tally in tallies:
        errors.update(tally.errors)
    return Together(
        Latency.of(samples),
        len(samples) / seconds,
        dict(errors),
        sum(tally.retried_writes for tally in tallies),
    )


def publish(report: Report, searched: Sequence[Tally], wrote: Sequence[Tally], *, seconds: float) -> None:
    """The table, figures, goals and raw samples."""
    kinds = {"search": together(searched, seconds), f"add {WRITE_BATCH} messages": together(wrote, seconds)}
    rows = [
        (
            f"{name}, {len(tallies)} clients",
            f"{kind.latency.count}",
            f"{kind.per_s:.1f}",
            f"{kind.latency.p50_ms:.1f}",
            f"{kind.latency.p95_ms:.1f}",
            f"{kind.latency.p99_ms:.1f}",
            ", ".join(f"{count} x {error}" for error, count in kind.errors.items()) or "none",
            f"{kind.retried_writes}",
        )
        for (name, kind), tallies in zip(kinds.items(), (searched, wrote), strict=True)
    ]
    columns = ("", "answers", "per second", "p50 ms", "p95 ms", "p99 ms", "errors", "429 waited out")
    report.table(f"Searching and writing at once for {seconds:.0f} s", columns, rows)
    report.figures |= kinds
    errors = sum(sum(kind.errors.values()) for kind in kinds.values())
    exhausted = sum(kind.errors.get("503", 0) for kind in kinds.values())
    report.goal("errors", errors, "<=", 0)
    report.goal("answers 503 (a pool ran dry)", exhausted, "<=", 0)
    report.raw = [
        {"kind": name, "client": number, "elapsed_ms": [round(value, 2) for value in tally.elapsed_ms]}
        for name, tallies in (("search", searched), ("add", wrote))
        for number, tally in enumerate(tallies)
    ]


def _searcher(
    service: Service, cube: str, number: int, size: int, ready: threading.Barrier, stop: threading.Event
) -> Callable[[Tally], None]:
    def run(tally: Tally) -> None:
        # Each asks a corpus of its own seed: questions about other names and the same topics cost as much.
        questions = Questions(f"{SEED}-{number}", max(size, 100_000))
        with MemosClient(service.url, service.key, timeout_s=30) as client:
            _timed(Tally(), partial(client.search, cube, questions.take(1)[0], limit=10))
            ready.wait()
            while not stop.is_set():
                _timed(tally, partial(client.search, cube, questions.take(1)[0], limit=10))

    return run


def _writer(
    service: Service, cube: str, number: int, ready: threading.Barrier, stop: threading.Event
) -> Callable[[Tally], None]:
    def run(tally: Tally) -> None:
        written = 0
        with MemosClient(service.url, service.key, timeout_s=30) as client:
            ready.wait()
            while not stop.is_set():
                batch = list(memories(f"{SEED}-writer-{number}", WRITE_BATCH, first=written))
                messages = [memory.message() for memory in batch]
                _timed(tally, partial(client.add_messages, cube, f"writer-{number}", messages))
                written += WRITE_BATCH
            tally.retried_writes = client.retried_writes

    return run


def _timed(tally: Tally, action: Callable[[], object]) -> None:
    """Count an answer with its time, or an error by its status or kind."""
    started = time.perf_counter()
    try:
        action()
    except ApiError as error:
        tally.errors[str(error.status)] += 1
    except httpx.TransportError as error:
        tally.errors[type(error).__name__] += 1
    else:
        tally.elapsed_ms.append((time.perf_counter() - started) * 1000)


def _wait(seconds: float, step: Step) -> None:
    """Sleep with a bar that moves ten times a second."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(0.1, left))
        step()
