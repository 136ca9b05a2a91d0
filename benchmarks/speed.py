"""Speed at volume, through HTTP, beside the floor: embedding the query and one raw HNSW query on the same
table.

Per size a cube is filled and asked; then after each of 10,000 memories got 20 further versions; then with 200
other cubes of 5,000 memories in the database. Writing is compared with the bare embedder on texts of the same
kind. The peak memory of every process of the service is watched throughout. Questions come from the synthetic
corpus (corpus.py), are real texts, and none is asked twice.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bulk import open_loader
from benchmarks.client import MemosClient
from benchmarks.floor import connect, database_url
from benchmarks.options import json_object, parser, service_of, settings_of
from benchmarks.processes import MemoryWatch, usage_rows
from benchmarks.report import Report
from benchmarks.server import Service
from benchmarks.speed_adding import measure_adding
from benchmarks.speed_run import SpeedRun, Tools
from memos.encoders.embedder import Embedder, build_embedder
from memos.settings import Settings

DIRECT = "benchmarks.direct_loader:perturbed"
SCENARIOS = ("sizes", "versions", "cubes", "adding")


def main(argv: Sequence[str]) -> int:
    arguments = _arguments(argv)
    report = Report("speed", settings=settings_of(arguments), out_dir=arguments.out)
    with service_of(arguments) as service, MemosClient(service.url, service.key) as client:
        report.settings["service"] = service.description
        with (
            MemoryWatch(service.pid, service.data_dir) as watch,
            _tools(service, client, arguments, report) as tools,
        ):
            _run(tools, arguments, report)
    report.figures["peak_memory"] = watch.peaks
    if watch.peaks:
        report.table(
            "Peak memory over the whole run",
            ("process", "how many", "RSS (sum)", "PSS (sum)"),
            usage_rows(watch.peaks),
        )
    else:
        report.note("memory was not measured: the service was not started by this run.")
    report.finish()
    return 0


def _run(tools: Tools, arguments: argparse.Namespace, report: Report) -> None:
    run = SpeedRun(tools, report, rounds=arguments.queries, recall_queries=arguments.recall_queries)
    cubes = {
        size: run.fill(size, policy=arguments.policy, jobs_timeout_s=arguments.jobs_timeout) for size in arguments.sizes
    }
    if "sizes" in arguments.scenarios:
        for cube in cubes.values():
            run.measure(cube, f"{cube.size:,} memories")
            run.measure_recall(cube)
    if "adding" in arguments.scenarios:
        measure_adding(tools, report, batches=arguments.add_batches, policy=arguments.policy)
    if "versions" in arguments.scenarios:
        cube = cubes.get(arguments.versioned) or run.fill(
            arguments.versioned, policy=arguments.policy, jobs_timeout_s=arguments.jobs_timeout
        )
        run.measure_versions(cube, versions=arguments.versions, jobs_timeout_s=arguments.jobs_timeout)
    if "cubes" in arguments.scenarios:
        run.measure_among_others(
            list(cubes.values()),
            others=arguments.other_cubes,
            size=arguments.other_size,
            policy=arguments.policy,
            jobs_timeout_s=arguments.jobs_timeout,
        )
    run.publish()


@contextlib.contextmanager
def _tools(service: Service, client: MemosClient, arguments: argparse.Namespace, report: Report) -> Iterator[Tools]:
    """The database connection, the bare embedder and the loaders; says what could not be had."""
    url = database_url(service, arguments.database_url)
    embedder: Embedder | None = None
    if arguments.no_floor:
        report.note("the floor, the recall of the index and the bare embedder were not measured (--no-floor).")
    else:
        if url is None:
            raise SystemExit("the floor needs --database-url (or MEMOS_BENCH_DATABASE_URL), or --no-floor")
        # Built as the service builds its own; a service of this run has left the model's file in its directory.
        settings = Settings.model_validate({})
        cache_dir = service.data_dir / "models" if service.data_dir else Path(tempfile.gettempdir())
        embedder = build_embedder(settings.embedder, cache_dir=cache_dir, threads=settings.encoder_threads)
        report.settings |= {"embedder": settings.embedder, "encoder_threads": settings.encoder_threads}
    loader = open_loader(arguments.loader, service, client, url)
    chosen = arguments.bulk_loader or (arguments.loader if url is None else DIRECT)
    bulk = loader if chosen == arguments.loader else open_loader(chosen, service, client, url)
    report.note(f"measured cubes were filled {loader.description}.")
    report.note(f"other cubes and further versions were written {bulk.description}.")
    with contextlib.ExitStack() as stack:
        connection = None
        if embedder is not None and url is not None:
            connection = stack.enter_context(contextlib.closing(connect(url)))
            report.note("VACUUM (ANALYZE) ran after each load, as autovacuum would have done a little later.")
        yield Tools(client, loader, bulk, connection, embedder, arguments.seed)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    made = parser("speed", __doc__)
    made.add_argument("--sizes", type=_sizes, default=(10_000, 100_000), metavar="N,N")
    made.add_argument(
        "--scenarios",
        type=_scenarios,
        default=SCENARIOS,
        metavar="NAME,NAME",
        help=f"of {', '.join(SCENARIOS)}",
    )
    made.add_argument("--queries", type=int, default=300, metavar="N", help="questions for each way of asking")
    made.add_argument("--recall-queries", type=int, default=100, metavar="N")
    made.add_argument("--versioned", type=int, default=10_000, metavar="N", help="size of the cube that is edited")
    made.add_argument("--versions", type=int, default=20, metavar="N", help="further versions of each memory")
    made.add_argument("--other-cubes", type=int, default=200, metavar="N")
    made.add_argument("--other-size", type=int, default=5_000, metavar="N")
    made.add_argument("--add-batches", type=int, default=20, metavar="N", help="batches of 100 turns")
    made.add_argument("--seed", default="memos", help="another seed, another corpus")
    made.add_argument("--policy", type=json_object, default={}, metavar="JSON", help="policy of the cubes made")
    made.add_argument("--jobs-timeout", type=float, default=7200.0, metavar="S")
    made.add_argument(
        "--loader", default="http", metavar="SPEC", help="for measured cubes: http or package.module:factory"
    )
    made.add_argument(
        "--bulk-loader",
        metavar="SPEC",
        help=f"for other cubes and versions, which nobody asks about ; unnamed: {DIRECT} where the database can be "
        "reached, as a million memories take over an hour through HTTP",
    )
    made.add_argument(
        "--database-url",
        default=os.environ.get("MEMOS_BENCH_DATABASE_URL"),
        metavar="URL",
        help="the service's database, as its owner (known for a service that this run starts)",
    )
    made.add_argument("--no-floor", action="store_true", help="through HTTP only")
    return made.parse_args(argv)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(part) for part in text.split(",")}))


def _scenarios(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    unknown = set(names) - set(SCENARIOS)
    if unknown:
        raise argparse.ArgumentTypeError(f"no such scenario: {', '.join(sorted(unknown))}")
    return names
