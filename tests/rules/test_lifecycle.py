"""The lifecycle as data: the table of the design, and no path that leaves it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.errors import Conflict, Frozen
from memos.rules.lifecycle import (
    EDGES,
    RESTATEMENTS,
    TRANSITIONS,
    Action,
    IllegalTransition,
    State,
    Touch,
    allowed,
    check_touch,
    check_transition,
    transition_sql_rows,
)

states = st.sampled_from(State)
actions = st.sampled_from(Action)


def test_the_table_is_the_one_of_the_design() -> None:
    expected = {
        State.GENERATED: {"activated", "merged", "archived", "expired", "frozen"},
        State.ACTIVATED: {"merged", "archived", "expired", "frozen"},
        State.MERGED: {"activated", "archived", "frozen"},
        State.ARCHIVED: {"activated", "expired", "frozen"},
        State.EXPIRED: {"activated"},
        State.FROZEN: {"generated", "activated", "merged", "archived"},
    }
    assert {state: {target.value for target in targets} for state, targets in TRANSITIONS.items()} == expected


def test_every_state_names_what_may_follow() -> None:
    assert allowed(State.MERGED) == ["activated", "archived", "frozen"]


@given(states, states, actions, st.none() | states)
def test_what_is_allowed_is_an_edge_or_a_restatement(
    source: State, target: State, action: Action, before: State | None
) -> None:
    try:
        check_transition(source, target, action=action, frozen_from=before)
    except Conflict:
        return
    if action in RESTATEMENTS:
        assert source is not State.FROZEN
    else:
        assert target in TRANSITIONS[source]
        assert action in EDGES[source, target]


@given(st.lists(st.tuples(states, actions), max_size=30))
def test_no_path_leaves_the_graph(steps: list[tuple[State, Action]]) -> None:
    state, before = State.GENERATED, State.GENERATED
    rows = set(transition_sql_rows())
    for target, action in steps:
        try:
            check_transition(state, target, action=action, frozen_from=before)
        except Conflict:
            continue
        if state is not target:
            assert (state.value, target.value, action.value) in rows
        if target is State.FROZEN and state is not State.FROZEN:
            before = state
        state = target


@pytest.mark.parametrize("action", [action for action in Action if action is not Action.UNFREEZE])
@pytest.mark.parametrize("target", State)
def test_only_unfreezing_leaves_frozen(action: Action, target: State) -> None:
    with pytest.raises(Frozen):
        check_transition(State.FROZEN, target, action=action, frozen_from=target)


def test_unfreezing_leads_back_to_the_state_before_and_nowhere_else() -> None:
    check_transition(State.FROZEN, State.ARCHIVED, action=Action.UNFREEZE, frozen_from=State.ARCHIVED)
    with pytest.raises(IllegalTransition):
        check_transition(State.FROZEN, State.ACTIVATED, action=Action.UNFREEZE, frozen_from=State.ARCHIVED)
    with pytest.raises(IllegalTransition):
        check_transition(State.FROZEN, State.ACTIVATED, action=Action.UNFREEZE)


@pytest.mark.parametrize("action", sorted(set(Action) - {Action.RESTORE, *RESTATEMENTS}))
def test_an_expired_memory_only_comes_back_on_purpose(action: Action) -> None:
    with pytest.raises(IllegalTransition):
        check_transition(State.EXPIRED, State.ACTIVATED, action=action)


def test_rollback_restates_any_earlier_state() -> None:
    check_transition(State.MERGED, State.GENERATED, action=Action.ROLLBACK)
    check_transition(State.EXPIRED, State.ACTIVATED, action=Action.ROLLBACK)


@pytest.mark.parametrize("touch", Touch)
def test_a_frozen_memory_is_not_touched(touch: Touch) -> None:
    with pytest.raises(Frozen):
        check_touch(State.FROZEN, touch)


def test_an_expired_memory_may_be_erased_but_not_edited() -> None:
    check_touch(State.EXPIRED, Touch.ERASE)
    with pytest.raises(IllegalTransition):
        check_touch(State.EXPIRED, Touch.UPDATE)


def test_the_sql_rows_hold_every_edge_once_and_sorted() -> None:
    rows = transition_sql_rows()
    assert rows == sorted(set(rows))
    edges = {(source.value, target.value, act.value) for (source, target), acts in EDGES.items() for act in acts}
    assert edges <= set(rows)
    assert not any(source == "frozen" and action != "unfreeze" for source, _, action in rows)
