"""A year of use with forgetting and without: memories kept, search times, and what forgetting costs in recall.

The same year (lifecycle_use.py) is lived by three cubes side by side: one under the default policy, with a decay run
every few days, one that has a budget of memories besides, and one with forgetting off. All of it goes through the
service's library on a database of its own, because time must pass a thousand times faster than over HTTP: `now` is an
argument of every call. At the end all are asked about memories that were recalled at least twice in the last 90 days.
Texts and questions are synthetic (corpus.py); embeddings are real, and computed before the clock of a search starts.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from benchmarks.corpus import memory
from benchmarks.lifecycle_use import Day, year
from benchmarks.metrics import mean, percentile
from benchmarks.options import parser, settings_of
from benchmarks.report import Report, progress
from memos.embedded import EmbeddedPostgres, default_data_dir
from memos.encoders.cached_embedder import CachedEmbedder
from memos.encoders.embedder import DEFAULT_EMBEDDER, build_embedder
from memos.observing import configure_logging
from memos.rules.access import Principal, new_key
from memos.rules.embedding_text import query_text
from memos.services import administer, forget, recall, remember, wake, work
from memos.services.remember import MessageIn
from memos.settings import Settings
from memos.store import cubes, jobs, memories, tenants
from memos.store.schema import migrate
from memos.wiring import App, build_app

LIMIT = 10
MONTH = 30
# Vectors of a year of both texts and questions, at 1.6 kB each.
MOST_VECTORS = 200_000
BUDGET_DAYS = 150
"""What the cube with a budget may hold: what is written in that many days."""


def policies(per_day: int, room: int | None) -> dict[str, dict[str, Any]]:
    """The lives that are compared. Facts are not extracted: the year is about keeping and finding what was written."""
    plain = {"extraction": {"enabled": False}}
    scaled = {} if room is None else {"room": room}
    return {
        "default": plain | {"forget": scaled},
        "budget": plain | {"forget": scaled | {"max_memories": BUDGET_DAYS * per_day}},
        "off": plain | {"forget": {"enabled": False}},
    }


@dataclass(slots=True)
class Life:
    """A cube and what happened in it. `found` holds, for each question of the year, whether its answer was in the ten."""

    name: str
    cube: str
    forgets: bool
    ids: dict[int, UUID] = field(default_factory=dict)
    search_ms: list[float] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)
    months: list[dict[str, Any]] = field(default_factory=list)
    runs_ms: list[float] = field(default_factory=list)
    acts: Counter[str] = field(default_factory=Counter)


def main(argv: Sequence[str]) -> int:
    # Here and not above: the end of the year asks as the year did.
    from benchmarks.lifecycle_end import publish

    made = parser("lifecycle", __doc__)
    made.add_argument("--days", type=int, default=365)
    made.add_argument("--per-day", type=int, default=60, metavar="N", help="memories written a day")
    made.add_argument("--questions", type=int, default=8, metavar="N", help="questions asked a day")
    made.add_argument("--decay-every", type=int, default=7, metavar="DAYS")
    made.add_argument(
        "--room", type=int, metavar="N", help="forget.room, for a life on a smaller scale; absent: the default"
    )
    made.add_argument("--most", type=int, default=500, metavar="N", help="questions of each sort at the end")
    made.add_argument("--seed", default="a year")
    made.add_argument("--embedder", default=DEFAULT_EMBEDDER)
    arguments = made.parse_args(argv)
    report = Report("lifecycle", settings=settings_of(arguments) | {"limit": LIMIT}, out_dir=arguments.out)
    report.note(
        "Through the service's own library on an embedded PostgreSQL, not over HTTP. A search's time is without its embedding."
    )
    configure_logging(Settings(log_level="WARNING"), process="benchmark")
    with fresh_service(arguments.embedder) as (app, who):
        # Later than any clock here, or the jobs' own clock would run ahead of the year's.
        begin = datetime.now(UTC) + timedelta(days=1)
        lives = [
            live(app, who, name, policy, begin) for name, policy in policies(arguments.per_day, arguments.room).items()
        ]
        log: list[tuple[int, int]] = []
        year_of_use = year(
            arguments.seed, days=arguments.days, per_day=arguments.per_day, questions=arguments.questions
        )
        with progress("Living", arguments.days) as step:
            for day in year_of_use:
                spend(app, who, lives, day, begin, arguments)
                log += [(day.number, target) for target in day.asked]
                step()
        end = begin + timedelta(days=arguments.days)
        publish(report, app, who, lives, log, arguments.seed, end, per_day=arguments.per_day, most=arguments.most)
    report.finish()
    return 0


@contextmanager
def fresh_service(embedder_name: str) -> Iterator[tuple[App, Principal]]:
    """A database for this run only, the parts that work on it, and its owner."""
    home = Path(tempfile.mkdtemp(prefix="memos-bench-")).resolve()
    home.chmod(0o755)  # under root PostgreSQL runs as another user, who must be able to enter
    postgres = EmbeddedPostgres(home)
    postgres.start()
    try:
        embedder = build_embedder(embedder_name, cache_dir=default_data_dir() / "models")
        migrate(postgres.url(), embedder.dimensions)
        key = new_key()
        tenants.bootstrap(postgres.url(), key)
        settings = Settings(database_url=SecretStr(postgres.url()), data_dir=home)
        app = build_app(settings, embedder=CachedEmbedder(embedder, MOST_VECTORS), application_name="memos-bench")
        try:
            yield app, app.database.authenticate(key)
        finally:
            app.close()
    finally:
        postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


def forget_looking_back(app: App, who: Principal, one: Life, now: datetime) -> None:
    """From here on what has faded is not found, whatever the question."""
    with app.database.transaction(who.tenant_id) as tx:
        policy = cubes.find(tx, one.cube).policy
        policy["forget"] = policy.get("forget", {}) | {"look_back": False}
        administer.update_cube(tx, who, one.cube, policy=policy, now=now)


def live(app: App, who: Principal, name: str, policy: dict[str, Any], begin: datetime) -> Life:
    with app.database.transaction(who.tenant_id) as tx:
        made = administer.create_cube(tx, who, name=name, description="", policy=policy, now=begin)
    return Life(name, str(made.id), policy.get("forget", {}).get("enabled", True))


# ---------------------------------------------------------------- one day


def spend(app: App, who: Principal, lives: Sequence[Life], day: Day, begin: datetime, arguments: Any) -> None:
    """Write, ask, and now and then let the workers work."""
    now = begin + timedelta(days=day.number)
    for one in lives:
        _write(app, who, one, day, arguments.seed, now)
    for place, target in enumerate(day.asked):
        # The one that asks first finds colder pages: take turns.
        for one in lives if (day.number + place) % 2 else lives[::-1]:
            ask(app, who, one, target, arguments.seed, now + timedelta(hours=8, minutes=place))
    app.recalls.flush()
    app.traces.flush()
    if (day.number + 1) % arguments.decay_every == 0:
        for one in lives:
            if one.forgets:
                _decay(app, who, one, now + timedelta(hours=23))
    _work(app, who, lives)
    if (day.number + 1) % MONTH == 0:
        for one in lives:
            _look(app, who, one, day.number + 1, arguments.questions)


def _write(app: App, who: Principal, one: Life, day: Day, seed: str, now: datetime) -> None:
    turns = [memory(seed, number) for number in day.written]
    messages = [
        MessageIn(
            "user", turn.content, name=turn.speaker, external_id=f"m{turn.number}",
            created_at=now + timedelta(seconds=place), metadata={"topic": turn.topic},
        )
        for place, turn in enumerate(turns)
    ]  # fmt: skip
    prepared = remember.prepare_messages(
        app.embedder, one.cube, session_id=f"day-{day.number}", messages=messages, branch=cubes.MAIN, now=now
    )
    with app.database.transaction(who.tenant_id) as tx:
        written = remember.write(tx, who, prepared, now=now)
    one.ids.update(zip(day.written, (m.id for m in written.memories), strict=True))


def ask(app: App, who: Principal, one: Life, target: int, seed: str, now: datetime) -> bool:
    """Whether the memory the question is about is among the first ten. The ten count as recalled at `now`."""
    question = memory(seed, target).question
    app.embedder.embed([query_text(question)])
    started = time.perf_counter()
    asked = recall.SearchQuery(question, limit=LIMIT, now=now)
    answer = recall.search_cubes(app.recall, who, [one.cube], asked, clock=now)
    one.search_ms.append((time.perf_counter() - started) * 1_000)
    one.found.append(one.ids[target] in {hit.memory_id for hit in answer.items})
    return one.found[-1]


def _decay(app: App, who: Principal, one: Life, now: datetime) -> None:
    with app.database.transaction(who.tenant_id) as tx:
        job_id = forget.request(tx, who, one.cube, branch=cubes.MAIN, now=now).id
    started = time.perf_counter()
    state = work.run_job(app, who.tenant_id, job_id)
    one.runs_ms.append((time.perf_counter() - started) * 1_000)
    if state != "succeeded":
        raise RuntimeError(f"the decay run ended as {state}")
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        one.acts.update((jobs.get(tx, job_id).result or {})["counts"])


def _work(app: App, who: Principal, lives: Sequence[Life]) -> None:
    """What a worker beside the service would have done meanwhile: indexing, and bringing back what was recalled."""
    by_cube = {UUID(one.cube): one for one in lives}
    for due in work.due(app, 100):
        work.run_job(app, who.tenant_id, due.job_id)
        with app.database.transaction(who.tenant_id, read_only=True) as tx:
            job = jobs.get(tx, due.job_id)
        if job.kind == wake.KIND and job.cube_id is not None:
            by_cube[job.cube_id].acts["wake"] += (job.result or {})["woken"]


def _look(app: App, who: Principal, one: Life, day: int, questions: int) -> None:
    latest = one.search_ms[-MONTH * questions :]
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        counts = memories.counts(tx, cubes.view(tx, one.cube))
    states = counts["by_state"]
    one.months.append(
        {
            "day": day,
            "memories": counts["memories"],
            "live": states.get("generated", 0) + states.get("activated", 0),
            "archived": states.get("archived", 0),
            "p50_ms": percentile(latest, 50),
            "p95_ms": percentile(latest, 95),
            "found": mean([float(hit) for hit in one.found[-MONTH * questions :]]),
        }
    )
