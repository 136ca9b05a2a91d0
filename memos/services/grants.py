"""Grants: sharing a cube with a key or a tenant, and being a guest.

A guest's request runs as the cube's owner in the database, so that row-level security keeps every other tenant out as
always, with a principal that reaches this one cube and does no more than the grant says (ADR 0012).
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from memos.errors import Invalid, NotFound
from memos.rules.access import Principal, Scope
from memos.rules.sharing import abilities_for, guest
from memos.services.cursors import id_of
from memos.services.views import Page, page
from memos.store import audit, cubes, grants
from memos.store.engine import Database
from memos.store.grants import Grant
from memos.store.transaction import Transaction


def create_grant(
    database: Database,
    tx: Transaction,
    who: Principal,
    cube: str,
    *,
    ability: str,
    to_key: UUID | None,
    to_tenant: UUID | None,
    purpose: str | None,
    expires_at: datetime | None,
    max_uses: int | None,
    now: datetime,
) -> Grant:
    """Whom it names need not exist here: who another tenant's keys are is not ours to tell."""
    who.require(Scope.ADMIN)
    found = cubes.find(tx, cube)
    who.reach(found.id)
    if (to_key is None) == (to_tenant is None):
        raise Invalid("name either to_key or to_tenant", where=["body"])
    if to_tenant == who.tenant_id:
        raise Invalid("the cube is this tenant's own; share it with one of its keys", where=["body", "to_tenant"])
    if expires_at is not None and expires_at <= now:
        raise Invalid("expires_at has passed already", where=["body", "expires_at"])
    made = grants.add(
        tx,
        found.id,
        ability,
        to_key=to_key,
        to_tenant=to_tenant,
        purpose=purpose,
        expires_at=expires_at,
        max_uses=max_uses,
        by=who.key_id,
        now=now,
    )
    audit.record(tx, who.key_id, "grant.create", now, cube_id=found.id, target=str(made.id),
                 detail={"ability": ability, "to": str(to_key or to_tenant)})  # fmt: skip
    tx.after_commit(database.forget_keys)
    return made


def list_grants(tx: Transaction, who: Principal, cube: str, *, limit: int, cursor: str | None) -> Page[Grant]:
    """Every grant of the cube, also those that have ended."""
    who.require(Scope.ADMIN)
    found = cubes.find(tx, cube)
    who.reach(found.id)
    return page(grants.page(tx, found.id, limit + 1, id_of(cursor)), limit, lambda grant: grant.id)


def all_grants(tx: Transaction, who: Principal, *, limit: int, cursor: str | None) -> Page[Grant]:
    """Every grant of the tenant."""
    who.require(Scope.ADMIN)
    found = page(grants.page(tx, None, limit + 1, id_of(cursor)), limit, lambda grant: grant.id)
    return Page([grant for grant in found.items if who.may_reach(grant.cube_id)], found.next_cursor)


def revoke_grant(
    database: Database, tx: Transaction, who: Principal, cube: str, grant_id: UUID, *, now: datetime
) -> None:
    """It stops at once, everywhere: each use asks the database."""
    who.require(Scope.ADMIN)
    found = cubes.find(tx, cube)
    who.reach(found.id)
    if grants.get(tx, found.id, grant_id) is None:
        raise NotFound("no such grant")
    grants.revoke(tx, found.id, grant_id, now)
    audit.record(tx, who.key_id, "grant.revoke", now, cube_id=found.id, target=str(grant_id))
    tx.after_commit(database.forget_keys)


def received(tx: Transaction, who: Principal, *, limit: int, cursor: str | None) -> Page[Grant]:
    """What others share with the caller's key, or with its tenant; oldest first."""
    who.require(Scope.READ)
    after = id_of(cursor)
    found = sorted(grants.received(tx, who.key_id), key=lambda grant: grant.id)
    return page([g for g in found if after is None or g.id > after][: limit + 1], limit, lambda grant: grant.id)


def as_guest(database: Database, who: Principal, cube: str, operation_id: str) -> Principal:
    """The principal to go on with: the caller itself, unless a grant opens this cube for this operation.

    Costs nothing for a caller whom nobody shares with. What no grant opens is left to end as it would without: 404.
    """
    if not who.granted or not (abilities := abilities_for(operation_id)):
        return who
    try:
        cube_id = UUID(cube)
    except ValueError:
        return who
    if cube_id not in who.granted:
        return who
    with database.transaction(who.tenant_id) as tx:
        used = grants.use(tx, cube_id, who.key_id, abilities, who.calling.purpose)
    if used is None:
        return who
    return guest(
        who,
        tenant_id=used.tenant_id,
        tenant_name=used.tenant_name,
        cube_id=cube_id,
        grant_id=used.grant_id,
        ability=used.ability,
    )
