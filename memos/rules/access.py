"""Who may do what: scopes of a key, and the cubes it is bound to."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from memos.errors import Forbidden, Invalid, NotFound

KEY_PREFIX = "mk_"
KEY_BYTES = 32
MIN_KEY_LENGTH = 16


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"
    FREEZE = "freeze"
    ERASE = "erase"
    ADMIN = "admin"
    KV = "kv"
    """Of engines: handing in caches and reporting how they served."""


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: one key of one tenant. `cube_ids` of None means every cube of the tenant."""

    tenant_id: UUID
    tenant_name: str
    key_id: UUID
    scopes: frozenset[Scope]
    cube_ids: frozenset[UUID] | None = None
    operator: bool = False

    def require(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the key has the scope."""
        if scope not in self.scopes:
            raise Forbidden(f"this key lacks the scope '{scope}'; it has: {', '.join(sorted(self.scopes)) or 'none'}")

    def require_operator(self) -> None:
        """Raise `Forbidden` unless this is an admin key of the operating tenant, which may see other tenants' names."""
        self.require(Scope.ADMIN)
        if not self.operator:
            raise Forbidden("only an admin key of the operating tenant may do that")

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
