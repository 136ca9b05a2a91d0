"""Newest over stale: facts fed in order that contradict earlier ones, then single-hop questions, through
HTTP.

Each fact is one memory of kind `fact`, posted in batches that keep the order of the file, without its number
or any date: order of arrival is all the service gets (--dates adds one minute of valid time per fact, --numbered posts the
lines as their document has them, whose numbering says that a later value of whatever attribute is the current one). When
no background job is left, each question is searched for. It passes when the newest fact of its slot is among
the results and no stale one stands above it. How labels are made from the data is told in conflict_data.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.client import Json, MemosClient
from benchmarks.conflict_data import Conflicts, Fact, Question, load
from benchmarks.metrics import Latency, mean
from benchmarks.options import cube_name, json_object, parser, service_of, settings_of
from benchmarks.report import Report, figure, progress

# What a caller would ask for.
LIMIT = 10
# States of a memory that something newer has replaced; a closed validity window says the same.
REPLACED_STATES = frozenset({"merged", "archived", "expired"})
# Valid time of the first fact under --dates; any fixed time serves.
FIRST_DATE = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Ranks count from 1; None means not among the results."""

    question: int
    newest: int | None
    newest_rank: int | None
    stale_rank: int | None
    has_stale: bool
    elapsed_ms: float

    @property
    def passed(self) -> bool:
        return self.newest_rank is not None and (self.stale_rank is None or self.newest_rank < self.stale_rank)


def main(argv: Sequence[str]) -> int:
    made = parser("conflict", __doc__)
    made.add_argument("--data", type=Path, required=True, metavar="FILE")
    made.add_argument("--batch", type=int, default=50, metavar="N", help="facts in one request")
    made.add_argument("--dates", action="store_true", help="give each fact a valid_from, one minute apart")
    made.add_argument("--numbered", action="store_true", help="post each fact with its number, as its document has it")
    made.add_argument("--jobs-timeout", type=float, default=1800.0, metavar="S")
    made.add_argument("--policy", type=json_object, default={}, metavar="JSON")
    made.add_argument("--search", type=json_object, default={}, metavar="JSON", help="extra search fields")
    arguments = made.parse_args(argv)
    conflicts = load(arguments.data)
    report = Report("conflict", settings=settings_of(arguments) | {"limit": LIMIT}, out_dir=arguments.out)
    with service_of(arguments) as service, MemosClient(service.url, service.key) as client:
        report.settings["service"] = service.description
        cube = str(client.create_cube(cube_name("conflict"), policy=arguments.policy)["id"])
        try:
            memories = feed(
                client, cube, conflicts.facts, batch=arguments.batch, dates=arguments.dates, numbered=arguments.numbered
            )
            with progress("Waiting for background jobs", None) as step:
                report.figures["jobs_s"] = client.wait_for_jobs(timeout_s=arguments.jobs_timeout, waiting=step)
            outcomes = ask_all(client, cube, conflicts, memories, extra=arguments.search)
            replaced = replaced_facts(client, cube, memories)
        finally:
            client.delete_cube(cube)
    publish(report, conflicts, outcomes, replaced)
    report.finish()
    return 0


def feed(
    client: MemosClient, cube: str, facts: Sequence[Fact], *, batch: int, dates: bool, numbered: bool = False
) -> dict[int, str]:
    """Post the facts in order; {fact number: memory id}."""
    memories: dict[int, str] = {}
    with progress("Feeding facts", len(facts)) as step:
        for start in range(0, len(facts), batch):
            part = facts[start : start + batch]
            added = client.add_memories(cube, [_item(fact, dates=dates, numbered=numbered) for fact in part])
            memories.update((fact.number, memory_id) for fact, (memory_id, _) in zip(part, added.memories, strict=True))
            step(len(part))
    return memories


def ask_all(
    client: MemosClient,
    cube: str,
    conflicts: Conflicts,
    memories: Mapping[int, str],
    *,
    extra: dict[str, Any],
) -> list[Outcome]:
    outcomes = []
    with progress("Asking", len(conflicts.questions)) as step:
        for question in conflicts.questions:
            reply = client.search(cube, question.text, **{"limit": LIMIT, **extra})
            outcomes.append(judge(question, [hit.memory_id for hit in reply.hits], memories, reply.elapsed_ms))
            step()
    return outcomes


def judge(question: Question, ranked: Sequence[str], memories: Mapping[int, str], elapsed_ms: float) -> Outcome:
    """Where the newest and the best-placed stale fact stand."""
    ranks = {memory_id: rank for rank, memory_id in reversed(list(enumerate(ranked, start=1)))}
    stale = [ranks[memories[number]] for number in question.stale if memories[number] in ranks]
    newest = None if question.newest is None else ranks.get(memories[question.newest])
    return Outcome(question.number, question.newest, newest, min(stale, default=None), bool(question.stale), elapsed_ms)


def replaced_facts(client: MemosClient, cube: str, memories: Mapping[int, str]) -> frozenset[int]:
    """The facts that the service itself holds to be superseded."""
    found = set()
    with progress("Reading states", len(memories)) as step:
        for number, memory_id in memories.items():
            if is_replaced(client.get_memory(cube, memory_id)):
                found.add(number)
            step()
    return frozenset(found)


def is_replaced(memory: Json) -> bool:
    return memory["state"] in REPLACED_STATES or memory.get("valid_to") is not None


def publish(report: Report, conflicts: Conflicts, outcomes: Sequence[Outcome], replaced: frozenset[int]) -> None:
    """The table, figures, goals and raw rows."""
    contested = [outcome for outcome in outcomes if outcome.has_stale]
    stale = [number for question in conflicts.questions for number in question.stale]
    newest = [question.newest for question in conflicts.questions if question.newest is not None]
    unlabelled = sum(question.newest is None for question in conflicts.questions)
    if unlabelled:
        report.note(f"{unlabelled} questions have an answer that no fact ends in; they count as failed.")
    figures = {
        "questions": len(outcomes),
        "passed": sum(outcome.passed for outcome in outcomes),
        "contested": len(contested),
        "contested_passed": sum(outcome.passed for outcome in contested),
        "stale_above_newest": sum(outcome.stale_rank is not None and not outcome.passed for outcome in contested),
        "newest_not_found": sum(outcome.newest_rank is None for outcome in outcomes),
        "newest_first": sum(outcome.newest_rank == 1 for outcome in outcomes),
        "stale_shown": sum(outcome.stale_rank is not None for outcome in contested),
        "stale_facts": len(stale),
        "stale_marked": sum(number in replaced for number in stale),
        "newest_wrongly_marked": sum(number in replaced for number in newest),
        "facts": len(conflicts.facts),
        "facts_marked": len(replaced),
    }
    latency = Latency.of([outcome.elapsed_ms for outcome in outcomes])
    report.figures |= figures | {"search_latency": latency}
    rows = [
        ("newest found, no stale fact above it", f"{figures['passed']} of {figures['questions']}"),
        (
            "  the same where a stale fact exists",
            f"{figures['contested_passed']} of {figures['contested']}",
        ),
        ("newest is the first result", f"{figures['newest_first']} of {figures['questions']}"),
        ("newest not among the first 10", f"{figures['newest_not_found']}"),
        ("stale fact above the newest", f"{figures['stale_above_newest']}"),
        ("stale fact among the results at all", f"{figures['stale_shown']} of {figures['contested']}"),
        ("stale facts marked superseded", f"{figures['stale_marked']} of {figures['stale_facts']}"),
        ("newest facts wrongly marked", f"{figures['newest_wrongly_marked']} of {len(newest)}"),
        ("facts marked in the whole file", f"{figures['facts_marked']} of {figures['facts']}"),
        ("search p50 / p95", f"{latency.p50_ms:.1f} / {latency.p95_ms:.1f} ms"),
        ("background jobs took", f"{figure(report.figures['jobs_s'], 1)} s"),
    ]
    report.table("Newest over stale", ("", "figure"), rows)
    report.goal("share passed", mean([float(outcome.passed) for outcome in outcomes]), ">=", 0.95)
    report.goal("share of stale facts marked", mean([float(number in replaced) for number in stale]), ">=", 1)
    report.raw = [
        {
            "question": outcome.question,
            "newest_fact": outcome.newest,
            "newest_rank": outcome.newest_rank,
            "stale_rank": outcome.stale_rank,
            "passed": outcome.passed,
            "elapsed_ms": round(outcome.elapsed_ms, 3),
        }
        for outcome in outcomes
    ]


def _item(fact: Fact, *, dates: bool, numbered: bool) -> Json:
    text = f"{fact.number}. {fact.text}" if numbered else fact.text
    item: Json = {"kind": "fact", "content": text, "external_id": f"fact-{fact.number}"}
    if dates:
        item["valid_from"] = (FIRST_DATE + timedelta(minutes=fact.number)).isoformat()
    return item
