"""The scenarios of the speed benchmark: fill a cube, compare the ways of asking, change what surrounds it,
compare again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import psycopg

from benchmarks.arms import WARM_UP_ROUNDS, Arm, Compared, compare, summarise
from benchmarks.bulk import BulkLoader
from benchmarks.client import ApiError, MemosClient
from benchmarks.corpus import Questions, memories
from benchmarks.corpus_words import TOPICS
from benchmarks.floor import LIMIT, SETTLE_SQL, Floor
from benchmarks.metrics import mean
from benchmarks.options import cube_name
from benchmarks.report import Report, figure, progress
from memos.encoders.embedder import Embedder

# What callers ask for in a context by default.
CONTEXT_TOKENS = 2000


@dataclass(frozen=True, slots=True)
class Tools:
    """What a run works with; `connection` and `embedder` are None when the floor is not measured."""

    client: MemosClient
    loader: BulkLoader
    bulk: BulkLoader
    connection: psycopg.Connection[Any] | None
    embedder: Embedder | None
    seed: str


@dataclass(slots=True)
class Cube:
    """A filled cube; `before` is what its first measurement gave, for later ones to be compared with."""

    id: str
    size: int
    questions: Questions
    before: dict[str, Compared] = field(default_factory=dict)


class SpeedRun:
    """Measures in the order it is called; `publish` prints what was collected."""

    def __init__(self, tools: Tools, report: Report, *, rounds: int, recall_queries: int) -> None:
        self._tools = tools
        self._report = report
        self._rounds = rounds
        self._recall_queries = recall_queries
        self._compared: list[Compared] = []
        self._asked: set[str] = set()

    def fill(self, size: int, *, policy: Mapping[str, Any], jobs_timeout_s: float) -> Cube:
        """A new cube of `size` memories, searchable, with all background work done."""
        client, seed = self._tools.client, self._tools.seed
        cube_id = str(client.create_cube(cube_name("speed", str(size)), policy=policy)["id"])
        started = time.monotonic()
        with progress(f"Filling a cube with {size:,}", size) as step:
            self._tools.loader.load(cube_id, memories(seed, size), step)
        loaded_s = time.monotonic() - started
        jobs_s = self._settle(jobs_timeout_s)
        fills = self._report.figures.setdefault("fills", [])
        fills.append({"size": size, "loaded_s": loaded_s, "jobs_s": jobs_s, "turns_per_s": size / loaded_s})
        return Cube(cube_id, size, Questions(seed, size, asked=self._asked))

    def measure(self, cube: Cube, scenario: str) -> dict[str, Compared]:
        """All ways of asking, in turns."""
        arms = self._arms(cube, scenario)
        with progress(f"Asking: {scenario}", self._rounds + WARM_UP_ROUNDS) as step:
            taken = compare(arms, cube.questions.take, rounds=self._rounds, step=step)
        compared = summarise(scenario, taken, before=cube.before)
        cube.before = cube.before or compared
        self._compared.extend(compared.values())
        self._report.raw.append(
            {
                "scenario": scenario,
                "ms": {name: [round(value, 3) for value in values] for name, values in taken.items()},
            }
        )
        return compared

    def measure_recall(self, cube: Cube) -> None:
        """Recall@10 of the vector index against an exact scan, filter off and on."""
        if (floor := self._floor(cube)) is None:
            return
        topics = list(TOPICS)
        plain, filtered = [], []
        with progress(f"Recall of the index: {cube.size:,} memories", self._recall_queries) as step:
            for number, question in enumerate(cube.questions.take(self._recall_queries)):
                plain.append(floor.recall(question))
                filtered.append(floor.recall(question, topic=topics[number % len(topics)]))
                step()
        self._report.figures.setdefault("recall", []).append(
            {
                "size": cube.size,
                "indexed_rows": floor.indexed,
                "plain": mean(plain),
                "filtered": mean(filtered),
            }
        )
        self._report.goal(f"index recall@10, {cube.size:,}", mean(plain), ">=", 0.95)
        self._report.goal(f"index recall@10 with a filter, {cube.size:,}", mean(filtered), ">=", 0.95)

    def measure_versions(self, cube: Cube, *, versions: int, jobs_timeout_s: float) -> None:
        """The same cube after each of its memories got `versions` further versions."""
        if not cube.before:
            self.measure(cube, f"{cube.size:,} memories")
        with progress(f"Editing {cube.size:,} memories {versions} times", cube.size * versions) as step:
            self._tools.bulk.revise(cube.id, memories(self._tools.seed, cube.size), versions, step)
        self._settle(jobs_timeout_s)
        after = self.measure(cube, f"{cube.size:,} memories, {versions} edits each")
        self._goal_before("after the edits", after)

    def measure_among_others(
        self,
        cubes: Sequence[Cube],
        *,
        others: int,
        size: int,
        policy: Mapping[str, Any],
        jobs_timeout_s: float,
    ) -> None:
        """The same cubes with `others` further cubes of `size` memories beside them."""
        for cube in cubes:
            if not cube.before:
                self.measure(cube, f"{cube.size:,} memories")
        with progress(f"Filling {others} other cubes with {size:,}", others * size) as step:
            for number in range(others):
                name = cube_name("speed-other", str(number))
                cube_id = str(self._tools.client.create_cube(name, policy=policy)["id"])
                self._tools.bulk.load(cube_id, memories(f"{self._tools.seed}-other-{number}", size), step)
        self._settle(jobs_timeout_s)
        for cube in cubes:
            after = self.measure(cube, f"{cube.size:,} memories, {others} other cubes of {size:,}")
            self._goal_before(f"{cube.size:,} among other cubes", after)

    def publish(self) -> None:
        """The table of all scenarios, and the goals that compare them."""
        rows = [
            (
                one.scenario,
                one.arm,
                f"{one.latency.p50_ms:.1f}",
                f"{one.latency.p95_ms:.1f}",
                f"{one.latency.p99_ms:.1f}",
                "-" if one.to_floor is None else f"{one.to_floor:.2f}",
                "-" if one.to_before is None else f"{one.to_before:.2f}",
            )
            for one in self._compared
        ]
        columns = ("scenario", "asked", "p50 ms", "p95 ms", "p99 ms", "p50 / floor", "p50 / before")
        self._report.table("Search over HTTP beside the floor", columns, rows)
        self._report.table(
            "Filling the measured cubes",
            ("memories", "loaded in", "turns/s", "background jobs took"),
            [
                (
                    f"{one['size']:,}",
                    f"{one['loaded_s']:.0f} s",
                    f"{one['turns_per_s']:.0f}",
                    f"{one['jobs_s']:.0f} s",
                )
                for one in self._report.figures["fills"]
            ],
        )
        recalls = self._report.figures.get("recall", [])
        if recalls:
            self._report.table(
                "Recall@10 of the vector index against an exact scan",
                ("memories", "in the graph", "no filter", "filter on topic"),
                [
                    (
                        f"{one['size']:,}",
                        f"{one['indexed_rows']:,}",
                        figure(one["plain"]),
                        figure(one["filtered"]),
                    )
                    for one in recalls
                ],
            )
        self._report.figures["latency"] = self._compared
        self._size_goals()

    def _size_goals(self) -> None:
        """Goals of issues 2 and 4 on the largest cube that was measured on its own."""
        alone = [one for one in self._compared if one.scenario.endswith(" memories")]
        by_name = {(one.scenario, one.arm): one for one in alone}
        scenarios = list(dict.fromkeys(one.scenario for one in alone))
        if not scenarios:
            return
        last = scenarios[-1]
        for arm, bound in (("search auto", 3.0), ("search low", 2.0)):
            ratio = by_name[last, arm].to_floor
            if ratio is not None:
                self._report.goal(f"{arm} / floor, {last}", ratio, "<=", bound)
        auto = by_name[last, "search auto"].latency.p50_ms
        if (context := by_name.get((last, "context"))) is not None:
            self._report.goal(f"context / search, {last}", context.latency.p50_ms / auto, "<=", 1.3)
        if len(scenarios) > 1:
            first = by_name[scenarios[0], "search auto"].latency.p50_ms
            self._report.goal(f"search, {last} / {scenarios[0]}", auto / first, "<=", 1.5)

    def _goal_before(self, name: str, after: Mapping[str, Compared]) -> None:
        ratio = after["search auto"].to_before
        if ratio is not None:
            self._report.goal(f"search {name} / before", ratio, "<=", 1.2)

    def _arms(self, cube: Cube, scenario: str) -> list[Arm]:
        client = self._tools.client
        search = partial(client.search, cube.id, limit=LIMIT)
        topic = {"metadata.topic": {"eq": next(iter(TOPICS))}}
        arms = [
            Arm("search auto", search),
            Arm("search low", partial(search, budget="low")),
            Arm("search auto, filtered", partial(search, filter=topic)),
        ]
        if self._offers_context(cube):
            arms.append(Arm("context", partial(client.context, cube.id, budget_tokens=CONTEXT_TOKENS)))
        if (floor := self._floor(cube)) is not None:
            self._report.note(f"floor of '{scenario}': {floor.description}.")
            arms.append(Arm("floor", floor.search))
        return arms

    def _offers_context(self, cube: Cube) -> bool:
        """An older service has no such route; every other refusal is a failure of the run."""
        try:
            self._tools.client.context(cube.id, cube.questions.take(1)[0], budget_tokens=CONTEXT_TOKENS)
        except ApiError as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            self._report.note("this service offers no /context; it was not measured.")
            return False
        return True

    def _floor(self, cube: Cube) -> Floor | None:
        if self._tools.connection is None or self._tools.embedder is None:
            return None
        return Floor.of_cube(self._tools.connection, self._tools.embedder, cube.id)

    def _settle(self, jobs_timeout_s: float) -> float:
        """Wait for background work; let the database tidy up as it would by itself soon after."""
        with progress("Waiting for background jobs", None) as step:
            jobs_s = self._tools.client.wait_for_jobs(timeout_s=jobs_timeout_s, waiting=step)
        if self._tools.connection is not None:
            self._tools.connection.execute(SETTLE_SQL)
        return jobs_s
