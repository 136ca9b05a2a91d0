"""Retrieval quality on LongMemEval-format files, through HTTP.

Each question gets a cube of its own, which is filled, asked once with the asker's date as `now`, and deleted.
Sessions are ranked by their best turn, as the data set's own evaluation does when turns are indexed:
recall_all@k asks for every answer session among the first k sessions, or for every answer turn among the
first k results. Turns of both roles are stored and may be evidence. Questions that ask for abstention are
left out and counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.client import MemosClient
from benchmarks.credit import ranked_turns
from benchmarks.longmemeval_data import Question, Turn, load
from benchmarks.metrics import Latency, all_at, any_at, approximate_tokens, distinct, mean, ndcg_at, recall_at
from benchmarks.options import add_search_options, cube_name, parser, service_of, settings_of
from benchmarks.report import Report, Step, figure, progress

LIMIT = 50
# Messages in one request: below the service's bound on items, and large enough that embedding dominates.
BATCH = 100
COLUMNS = (
    "questions",
    "session all@5",
    "session all@10",
    "session any@5",
    "turn all@10",
    "turn R@10",
    "turn nDCG@10",
)


@dataclass(slots=True)
class Filled:
    """A haystack in its cube; `turns` maps memory ids to turns."""

    cube: str
    turns: dict[str, Turn] = field(default_factory=dict)
    add_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    question_id: str
    question_type: str
    turns: int
    answer_sessions: frozenset[str]
    answer_turns: frozenset[str]
    ranked_sessions: tuple[str, ...]
    ranked_turns: tuple[str, ...]
    tokens_at_10: int
    add_ms: float
    elapsed_ms: float


def main(argv: Sequence[str]) -> int:
    made = parser("longmemeval", __doc__)
    made.add_argument("--data", type=Path, required=True, metavar="FILE", help=".json or .json.xz")
    made.add_argument("--first", type=int, metavar="N", help="only the first N questions (said in the output)")
    add_search_options(made)
    arguments = made.parse_args(argv)
    loaded = load(arguments.data)
    report = Report("longmemeval", settings=settings_of(arguments) | {"limit": LIMIT}, out_dir=arguments.out)
    questions = [question for question in loaded if not question.abstains]
    report.note(f"{len(loaded) - len(questions)} of {len(loaded)} questions ask for abstention: not scored.")
    if arguments.first is not None and arguments.first < len(questions):
        report.note(f"only the first {arguments.first} of {len(questions)} questions were asked.")
        questions = questions[: arguments.first]
    empty = sum(question.empty_turns for question in questions)
    if empty:
        report.note(f"{empty} turns have no text and were not posted.")
    with service_of(arguments) as service, MemosClient(service.url, service.key) as client:
        report.settings["service"] = service.description
        with progress("Filling and asking", sum(len(question.turns) for question in questions)) as step:
            answers = [_in_own_cube(client, question, arguments, step) for question in questions]
    publish(report, answers)
    report.finish()
    return 0


def _in_own_cube(client: MemosClient, question: Question, arguments: argparse.Namespace, step: Step) -> Answer:
    cube = str(client.create_cube(cube_name("lme", question.question_id), policy=arguments.policy)["id"])
    try:
        filled = _fill(client, cube, question, step)
        client.wait_for_jobs(timeout_s=arguments.jobs_timeout, poll_s=0.1)
        return _ask(client, filled, question, sources=arguments.credit == "sources", extra=arguments.search)
    finally:
        client.delete_cube(cube)


def _fill(client: MemosClient, cube: str, question: Question, step: Step) -> Filled:
    """Post every session."""
    filled = Filled(cube)
    for session_id, turns in question.sessions:
        for batch in _batches(turns):
            added = client.add_messages(cube, session_id, [turn.message() for turn in batch])
            filled.add_ms += added.elapsed_ms
            filled.turns.update((memory_id, turn) for (memory_id, _), turn in zip(added.memories, batch, strict=True))
            step(len(batch))
    return filled


def _ask(client: MemosClient, filled: Filled, question: Question, *, sources: bool, extra: dict[str, Any]) -> Answer:
    now = question.asked_at.isoformat()
    reply = client.search(filled.cube, question.text, **{"limit": LIMIT, "now": now, **extra})
    turn_ids = {memory_id: turn.turn_id for memory_id, turn in filled.turns.items()}
    session_of = {turn.turn_id: turn.session_id for turn in filled.turns.values()}
    ranked = ranked_turns(reply.hits, turn_ids, sources=sources)
    return Answer(
        question_id=question.question_id,
        question_type=question.question_type,
        turns=len(filled.turns),
        answer_sessions=question.answer_sessions,
        answer_turns=question.answer_turns,
        ranked_sessions=tuple(distinct(session_of[turn] for turn in ranked if turn in session_of)),
        ranked_turns=tuple(ranked),
        tokens_at_10=sum(approximate_tokens(hit.content) for hit in reply.hits[:10]),
        add_ms=filled.add_ms,
        elapsed_ms=reply.elapsed_ms,
    )


def scores(answers: Sequence[Answer]) -> dict[str, float]:
    """The means over some questions, under the names of COLUMNS; turn figures where turns are marked."""
    sessions = [(answer.ranked_sessions, answer.answer_sessions) for answer in answers]
    turns = [(answer.ranked_turns, answer.answer_turns) for answer in answers if answer.answer_turns]
    return {
        "questions": len(answers),
        "session all@5": mean([all_at(*pair, 5) for pair in sessions]),
        "session all@10": mean([all_at(*pair, 10) for pair in sessions]),
        "session any@5": mean([any_at(*pair, 5) for pair in sessions]),
        "turn all@10": mean([all_at(*pair, 10) for pair in turns]),
        "turn R@10": mean([recall_at(*pair, 10) for pair in turns]),
        "turn nDCG@10": mean([ndcg_at(*pair, 10) for pair in turns]),
    }


def publish(report: Report, answers: Sequence[Answer]) -> None:
    """Tables, figures, goals and raw rows."""
    unmarked = sum(not answer.answer_turns for answer in answers)
    if unmarked:
        report.note(f"{unmarked} questions mark no answer turn: scored on sessions only.")
    kinds = sorted({answer.question_type for answer in answers})
    quality = {kind: scores([answer for answer in answers if answer.question_type == kind]) for kind in kinds}
    quality["overall"] = overall = scores(answers)
    rows = [
        (kind, f"{group['questions']:.0f}", *(figure(group[column]) for column in COLUMNS[1:]))
        for kind, group in quality.items()
    ]
    report.table("LongMemEval evidence", ("question type", *COLUMNS), rows)
    latency = Latency.of([answer.elapsed_ms for answer in answers])
    turns = sum(answer.turns for answer in answers)
    rate = turns / (sum(answer.add_ms for answer in answers) / 1000) if turns else float("nan")
    tokens = mean([answer.tokens_at_10 for answer in answers])
    report.table(
        "Cost of an answer",
        ("search p50", "p95", "p99", "tokens in the first 10 (characters / 4)", "turns added per second"),
        [
            (
                f"{latency.p50_ms:.1f} ms",
                f"{latency.p95_ms:.1f} ms",
                f"{latency.p99_ms:.1f} ms",
                figure(tokens, 0),
                figure(rate, 0),
            )
        ],
    )
    report.figures |= {
        "quality": quality,
        "search_latency": latency,
        "tokens_at_10": tokens,
        "turns": turns,
        "add_turns_per_s": rate,
    }
    # Goals of issue 4, set on the dev split.
    report.goal("turn recall_all@10", overall["turn all@10"], ">=", 0.80)
    report.goal("session recall_all@5", overall["session all@5"], ">=", 0.92)
    report.raw = [
        {
            "question_id": answer.question_id,
            "question_type": answer.question_type,
            "answer_sessions": sorted(answer.answer_sessions),
            "answer_turns": sorted(answer.answer_turns),
            "ranked_sessions": list(answer.ranked_sessions),
            "ranked_turns": list(answer.ranked_turns),
            "turns": answer.turns,
            "elapsed_ms": round(answer.elapsed_ms, 3),
        }
        for answer in answers
    ]


def _batches(turns: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    for start in range(0, len(turns), BATCH):
        yield turns[start : start + BATCH]
