"""What a grant allows: the operations of each ability, by name, so that what is added later is shared only on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from memos.rules.access import Operation, Principal, Scope


class Ability(StrEnum):
    RECALL = "recall"
    """Search and context, and nothing by which the memories could be taken away one by one."""
    READ = "read"
    WRITE = "write"


RECALLS: Final = frozenset({"search", "context"})
READS: Final = frozenset(
    {
        "get_cube", "list_memories", "get_memory", "list_history", "get_provenance", "list_revisions", "diff", "list_tags",
        "list_branches", "list_entities", "get_entity", "graph",
    }
)  # fmt: skip
WRITES: Final = frozenset(
    {
        "add_messages", "add_document", "add_memories", "import_memories", "change_memory", "archive_memory",
        "restore_memory", "set_memory_state",
    }
)  # fmt: skip
REDACTING: Final = frozenset({"list_memories", "get_memory", "list_history", "get_provenance", "diff"})
"""Doors that can show that a memory is there without showing what it says."""

GOVERNING: Final = frozenset({"get_cube", "update_cube"})
"""Doors to the policy itself."""

_SCOPES: Final[Mapping[Ability, frozenset[Scope]]] = MappingProxyType(
    {
        Ability.RECALL: frozenset({Scope.READ}),
        Ability.READ: frozenset({Scope.READ}),
        Ability.WRITE: frozenset({Scope.READ, Scope.WRITE}),
    }
)


def abilities_for(operation_id: str) -> tuple[str, ...]:
    """The abilities with which a guest may call an operation; none for everything a grant does not share."""
    if operation_id in RECALLS:
        return (Ability.RECALL, Ability.READ, Ability.WRITE)
    if operation_id in READS:
        return (Ability.READ, Ability.WRITE)
    return (Ability.WRITE,) if operation_id in WRITES else ()


def operation_of(operation_id: str, scope: Scope | None) -> Operation:
    """What a call does, for the policy of the cube."""
    if operation_id in RECALLS or operation_id == "search_all":
        return Operation.RECALL
    return Operation.READ if scope in (None, Scope.READ) else Operation.WRITE


def guest(
    who: Principal, *, tenant_id: UUID, tenant_name: str, cube_id: UUID, grant_id: UUID, ability: str
) -> Principal:
    """A caller in another's house: their identity, one cube, and of its own scopes those the grant gives too."""
    return replace(
        who,
        tenant_id=tenant_id,
        tenant_name=tenant_name,
        scopes=who.scopes & _SCOPES[Ability(ability)],
        cube_ids=frozenset({cube_id}),
        operator=False,
        granted=frozenset(),
        grant_id=grant_id,
    )
