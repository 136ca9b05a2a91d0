"""A procedure needs two good endings; one lucky run is an anecdote."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.rules.procedures import Ending, Trace, distil, find_goal, find_steps, judge_ending

STEPS = ("Stop the server", "Run the database migration", "Start the server", "Check the health page")


def trace(
    number: int, ending: Ending = Ending.SUCCESS, steps: tuple[str, ...] = STEPS, goal: str = "deploy a release"
) -> Trace:
    return Trace(goal, steps, ending, (UUID(int=number),))


def test_two_successes_make_a_procedure() -> None:
    other = ("Stop the server first", "Make coffee", "Run database migrations", "Start the server again")
    (found,) = distil([trace(1, steps=other), trace(2, goal="deploy the release")])
    assert found.steps == ("Stop the server", "Run the database migration", "Start the server")
    assert (found.successes, found.failures, found.source_ids) == (2, 0, (UUID(int=1), UUID(int=2)))
    assert found.text.startswith("How to deploy the release:\n1. Stop the server\n2. Run")


@pytest.mark.parametrize(
    "traces",
    [
        [trace(1)],
        [trace(1), trace(2, Ending.UNKNOWN)],
        [trace(1), trace(2), trace(3, Ending.FAILURE), trace(4, Ending.FAILURE)],
        [trace(1), trace(2, goal="bake sourdough bread")],
        [trace(1), trace(2, steps=STEPS[::-1])],
        [trace(1, steps=STEPS[:1]), trace(2, steps=STEPS[:1])],
        [trace(1, goal=""), trace(2, goal="")],
    ],
)
def test_less_is_not_enough(traces: list[Trace]) -> None:
    assert distil(traces) == []


traces = st.builds(
    Trace,
    st.sampled_from(["deploy a release", "deploy the release now", "bake bread", ""]),
    st.lists(st.sampled_from(STEPS), max_size=5).map(tuple),
    st.sampled_from(Ending),
    st.integers(0, 99).map(lambda number: (UUID(int=number),)),
)


@given(st.lists(traces, max_size=10))
def test_every_step_and_source_comes_from_a_success(given_traces: list[Trace]) -> None:
    good = [one for one in given_traces if one.ending is Ending.SUCCESS]
    for procedure in distil(given_traces):
        assert procedure.successes >= 2
        assert procedure.failures < procedure.successes
        assert set(procedure.steps) <= {step for one in good for step in one.steps}
        assert set(procedure.source_ids) <= {source for one in good for source in one.source_ids}


@pytest.mark.parametrize(
    ("texts", "ending"),
    [
        (["Let me try.", "That worked, thanks!"], Ending.SUCCESS),
        (["It still fails."], Ending.FAILURE),
        (["It failed at first.", "Now it's fixed."], Ending.SUCCESS),
        (["It works now!", "Hm, it didn't work after all."], Ending.FAILURE),
        (["Nice weather."], Ending.UNKNOWN),
        ([], Ending.UNKNOWN),
    ],
)
def test_endings(texts: list[str], ending: Ending) -> None:
    assert judge_ending(texts) is ending


def test_steps_are_what_lists_tell_to_do() -> None:
    text = "Here is how:\n1. Stop the server.\n2. The server is slow.\n- Run the migration.\nThen start it. First, open a shell."
    assert find_steps(text) == ("Stop the server", "Run the migration", "start it", "open a shell")
    assert find_steps("I like it. It is nice.") == ()


def test_goals() -> None:
    assert find_goal("How do I deploy a release?") == "deploy a release"
    assert find_goal("Nice weather.") == ""


@given(st.text(max_size=200))
def test_any_text_is_read_without_error(text: str) -> None:
    find_steps(text)
    find_goal(text)
    judge_ending([text])
