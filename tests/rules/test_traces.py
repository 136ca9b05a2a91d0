"""Runs of how-tos in conversations."""

from __future__ import annotations

from uuid import UUID

from memos.rules.procedures import Ending
from memos.rules.traces import Said, find_traces

STEPS = "1. Stop the server.\n2. Run the migration.\n3. Restart the server."


def turns(*said: tuple[str, str]) -> list[Said]:
    return [Said(UUID(int=place), text, role) for place, (role, text) in enumerate(said, start=1)]


def test_a_question_its_steps_and_how_it_went_are_one_run() -> None:
    [trace] = find_traces(
        turns(
            ("user", "How do I deploy the service?"),
            ("assistant", "Let me think."),
            ("assistant", STEPS),
            ("user", "One moment."),
            ("user", "That worked, thanks!"),
        )
    )
    assert trace.goal == "deploy the service"
    assert trace.steps == ("Stop the server", "Run the migration", "Restart the server")
    assert trace.ending is Ending.SUCCESS
    assert [source.int for source in trace.source_ids] == [1, 3, 5]


def test_a_failure_is_a_failure_and_silence_is_unknown() -> None:
    asked = (("user", "How do I deploy the service?"), ("assistant", STEPS))
    [failed] = find_traces(turns(*asked, ("user", "It still fails.")))
    [silent] = find_traces(turns(*asked, ("user", "What is for lunch?")))
    assert (failed.ending, silent.ending) == (Ending.FAILURE, Ending.UNKNOWN)
    assert [source.int for source in silent.source_ids] == [1, 2]


def test_the_verdict_on_one_run_is_not_that_on_the_next() -> None:
    first, second = find_traces(
        turns(
            ("user", "How do I deploy the service?"),
            ("assistant", STEPS),
            ("user", "How do I restore the backup?"),
            ("assistant", STEPS),
            ("user", "That worked, thanks!"),
        )
    )
    assert (first.ending, second.ending) == (Ending.UNKNOWN, Ending.SUCCESS)


def test_without_steps_or_question_there_is_no_run() -> None:
    assert find_traces(turns(("user", "How do I deploy the service?"), ("assistant", "I do not know."))) == []
    assert find_traces(turns(("assistant", "How do I deploy the service?"), ("assistant", STEPS))) == []
    late = [("user", "Hm."), ("user", "Hm."), ("user", "Hm."), ("user", "Hm.")]
    assert find_traces(turns(("user", "How do I deploy the service?"), *late, ("assistant", STEPS))) == []
    assert find_traces([]) == []
