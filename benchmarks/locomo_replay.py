"""Replaying LoCoMo conversations into cubes, one each: what every benchmark on this data starts with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.client import MemosClient
from benchmarks.locomo_data import Conversation
from benchmarks.options import cube_name
from benchmarks.report import Report, progress


@dataclass(slots=True)
class Replayed:
    """A conversation in its cube. `turns` maps memory ids to dialogue ids."""

    conversation: Conversation
    cube: str
    turns: dict[str, str] = field(default_factory=dict)
    add_ms: float = 0.0


@contextlib.contextmanager
def replayed(
    client: MemosClient,
    conversations: Sequence[Conversation],
    report: Report,
    *,
    policy: Mapping[str, Any],
    jobs_timeout_s: float,
) -> Iterator[list[Replayed]]:
    """Post every session, wait until background jobs are done, and remove the cubes at the end.

    Notes what the labels lack and records the rate of writing.
    """
    done: list[Replayed] = []
    total = sum(len(conversation.turns) for conversation in conversations)
    try:
        with progress("Replaying turns", total) as step:
            for conversation in conversations:
                cube = client.create_cube(cube_name("locomo", conversation.sample_id), policy=policy)
                done.append(Replayed(conversation, str(cube["id"])))
                for session in conversation.sessions:
                    _post(client, done[-1], session)
                    step(len(session))
        with progress("Waiting for background jobs", None) as step:
            jobs_s = client.wait_for_jobs(timeout_s=jobs_timeout_s, waiting=step)
        _record(report, done, total, jobs_s)
        yield done
    finally:
        for one in done:
            client.delete_cube(one.cube)


def _post(client: MemosClient, target: Replayed, session: Sequence[Any]) -> None:
    if not session:
        return
    added = client.add_messages(target.cube, session[0].session_id, [turn.message() for turn in session])
    target.add_ms += added.elapsed_ms
    target.turns.update((memory_id, turn.turn_id) for (memory_id, _), turn in zip(added.memories, session, strict=True))


def _record(report: Report, done: Sequence[Replayed], turns: int, jobs_s: float) -> None:
    report.figures["turns"] = turns
    report.figures["add_turns_per_s"] = turns / (sum(one.add_ms for one in done) / 1000)
    report.figures["jobs_s"] = jobs_s
    unanswerable = sum(one.conversation.unanswerable for one in done)
    if unanswerable:
        report.note(f"{unanswerable} questions of categories 1-4 name no evidence turn and are not scored.")
    unknown = sum(one.conversation.unknown_evidence for one in done)
    if unknown:
        report.note(f"{unknown} evidence ids name no turn of their conversation and cannot be found.")
