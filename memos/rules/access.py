"""Who may do what: scopes of a key, the cubes it is bound to, how secret a memory it may read, and what it calls for."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

from memos.errors import Forbidden, Invalid, NotFound
from memos.rules.header import Sensitivity

KEY_PREFIX = "mk_"
KEY_BYTES = 32
MIN_KEY_LENGTH = 16


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"
    FREEZE = "freeze"
    ERASE = "erase"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)

LABELS: Final = (Sensitivity.PUBLIC, Sensitivity.NORMAL, Sensitivity.PERSONAL, Sensitivity.SECRET)
"""From the least to the most secret; a place in it is a clearance."""
TOP_CLEARANCE: Final = len(LABELS) - 1
QUARANTINE: Final = 8
"""What is in quarantine counts as more secret than any label (see migration 0006)."""
EVERYTHING: Final = 99


def rank(sensitivity: str, *, quarantined: bool = False) -> int:
    """How secret a version is, as the database's policies count it. An unknown label is the most secret one."""
    if quarantined:
        return QUARANTINE
    return LABELS.index(Sensitivity(sensitivity)) if sensitivity in set(LABELS) else TOP_CLEARANCE


class Operation(StrEnum):
    """What a call does, as a cube's policy and a grant name it."""

    RECALL = "recall"
    """Search and context."""
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Calling:
    """The context of a call. `redacts`: its answer can show that a memory is there without showing what it says."""

    operation: Operation = Operation.READ
    purpose: str | None = None
    session: str | None = None
    redacts: bool = False
    governs: bool = False
    """It looks at or changes the cube's policy itself, which no rule of that policy takes from an admin of the tenant."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate: `subject` is `tenant` or a key's id."""

    subject: str
    rate_per_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: one key of one tenant. `cube_ids` of None means every cube of the tenant."""

    tenant_id: UUID
    tenant_name: str
    key_id: UUID
    scopes: frozenset[Scope]
    cube_ids: frozenset[UUID] | None = None
    operator: bool = False
    clearance: int = TOP_CLEARANCE
    """The most secret label it may read, as a place in `LABELS`."""
    calling: Calling = field(default_factory=Calling)
    granted: frozenset[UUID] = frozenset()
    """Cubes of others that a grant may open."""
    grant_id: UUID | None = None
    """The grant under which it acts in another's name."""
    limits: tuple[Limit, ...] = ()

    def require(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the key has the scope."""
        if scope not in self.scopes:
            raise Forbidden(f"this key lacks the scope '{scope}'; it has: {', '.join(sorted(self.scopes)) or 'none'}")

    def require_operator(self) -> None:
        """Raise `Forbidden` unless this is an admin key of the operating tenant, which may see other tenants' names."""
        self.require(Scope.ADMIN)
        if not self.operator:
            raise Forbidden("only an admin key of the operating tenant may do that")

    @property
    def governs(self) -> bool:
        """Whether no rule of a cube's policy refuses this call: or a slip in the rules would lock everybody out."""
        return self.calling.governs and Scope.ADMIN in self.scopes and self.grant_id is None

    def may_reach(self, cube_id: UUID) -> bool:
        return self.cube_ids is None or cube_id in self.cube_ids

    def require_unbound(self) -> None:
        """Raise `Forbidden` for a key bound to cubes: it cannot make new ones."""
        if self.cube_ids is not None:
            raise Forbidden("this key is bound to certain cubes and cannot act on the tenant as a whole")

    def reach(self, cube_id: UUID) -> None:
        """Raise `NotFound`, the same as for an absent cube, when the key is bound to others."""
        if not self.may_reach(cube_id):
            raise NotFound("no such cube")


def new_key() -> str:
    """A fresh secret with 256 bits of entropy; the prefix lets scanners find leaked ones."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def hash_key(key: str) -> bytes:
    """32 bytes. A plain digest is enough: the secret is random and long, so there is nothing to stretch."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def parse_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Raise `Invalid` for a name that is no scope."""
    names = list(names)
    known = {s.value for s in Scope}
    if unknown := sorted(set(names) - known):
        raise Invalid(f"unknown scopes: {', '.join(unknown)}; known: {', '.join(sorted(known))}", where=["scopes"])
    return frozenset(Scope(n) for n in names)
