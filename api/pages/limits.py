"""Limits: what a tenant and its keys may ask and store, and how much of that they do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote
from uuid import UUID

from starlette.responses import Response

from api.pages import fields, rendering
from api.pages.visiting import Pages, Visit
from memos.rules.access import Limit
from memos.services import administer, quotas
from memos.store.quotas import TENANT, Quota
from memos.store.tenants import KeyView, TenantView

pages = Pages()

MOST_KEYS = 100
MOST_RATE = 100_000.0
MOST_BURST = 1_000_000
MOST_STORED = 2**53


@dataclass(frozen=True, slots=True)
class Row:
    """A subject with its limits. `left` are the requests it may make at once now; None: it has no rate limit."""

    quota: Quota
    name: str
    ended: bool
    left: float | None


@pages.add("GET", "/limits")
def limits(visit: Visit) -> Response:
    asked = visit.query("tenant")
    with visit.reading() as tx:
        found = quotas.list_quotas(visit.app.database, tx, visit.who, tenant=asked)
        tenants = administer.list_tenants(tx, visit.who)
        keys = administer.list_keys(tx, visit.who, limit=MOST_KEYS, cursor=None).items
    whose = next((one for one in tenants if asked in {str(one.id), one.name}), None) or _own(visit, tenants)
    if whose.id != visit.who.tenant_id:
        keys = []  # another tenant's keys are not ours to name
    return rendering.page(
        visit, "limits.html", rows=_rows(visit, whose, found, keys), whose=whose, tenants=tenants, keys=keys
    )


@pages.add("POST", "/limits/{subject}")
def put(visit: Visit) -> Response:
    """Replaces the limits of a subject as a whole; an empty field is no limit."""
    tenant = visit.form.get("tenant") or None
    with visit.writing() as tx:
        quotas.put_quota(
            visit.app.database,
            tx,
            visit.who,
            visit.path("subject"),
            tenant=tenant,
            rate_per_s=fields.number(visit, "rate", "the requests a second", most=MOST_RATE),
            burst=fields.whole(visit, "burst", "the requests at once", most=MOST_BURST),
            max_memories=fields.whole(visit, "memories", "the memories", most=MOST_STORED, least=0),
            max_bytes=fields.whole(visit, "bytes", "the bytes", most=MOST_STORED, least=0),
            now=visit.now,
        )
    return rendering.done("/admin/limits" + (f"?tenant={quote(tenant)}" if tenant else ""), "limits")


def _own(visit: Visit, tenants: list[TenantView]) -> TenantView:
    return next(one for one in tenants if one.id == visit.who.tenant_id)


def _rows(visit: Visit, whose: TenantView, found: list[Quota], keys: list[KeyView]) -> list[Row]:
    """The tenant first, then its keys; also those that have no limits and have written nothing yet."""
    known = {quota.subject: quota for quota in found}
    named = {str(key.id): key.name for key in keys}
    ended = {str(key.id) for key in keys if _over(key, visit.now)}
    subjects = [TENANT, *(subject for subject in named if subject not in ended)]
    subjects += [subject for subject in known if subject not in subjects]
    rows = []
    for subject in subjects:
        quota = known.get(subject) or Quota(subject, None, None, None, None, 0, 0)
        name = whose.name if subject == TENANT else named.get(subject, "")
        rows.append(Row(quota, name, subject in ended, _left(visit, whose.id, quota)))
    return rows


def _over(key: KeyView, now: datetime) -> bool:
    return key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)


def _left(visit: Visit, tenant_id: UUID, quota: Quota) -> float | None:
    if quota.rate_per_s is None or quota.burst is None:
        return None
    return visit.app.limiter.left(tenant_id, Limit(quota.subject, quota.rate_per_s, quota.burst))
