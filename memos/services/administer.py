"""Administer: cubes, tenants and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.errors import Forbidden, Frozen, Invalid, NotFound
from memos.rules import policy as policies
from memos.rules.access import Principal, Scope, new_key, parse_scopes, rank
from memos.rules.header import Sensitivity
from memos.services import holds
from memos.services.cursors import id_of
from memos.services.etags import require_match
from memos.services.views import CubeView, Page, page
from memos.store import audit, cubes, events, jobs, kv_taint, memories, quotas, tenants
from memos.store.engine import Database
from memos.store.revision_writer import RevisionWriter
from memos.store.tenants import KeyView, TenantView
from memos.store.transaction import Transaction


def create_cube(
    tx: Transaction, who: Principal, *, name: str, description: str, policy: Mapping[str, Any], now: datetime
) -> CubeView:
    who.require(Scope.WRITE)
    who.require_unbound()
    policies.parse(policy)
    cube, branch = cubes.create(tx, uuid_utils.uuid7(), name, description, dict(policy))
    audit.record(tx, who.key_id, "cube.create", now, cube_id=cube.id, target=name)
    events.emit(tx, "cube.created", cube_id=cube.id)
    return CubeView.of(cube, branch, [branch], {"memories": 0, "by_kind": {}, "by_state": {}})


def get_cube(
    tx: Transaction,
    who: Principal,
    cube: str,
    branch: str = cubes.MAIN,
    *,
    at: cubes.At = None,
    as_of: datetime | None = None,
) -> CubeView:
    """A cube with the revision and the counts of a branch, now or `at` an earlier moment."""
    who.require(Scope.READ)
    view = cubes.view(tx, cube, branch, at)
    who.reach(view.cube.id)
    return replace(_cube_view(tx, view, as_of), revision=view.at)


def list_cubes(tx: Transaction, who: Principal, *, limit: int, cursor: str | None) -> Page[CubeView]:
    who.require(Scope.READ)
    only = None if who.cube_ids is None else sorted(who.cube_ids)
    found = page(cubes.list_cubes(tx, limit + 1, id_of(cursor), only), limit, lambda c: c.id)
    return Page([seen for c in found.items if (seen := _if_allowed(tx, c.id)) is not None], found.next_cursor)


def _if_allowed(tx: Transaction, cube_id: UUID) -> CubeView | None:
    """None for a cube whose policy refuses this caller in this context."""
    try:
        return _cube_view(tx, cubes.view(tx, str(cube_id)))
    except Forbidden:
        return None


def update_cube(
    tx: Transaction,
    who: Principal,
    cube: str,
    *,
    now: datetime,
    name: str | None = None,
    description: str | None = None,
    policy: Mapping[str, Any] | None = None,
    if_match: str | None = None,
) -> CubeView:
    """Change what is said of a cube. It counts as a revision of `main`, so the ETag tells readers."""
    who.require(Scope.WRITE)
    writer = RevisionWriter(tx, cube, cubes.MAIN, now=now)
    who.reach(writer.cube.id)
    require_match(if_match, writer.branch.head_revision, "the cube")
    given = {"name": name, "description": description, "policy": policy}
    changed = sorted(field for field, value in given.items() if value is not None)
    if not changed:
        raise Invalid("nothing to change: send name, description or policy", where=["body"])
    if policy is not None:
        policies.parse(policy)
    cubes.update(
        tx,
        writer.cube,
        writer.cube.name if name is None else name,
        writer.cube.description if description is None else description,
        writer.cube.policy if policy is None else dict(policy),
    )
    revised = writer.finish(
        kind="policy", author=who.key_id, reason=f"changed {', '.join(changed)}", even_if_empty=True
    )
    audit.record(
        tx,
        who.key_id,
        "cube.update",
        now,
        cube_id=writer.cube.id,
        detail={"revision": revised.number, "fields": changed},
    )
    return _cube_view(tx, cubes.view(tx, str(writer.cube.id)))


def delete_cube(tx: Transaction, who: Principal, cube: str, *, now: datetime, if_match: str | None = None) -> None:
    """Everything of the cube, history included, for good. Needs `erase`; refuses while anything in it is frozen."""
    who.require(Scope.ERASE)
    found = cubes.find(tx, cube, lock=True)
    who.reach(found.id)
    view = cubes.view(tx, str(found.id))
    require_match(if_match, view.branch.head_revision, "the cube")
    if frozen := memories.frozen_count(tx, found.id):
        raise Frozen(f"{frozen} memories of this cube are frozen; unfreeze them first")
    holds.refuse_cube(tx, found.id)
    freed = quotas.stored(tx, found.id)
    if kv_taint.delete_cube(tx, found.id):
        # Its caches cannot be opened any more once this is committed; what is left of them on disk is swept up after it.
        jobs.promise(tx, "kv.gc", payload={"owner": str(found.id)})
    cubes.delete(tx, found.id)
    quotas.refund(tx, memories=freed[0], size_bytes=freed[1])
    audit.record(tx, who.key_id, "cube.delete", now, cube_id=found.id, target=found.name)
    events.emit(tx, "cube.deleted", cube_id=found.id)


# ---------------------------------------------------------------- tenants and keys


@dataclass(frozen=True, slots=True)
class NewKey:
    """The only time the secret is shown."""

    id: UUID
    key: str
    tenant_id: UUID
    name: str
    scopes: list[str]
    cubes: list[UUID] | None
    expires_at: datetime | None
    previous_until: datetime | None = None
    """How long the secret before this one still works."""


def create_tenant(tx: Transaction, who: Principal, *, name: str, now: datetime) -> TenantView:
    who.require_operator()
    tenant = tenants.create(tx, name)
    audit.record(tx, who.key_id, "tenant.create", now, target=name)
    return tenant


def list_tenants(tx: Transaction, who: Principal) -> list[TenantView]:
    who.require(Scope.ADMIN)
    return tenants.list_tenants(tx)


def create_key(
    database: Database,
    tx: Transaction,
    who: Principal,
    *,
    tenant: str | None,
    scopes: Sequence[str],
    cube_refs: Sequence[str] | None,
    name: str,
    expires_at: datetime | None,
    now: datetime,
    clearance: str = Sensitivity.SECRET,
) -> NewKey:
    """A key for the caller's tenant or, for the operator, for any. Nobody gives scopes they do not hold."""
    who.require(Scope.ADMIN)
    who.require_unbound()
    wanted = parse_scopes(scopes)
    if not wanted:
        raise Invalid("a key needs at least one scope", where=["body", "scopes"])
    for scope in sorted(wanted):
        who.require(scope)
    if rank(clearance) > who.clearance:
        raise Forbidden("nobody gives a key a higher clearance than their own")
    target = tenants.find(tx, tenant or str(who.tenant_id))
    key = new_key()
    if target.id == who.tenant_id:
        made = _insert_key(tx, key, wanted, cube_refs, name, expires_at, clearance)
    else:
        with database.transaction(target.id) as theirs:
            made = _insert_key(theirs, key, wanted, cube_refs, name, expires_at, clearance)
            audit.record(theirs, None, "key.create", now, target=str(made.id), detail={"by_operator": str(who.key_id)})
    audit.record(tx, who.key_id, "key.create", now, target=str(made.id), detail={"tenant": target.name})
    return NewKey(made.id, key, target.id, made.name, made.scopes, made.cube_ids, made.expires_at)


def _insert_key(
    tx: Transaction,
    key: str,
    scopes: frozenset[Scope],
    cube_refs: Sequence[str] | None,
    name: str,
    expires_at: datetime | None,
    clearance: str,
) -> KeyView:
    cube_ids = None if cube_refs is None else [cubes.find(tx, ref).id for ref in cube_refs]
    return tenants.insert_key(tx, key, name, scopes, cube_ids, expires_at, clearance)


def rotate_key(
    database: Database, tx: Transaction, who: Principal, key_id: UUID, *, overlap: timedelta, now: datetime
) -> NewKey:
    """A new secret for a key, which stays the same key; the old secret works for `overlap` longer.

    Whoever rotates a key then holds it, so they must hold all it may do. Raises `NotFound` for a revoked one too.
    """
    who.require(Scope.ADMIN)
    who.require_unbound()
    if (found := tenants.find_key(tx, key_id)) is not None:
        made = _rotate(tx, who, found, overlap, now)
    elif who.operator:
        for tenant in tenants.list_tenants(tx):
            if tenant.id != who.tenant_id:
                with database.transaction(tenant.id) as theirs:
                    if (found := tenants.find_key(theirs, key_id)) is not None:
                        made = _rotate(theirs, who, found, overlap, now)
                        audit.record(theirs, None, "key.rotate", now, target=str(key_id),
                                     detail={"by_operator": str(who.key_id)})  # fmt: skip
                        break
        else:
            raise NotFound("no such key")
    else:
        raise NotFound("no such key")
    audit.record(
        tx, who.key_id, "key.rotate", now, target=str(key_id), detail={"overlap_s": int(overlap.total_seconds())}
    )
    tx.after_commit(lambda: database.forget_key(key_id))
    return made


def _rotate(tx: Transaction, who: Principal, found: KeyView, overlap: timedelta, now: datetime) -> NewKey:
    for scope in sorted(found.scopes):
        who.require(Scope(scope))
    if rank(found.clearance) > who.clearance:
        raise Forbidden("this key may read more than the one that would rotate it")
    key = new_key()
    made = tenants.rotate_key(tx, found.id, key, now + overlap, now)
    if made is None:
        raise NotFound("no such key")
    return NewKey(
        made.id, key, tx.tenant_id, made.name, made.scopes, made.cube_ids, made.expires_at, made.previous_until
    )


def list_keys(tx: Transaction, who: Principal, *, limit: int, cursor: str | None) -> Page[KeyView]:
    who.require(Scope.ADMIN)
    return page(tenants.list_keys(tx, limit + 1, id_of(cursor)), limit, lambda k: k.id)


def revoke_key(database: Database, tx: Transaction, who: Principal, key_id: UUID, *, now: datetime) -> None:
    """A key of the caller's tenant or, for the operator, of any. It stops working here at once."""
    who.require(Scope.ADMIN)
    found = tenants.revoke_key(tx, key_id)
    if not found and who.operator:
        for tenant in tenants.list_tenants(tx):
            if tenant.id != who.tenant_id:
                with database.transaction(tenant.id) as theirs:
                    found = found or tenants.revoke_key(theirs, key_id)
    if not found:
        raise NotFound("no such key")
    audit.record(tx, who.key_id, "key.revoke", now, target=str(key_id))
    tx.after_commit(lambda: database.forget_key(key_id))


def _cube_view(tx: Transaction, view: cubes.View, as_of: datetime | None = None) -> CubeView:
    return CubeView.of(view.cube, view.branch, cubes.list_branches(tx, view.cube.id), memories.counts(tx, view, as_of))
