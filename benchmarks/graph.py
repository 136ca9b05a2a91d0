"""The graph tier: how fast a job builds it, and how long a walk takes at volume.

Building is the job `extract` as a worker runs it (rules, names, statements, facts and their vectors) over synthetic turns,
and the job `relate` after it. Walks are measured on a larger cube: its first memories are written by the service's own
library with perturbed vectors, the others are copies of their rows under new ids, its entities, mentions and statements are
drawn by Zipf's law and inserted in bulk, and each walk begins from five memories and two names. Everything runs in this
process on a PostgreSQL of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
from pydantic import SecretStr

from benchmarks.corpus import memories
from benchmarks.direct_loader import DirectLoader, PerturbedEmbedder
from benchmarks.graph_hops import measure_hops
from benchmarks.metrics import Latency, mean
from benchmarks.options import parser, settings_of
from benchmarks.report import Report, progress
from benchmarks.server import Service, new_key
from memos.embedded import EmbeddedPostgres
from memos.rules.access import Principal
from memos.services import administer, extract, relating, work
from memos.services.graph_channel import graph_candidates
from memos.settings import Settings
from memos.store import cubes, jobs, tenants
from memos.store.schema import migrate
from memos.wiring import App, build_app

SEEDS, NAMES = 5, 2
MENTIONED = 3
"""Names in a synthetic memory, on average a little less: a name drawn twice counts once."""
WRITTEN = 5_000
"""Memories of the large cube that are written; the others are copied."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The service's parts on a database of this run."""

    app: App
    who: Principal
    service: Service
    owner_url: str

    def cube(self, name: str) -> UUID:
        with self.app.database.transaction(self.who.tenant_id) as tx:
            policy = {"extraction": {"enabled": False}}
            now = datetime.now(UTC)
            return administer.create_cube(tx, self.who, name=name, description="", policy=policy, now=now).id

    def load(self, name: str, count: int, seed: str) -> tuple[UUID, float]:
        """A cube of synthetic turns, and how long filling it took."""
        cube_id, started = self.cube(name), time.monotonic()
        loader = DirectLoader(self.app.database, PerturbedEmbedder(self.app.embedder), self.service.key)
        with progress(f"Filling {name} with {count:,}", count) as step:
            loader.load(str(cube_id), memories(seed, count), step)
        return cube_id, time.monotonic() - started

    def analyse(self) -> None:
        """What autovacuum would have done a little later."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")


def main(argv: Sequence[str]) -> int:
    arguments = _arguments(argv)
    report = Report("graph", settings=settings_of(arguments), out_dir=arguments.out)
    with ground() as on:
        _measure_building(on, arguments, report)
        if arguments.hops is not None:
            measure_hops(on.app, on.who, arguments.hops, report)
        _measure_walking(on, arguments, report)
    report.finish()
    return 0


@contextlib.contextmanager
def ground() -> Iterator[Ground]:
    """PostgreSQL as `memos serve` would start it, in a directory that is gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="memos-bench-")).resolve()
    home.chmod(0o755)  # root's server runs as another account, which has to pass
    postgres = EmbeddedPostgres(home)
    try:
        postgres.start()
        key, url = new_key(), postgres.url()
        settings = Settings(database_url=SecretStr(url), data_dir=home)
        app = build_app(settings)
        try:
            migrate(url, app.embedder.dimensions)
            tenants.bootstrap(url, key)
            plain = url.replace("+psycopg", "")
            yield Ground(app, app.database.authenticate(key), Service("", key, data_dir=home), plain)
        finally:
            app.close()
    finally:
        postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


# ---------------------------------------------------------------- building


def _measure_building(on: Ground, arguments: argparse.Namespace, report: Report) -> None:
    cube_id, _ = on.load("building", arguments.built, arguments.seed)
    on.analyse()
    tenant = on.who.tenant_id
    with on.app.database.transaction(tenant) as tx:
        read = extract.request(tx, on.who, str(cube_id), branch=cubes.MAIN, again=False).id
    read_s = _run(on, read)
    with on.app.database.transaction(tenant) as tx:
        related = jobs.promise(tx, relating.KIND, cube_id=cube_id, payload={"branch": cubes.MAIN}, dedup_key="bench")
    relate_s = _run(on, related)
    with on.app.database.transaction(tenant, read_only=True) as tx:
        result = jobs.get(tx, related).result or {}
        counts = {
            table: int(tx.scalar(f"SELECT count(*) FROM {table} WHERE tenant_id = :tenant AND cube_id = :c", c=cube_id))
            for table in ("entities", "mentions", "claims")
        }
    report.figures["building"] = {
        "memories": arguments.built, "extract_s": read_s, "memories_per_s": arguments.built / read_s,
        "relate_s": relate_s, "related_per_s": int(result["looked"]) / relate_s, "links": result["linked"], **counts,
    }  # fmt: skip
    report.table(
        f"Building the graph of {arguments.built:,} turns",
        ("job", "seconds", "memories/s", "made"),
        [
            ("extract", f"{read_s:.1f}", f"{arguments.built / read_s:.0f}",
             f"{counts['entities']:,} entities, {counts['mentions']:,} mentions, {counts['claims']:,} statements"),
            ("relate", f"{relate_s:.1f}", f"{int(result['looked']) / relate_s:.0f}", f"{result['linked']:,} links"),
        ],
    )  # fmt: skip


def _run(on: Ground, job_id: UUID) -> float:
    started = time.monotonic()
    state = work.run_job(on.app, on.who.tenant_id, job_id)
    if state != "succeeded":
        raise RuntimeError(f"the job ended as {state}")
    return time.monotonic() - started


# ---------------------------------------------------------------- walking


def _measure_walking(on: Ground, arguments: argparse.Namespace, report: Report) -> None:
    started = time.monotonic()
    cube_id, _ = on.load("walking", min(arguments.memories, WRITTEN), f"{arguments.seed}-walk")
    with progress("Copying memories, drawing entities and mentions", None):
        _draw(on, cube_id, arguments.entities, -(-arguments.memories // WRITTEN) - 1)
        on.analyse()
    loaded_s = time.monotonic() - started
    report.note(f"{WRITTEN:,} memories were written by the service's own library with perturbed vectors, the others copied "
                "from their rows; entities, mentions and statements were drawn by Zipf's law and inserted in bulk; VACUUM "
                "(ANALYZE) ran after it.")  # fmt: skip
    dice = random.Random(arguments.seed)
    taken: list[float] = []
    sizes: list[float] = []
    with on.app.database.transaction(on.who.tenant_id, read_only=True) as tx:
        view = cubes.view(tx, str(cube_id))
        ids = [row[0] for row in tx.tuples("SELECT memory_id FROM memory_versions WHERE tenant_id = :tenant "
                                           "AND branch_id = :b ORDER BY id", b=view.branch.id)]  # fmt: skip
    now = datetime.now(UTC)
    with progress("Walking", arguments.walks) as step:
        for number in range(arguments.walks + 10):
            hits = dict.fromkeys(dice.sample(ids, SEEDS), 1.0)
            names = [_name(int(arguments.entities ** dice.random())) for _ in range(NAMES)]
            started = time.perf_counter()
            with on.app.database.transaction(on.who.tenant_id, read_only=True) as tx:
                found = graph_candidates(tx, view, names, hits, as_of=now, limit=10_000)
            if number >= 10:  # the first ones only warm up
                taken.append((time.perf_counter() - started) * 1_000)
                sizes.append(float(len(found)))
                step()
    latency = Latency.of(taken)
    report.figures["walking"] = {
        "memories": len(ids), "entities": arguments.entities, "loaded_s": loaded_s, "latency": latency,
        "memories_reached": mean(sizes),
    }  # fmt: skip
    report.raw.append({"walk_ms": [round(value, 3) for value in taken]})
    report.table(
        f"Personalised PageRank over {len(ids):,} memories and {arguments.entities:,} entities, from "
        f"{SEEDS} memories and {NAMES} names",
        ("", "p50", "p95", "p99", "memories reached"),
        [("snapshot, neighbourhood and walk", f"{latency.p50_ms:.1f} ms", f"{latency.p95_ms:.1f} ms",
          f"{latency.p99_ms:.1f} ms", f"{mean(sizes):.0f}")],
    )  # fmt: skip


def _name(number: int) -> str:
    return f"name {max(number, 1)}"


def _draw(on: Ground, cube_id: UUID, entities: int, copies: int) -> None:
    """As many entities as asked for; each text mentions a few, the r-th name about 1/r as often as the first."""
    with psycopg.connect(on.owner_url, autocommit=True) as connection:
        connection.execute("SELECT setseed(0.5)")
        bound = {
            "tenant": on.who.tenant_id, "cube": cube_id, "entities": entities, "mentioned": MENTIONED, "copies": copies,
        }  # fmt: skip
        for statement in (*_COPY, *_DRAW):
            connection.execute(statement, bound)


_COPY = (
    """
    CREATE TEMP TABLE copied AS SELECT v.id AS version_id, v.content_id AS from_id, n, gen_random_uuid() AS
    memory_id, nextval(pg_get_serial_sequence('contents', 'id')) AS content_id FROM memory_versions v,
    generate_series(1, %(copies)s) n WHERE v.tenant_id = %(tenant)s AND v.cube_id = %(cube)s
    """,
    """
    INSERT INTO memories (tenant_id, cube_id, id, last_version) SELECT %(tenant)s, %(cube)s, memory_id, 1 FROM
    copied
    """,
    """
    INSERT INTO contents (tenant_id, id, cube_id, memory_id, text, sha256, embedding, terms, counts, length, tokens)
    SELECT c.tenant_id, d.content_id, c.cube_id, d.memory_id, c.text, c.sha256, c.embedding, c.terms, c.counts,
    c.length, c.tokens FROM copied d JOIN contents c ON c.tenant_id = %(tenant)s AND c.id = d.from_id
    """,
    """
    INSERT INTO memory_versions (tenant_id, cube_id, memory_id, version, branch_id, from_revision, state, kind,
    content_id, session_id, ordinal, role, name, created_at, fingerprint, salt, commitment) SELECT v.tenant_id,
    v.cube_id, d.memory_id, 1, v.branch_id, v.from_revision, v.state, v.kind, d.content_id, v.session_id || '/' ||
    d.n, v.ordinal, v.role, v.name, v.created_at, v.fingerprint, v.salt, v.commitment FROM copied d JOIN
    memory_versions v ON v.tenant_id = %(tenant)s AND v.id = d.version_id
    """,
)
_DRAW = (
    """
    INSERT INTO entities (tenant_id, cube_id, id, key, name, created_at) SELECT %(tenant)s, %(cube)s,
    gen_random_uuid(), 'name ' || n, 'Name ' || n, now() FROM generate_series(1, %(entities)s) n ON CONFLICT DO
    NOTHING
    """,
    """
    CREATE TEMP TABLE drawn AS SELECT c.id AS content_id, 'name ' || greatest(floor(power(%(entities)s, random())),
    1) AS key FROM contents c, generate_series(1, %(mentioned)s) WHERE c.tenant_id = %(tenant)s AND c.cube_id =
    %(cube)s
    """,
    """
    INSERT INTO mentions (tenant_id, cube_id, content_id, entity_id, name, type, confidence) SELECT %(tenant)s,
    %(cube)s, d.content_id, e.id, e.name, 'other', 0.9 FROM drawn d JOIN entities e ON e.tenant_id = %(tenant)s AND
    e.cube_id = %(cube)s AND e.key = d.key ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO claims (tenant_id, cube_id, content_id, position, subject_key, attribute_key, subject_id, object_id,
    confidence, body) SELECT %(tenant)s, %(cube)s, content_id, 0, min(name), 'know', (array_agg(entity_id))[1],
    (array_agg(entity_id))[2], 0.9, '{}' FROM mentions WHERE tenant_id = %(tenant)s AND cube_id = %(cube)s AND
    content_id %% 3 = 0 GROUP BY content_id
    """,
)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    made = parser("graph", __doc__)
    made.add_argument("--memories", type=int, default=100_000, metavar="N", help="memories of the cube walked over")
    made.add_argument("--entities", type=int, default=50_000, metavar="N", help="its entities")
    made.add_argument("--built", type=int, default=3_000, metavar="N", help="turns whose graph is built by the jobs")
    made.add_argument("--walks", type=int, default=300, metavar="N")
    made.add_argument("--seed", default="memos", help="another seed, another corpus")
    made.add_argument(
        "--hops", type=Path, metavar="FILE", help="FactConsolidation-format multi-hop questions to ask too"
    )
    return made.parse_args(argv)
