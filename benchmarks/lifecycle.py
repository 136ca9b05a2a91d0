"""A year of use with forgetting and without: memories kept, search times, and what forgetting costs in recall.

The same year (lifecycle_use.py) is lived by two cubes side by side: one under the default policy, with a decay run
every few days, one with forgetting off. All of it goes through the service's library on a database of its own, because
time must pass a thousand times faster than over HTTP: `now` is an argument of every call. At the end both are asked
about every memory that was recalled at least twice in the last 90 days. Texts and questions are synthetic
(corpus.py); embeddings are real, and computed before the clock of a search starts.
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
from benchmarks.metrics import Latency, mean, percentile
from benchmarks.options import parser, settings_of
from benchmarks.report import Report, figure, progress
from memos.embedded import EmbeddedPostgres, default_data_dir
from memos.encoders.cached_embedder import CachedEmbedder
from memos.encoders.embedder import DEFAULT_EMBEDDER, build_embedder
from memos.observing import configure_logging
from memos.rules.access import Principal, new_key
from memos.rules.embedding_text import query_text
from memos.services import administer, forget, recall, remember, work
from memos.services.remember import MessageIn
from memos.settings import Settings
from memos.store import cubes, jobs, memories, retention, tenants
from memos.store.schema import migrate
from memos.wiring import App, build_app

LIMIT = 10
MOST_ASKED = 1_000
"""Questions at the end, of each sort: enough to tell a point."""
WINDOW = timedelta(days=90)
TWICE = 2
MONTH = 30
# Vectors of a year of both texts and questions, at 1.6 kB each.
MOST_VECTORS = 200_000
# Facts are not extracted: the year is about keeping and finding what was written.
POLICIES: dict[str, dict[str, Any]] = {
    "forgetting": {"extraction": {"enabled": False}},
    "not": {"extraction": {"enabled": False}, "forget": {"enabled": False}},
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
    made = parser("lifecycle", __doc__)
    made.add_argument("--days", type=int, default=365)
    made.add_argument("--per-day", type=int, default=60, metavar="N", help="memories written a day")
    made.add_argument("--questions", type=int, default=8, metavar="N", help="questions asked a day")
    made.add_argument("--decay-every", type=int, default=7, metavar="DAYS")
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
        lives = [live(app, who, name, begin) for name in POLICIES]
        year_of_use = year(
            arguments.seed, days=arguments.days, per_day=arguments.per_day, questions=arguments.questions
        )
        with progress("Living", arguments.days) as step:
            for day in year_of_use:
                spend(app, who, lives, day, begin, arguments)
                step()
        end = begin + timedelta(days=arguments.days)
        publish(report, app, who, lives, arguments.seed, end)
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


def live(app: App, who: Principal, name: str, begin: datetime) -> Life:
    with app.database.transaction(who.tenant_id) as tx:
        made = administer.create_cube(tx, who, name=name, description="", policy=POLICIES[name], now=begin)
    return Life(name, str(made.id), POLICIES[name].get("forget", {}).get("enabled", True))


# ---------------------------------------------------------------- one day


def spend(app: App, who: Principal, lives: Sequence[Life], day: Day, begin: datetime, arguments: Any) -> None:
    """Write, ask, and now and then let the workers work."""
    now = begin + timedelta(days=day.number)
    for one in lives:
        _write(app, who, one, day, arguments.seed, now)
    for place, target in enumerate(day.asked):
        # The one that asks first finds colder pages: take turns.
        turns = lives if (day.number + place) % 2 else lives[::-1]
        for one in turns:
            ask(app, who, one, target, arguments.seed, now + timedelta(hours=8, minutes=place))
    app.recalls.flush()
    app.traces.flush()
    if (day.number + 1) % arguments.decay_every == 0:
        for one in lives:
            if one.forgets:
                _decay(app, who, one, now + timedelta(hours=23))
        _index(app, who)
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


def _index(app: App, who: Principal) -> None:
    """What a worker beside the service would have done meanwhile."""
    for due in work.due(app, 100):
        work.run_job(app, who.tenant_id, due.job_id)


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


# ---------------------------------------------------------------- the end of the year


def recalled_twice(app: App, who: Principal, one: Life, end: datetime) -> list[int]:
    """Numbers of the memories that this cube itself recalled at least twice in the last 90 days."""
    numbers = {memory_id: number for number, memory_id in one.ids.items()}
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        standings = retention.standings(tx, cubes.view(tx, one.cube))
    twice = [s for s in standings if sum(end - WINDOW <= moment <= end for moment in s.recent) >= TWICE]
    return sorted(numbers[s.memory_id] for s in twice)


def publish(report: Report, app: App, who: Principal, lives: Sequence[Life], seed: str, end: datetime) -> None:
    """Ask both about what each of them recalled twice, and print everything."""
    forgetful, faithful = lives
    twice = {one.name: recalled_twice(app, who, one, end) for one in lives}
    asked = {by: targets[:: max(1, len(targets) // MOST_ASKED)][:MOST_ASKED] for by, targets in twice.items()}
    scores: dict[str, dict[str, float]] = {}
    with progress("Asking at the end", 2 * sum(map(len, asked.values()))) as step:
        for by, targets in asked.items():
            scores[by] = {}
            for one in lives:
                hits = []
                for target in targets:
                    hits.append(float(ask(app, who, one, target, seed, end)))
                    step()
                scores[by][one.name] = mean(hits)
    report.table(
        "A year",
        ("day", *(f"{what}, {one.name}" for what in ("live", "p95 ms", "found") for one in lives), "archived"),
        [
            (
                str(a["day"]), str(a["live"]), str(b["live"]), figure(a["p95_ms"], 1), figure(b["p95_ms"], 1),
                figure(a["found"]), figure(b["found"]), str(a["archived"]),
            )
            for a, b in zip(forgetful.months, faithful.months, strict=True)
        ],
    )  # fmt: skip
    report.table(
        "Recall@10 at the end of what was recalled twice in 90 days",
        ("recalled twice by the one", "memories", *(one.name for one in lives)),
        [(by, str(len(twice[by])), *(figure(scores[by][one.name]) for one in lives)) for by in scores],
    )
    last, middle = forgetful.months[-1], forgetful.months[len(forgetful.months) // 2]
    report.figures |= {
        "months": {one.name: one.months for one in lives},
        "recall_at_10": scores,
        "recalled_twice": {by: len(targets) for by, targets in twice.items()},
        "questions_found": {one.name: mean([float(hit) for hit in one.found]) for one in lives},
        "decay_runs": Latency.of(forgetful.runs_ms),
        "acts": dict(forgetful.acts),
    }
    report.table(
        "Decay runs",
        ("runs", "p50 ms", "max ms", *sorted(forgetful.acts)),
        [
            (
                str(len(forgetful.runs_ms)), figure(percentile(forgetful.runs_ms, 50), 0), figure(max(forgetful.runs_ms), 0),
                *(str(forgetful.acts[name]) for name in sorted(forgetful.acts)),
            )
        ],
    )  # fmt: skip
    report.goal("live memories, end over mid-year", last["live"] / middle["live"], "<=", 1.25)
    report.goal("p95 of a search, end over mid-year", last["p95_ms"] / middle["p95_ms"], "<=", 1.5)
    own = scores[forgetful.name]
    report.goal("recall@10 lost on what was recalled twice", own[faithful.name] - own[forgetful.name], "<=", 0.01)
