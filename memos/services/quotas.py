"""Quotas: what a tenant and its keys may ask and store."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from memos.errors import Invalid, NotFound
from memos.rules.access import Principal, Scope
from memos.store import audit, quotas, tenants
from memos.store.engine import Database
from memos.store.quotas import TENANT, Quota
from memos.store.transaction import Transaction


def list_quotas(database: Database, tx: Transaction, who: Principal, *, tenant: str | None) -> list[Quota]:
    """Limits and use of a tenant, which only the operator may name, and of its keys; the caller's own for None."""
    who.require(Scope.ADMIN)
    if tenant is None:
        return quotas.everyone(tx)
    target = tenants.find(tx, tenant)
    if target.id == who.tenant_id:
        return quotas.everyone(tx)
    who.require_operator()
    with database.transaction(target.id, read_only=True) as theirs:
        return quotas.everyone(theirs)


def put_quota(
    database: Database,
    tx: Transaction,
    who: Principal,
    subject: str,
    *,
    tenant: str | None,
    rate_per_s: float | None,
    burst: int | None,
    max_memories: int | None,
    max_bytes: int | None,
    now: datetime,
) -> Quota:
    """Set the limits of a tenant, which only the operator may, or of a key. Absent ones are none.

    `subject` is a key's id, or `tenant`, which `tenant` then names and which is the caller's without; the operator may also
    name the tenant right there.
    """
    who.require(Scope.ADMIN)
    who.require_unbound()
    if who.operator and subject != TENANT and (named := tenants.known(tx, subject)) is not None:
        subject, tenant = TENANT, str(named.id)
    if subject == TENANT:
        who.require_operator()
    elif subject == str(who.key_id) and not who.operator:
        raise Invalid("a key does not set its own limits", where=["path", "subject"])
    if burst is None and rate_per_s is not None:
        burst = max(1, round(rate_per_s * 2))
    target = tenants.find(tx, tenant or str(who.tenant_id))
    values = {"rate_per_s": rate_per_s, "burst": burst, "max_memories": max_memories, "max_bytes": max_bytes}
    if target.id == who.tenant_id:
        found = _put(tx, who, subject, values, now)
    else:
        with database.transaction(target.id) as theirs:
            found = _put(theirs, who, subject, values, now)
    tx.after_commit(database.forget_keys)
    return found


def _put(tx: Transaction, who: Principal, subject: str, values: dict[str, float | int | None], now: datetime) -> Quota:
    if subject != TENANT and not tenants.has_key(tx, _key(subject)):
        raise NotFound("no such key")
    rate, burst = values["rate_per_s"], values["burst"]
    memories, size = values["max_memories"], values["max_bytes"]
    quotas.put(
        tx,
        subject,
        rate_per_s=rate,
        burst=None if burst is None else int(burst),
        max_memories=None if memories is None else int(memories),
        max_bytes=None if size is None else int(size),
        now=now,
    )
    by = who.key_id if tx.tenant_id == who.tenant_id else None
    audit.record(
        tx, by, "quota.set", now, target=subject, detail={name: v for name, v in values.items() if v is not None}
    )
    return next(quota for quota in quotas.everyone(tx) if quota.subject == subject)


def _key(subject: str) -> UUID:
    try:
        return UUID(subject)
    except ValueError:
        raise Invalid("a quota is of 'tenant' or of a key, by its id", where=["path", "subject"]) from None
