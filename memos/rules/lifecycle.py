"""The life of a memory as data: which state may follow which, and by what act.

    generated ──recall/link──▶ activated ──merge──▶ merged ──restore──▶ activated
        │  ╲                      │  ╲
        │   archive/expire        │   archive/expire         archived ──recall/restore──▶ activated
        ▼                         ▼                          expired  ──restore─────────▶ activated
     frozen ◀──freeze── any live state; unfreeze leads back to exactly the state before

The same rows feed the database trigger (`transition_sql_rows`), so the service and the schema cannot drift apart.
Two acts stand outside the graph because they do not move a memory along it: a `rollback` and a `branch_merge` restate
a state the memory already reached legally, in an earlier revision or on another branch. They may lead anywhere, except
out of `frozen`, which only `unfreeze` leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from memos.errors import Conflict, Frozen


class State(StrEnum):
    GENERATED = "generated"
    ACTIVATED = "activated"
    MERGED = "merged"
    ARCHIVED = "archived"
    EXPIRED = "expired"
    FROZEN = "frozen"


class Action(StrEnum):
    """Why a state changes. The database trigger sees the same word."""

    RECALL = "recall"
    LINK = "link"
    MERGE = "merge"
    ARCHIVE = "archive"
    EXPIRE = "expire"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    RESTORE = "restore"
    ROLLBACK = "rollback"
    BRANCH_MERGE = "branch_merge"


class Touch(StrEnum):
    """Acts on a memory that leave its state alone, or end it; each is refused while frozen."""

    UPDATE = "update"
    DECAY = "decay"
    ERASE = "erase"


class IllegalTransition(Conflict):
    code = "illegal_transition"
    title = "The memory's state does not allow this"


_LIVE = (State.GENERATED, State.ACTIVATED)

EDGES: Final[Mapping[tuple[State, State], frozenset[Action]]] = MappingProxyType(
    {
        (State.GENERATED, State.ACTIVATED): frozenset({Action.RECALL, Action.LINK, Action.RESTORE}),
        **{(state, State.MERGED): frozenset({Action.MERGE}) for state in _LIVE},
        **{(state, State.ARCHIVED): frozenset({Action.ARCHIVE}) for state in (*_LIVE, State.MERGED)},
        **{(state, State.EXPIRED): frozenset({Action.EXPIRE}) for state in (*_LIVE, State.ARCHIVED)},
        **{(state, State.FROZEN): frozenset({Action.FREEZE}) for state in (*_LIVE, State.MERGED, State.ARCHIVED)},
        (State.MERGED, State.ACTIVATED): frozenset({Action.RESTORE}),
        (State.ARCHIVED, State.ACTIVATED): frozenset({Action.RECALL, Action.RESTORE}),
        (State.EXPIRED, State.ACTIVATED): frozenset({Action.RESTORE}),
        **{(State.FROZEN, state): frozenset({Action.UNFREEZE}) for state in (*_LIVE, State.MERGED, State.ARCHIVED)},
    }
)
"""Every step of the graph and the acts that may take it."""

TRANSITIONS: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {state: frozenset(target for source, target in EDGES if source is state) for state in State}
)
"""What each state may become, whatever the act: the table of the design."""

RESTATEMENTS: Final = frozenset({Action.ROLLBACK, Action.BRANCH_MERGE})


def check_transition(from_: State, to: State, *, action: Action, frozen_from: State | None = None) -> None:
    """Raise `IllegalTransition` (or `Frozen`) unless `action` may lead from one state to the other.

    `frozen_from` is the state a frozen memory had before; unfreezing leads there and nowhere else. Whether the caller
    holds the `freeze` scope is the access rules' question, not this one.
    """
    if from_ is State.FROZEN and action is not Action.UNFREEZE:
        raise Frozen(f"A frozen memory allows no {action.value}; unfreeze it first")
    if action in RESTATEMENTS:
        return
    if action not in EDGES.get((from_, to), frozenset()):
        raise IllegalTransition(
            f"{action.value} cannot take a memory from {from_.value} to {to.value}",
            extra={"from": from_.value, "to": to.value, "action": action.value, "allowed": allowed(from_)},
        )
    if from_ is State.FROZEN and to is not frozen_from:
        before = frozen_from.value if frozen_from else "unknown"
        raise IllegalTransition(f"Unfreezing leads back to the state before ({before}), not to {to.value}")


def check_touch(state: State, touch: Touch) -> None:
    """Raise unless a memory in `state` may be updated, decayed or erased.

    An expired memory still can be erased, but not edited: it has to be restored first, so that bringing it back is a
    decision of its own in the log.
    """
    if state is State.FROZEN:
        raise Frozen(f"A frozen memory allows no {touch.value}; unfreeze it first")
    if state is State.EXPIRED and touch is Touch.UPDATE:
        raise IllegalTransition("An expired memory cannot be edited; restore it first")


def allowed(state: State) -> list[str]:
    """The states that may follow, sorted, for error messages and the API."""
    return sorted(target.value for target in TRANSITIONS[state])


def transition_sql_rows() -> list[tuple[str, str, str]]:
    """(from_state, to_state, action) for the trigger's table: the edges, plus what restatements may do."""
    rows = {(source.value, target.value, act.value) for (source, target), acts in EDGES.items() for act in acts}
    rows |= {
        (source.value, target.value, act.value)
        for source in State
        for target in State
        for act in RESTATEMENTS
        if source is not State.FROZEN and source is not target
    }
    return sorted(rows)
