"""Sharing: which cube is open to whom, for what and how long; making a grant and taking it back."""

from __future__ import annotations

from datetime import datetime, timedelta

from starlette.responses import Response

from api.pages import fields, rendering
from api.pages.visiting import Pages, Visit
from memos.errors import Invalid
from memos.rules.access import Scope
from memos.rules.calling_policy import PURPOSE
from memos.rules.sharing import Ability
from memos.services import administer, grants
from memos.store import cubes
from memos.store.grants import Grant

pages = Pages()

MOST_GRANTS = 100
MOST_KEYS = 100
MOST_DAYS = 3_650


@pages.add("GET", "/sharing")
def sharing(visit: Visit) -> Response:
    with visit.reading() as tx:
        found = grants.all_grants(tx, visit.who, limit=MOST_GRANTS, cursor=visit.query("cursor"))
        reads = Scope.READ in visit.who.scopes
        received = grants.received(tx, visit.who, limit=MOST_GRANTS, cursor=None).items if reads else []
        keys = administer.list_keys(tx, visit.who, limit=MOST_KEYS, cursor=None).items
        tenants = administer.list_tenants(tx, visit.who)
        names = cubes.names(tx, {grant.cube_id for grant in found.items})
    return rendering.page(
        visit,
        "sharing.html",
        found=found,
        received=[grant for grant in received if standing(grant, visit.now) == "open"],
        standing=standing,
        keys=[key for key in keys if key.revoked_at is None and key.id != visit.who.key_id],
        tenants=[tenant for tenant in tenants if tenant.id != visit.who.tenant_id],
        guests={key.id: key.name for key in keys} | {tenant.id: tenant.name for tenant in tenants},
        names=names,
        cube=visit.query("cube"),
        abilities=list(Ability),
    )


@pages.add("POST", "/sharing")
def share(visit: Visit) -> Response:
    form = visit.form
    ability = form.get("ability", "")
    if ability not in set(Ability):
        raise Invalid("choose what the guest may do")
    purpose = form.get("purpose", "").strip() or None
    if purpose is not None and PURPOSE.fullmatch(purpose) is None:
        raise Invalid("a purpose is a name of letters, digits and . _ : -, at most 100")
    days = fields.whole(visit, "days", "the days until it expires", most=MOST_DAYS)
    guest = fields.identity(visit, "to", "the guest")
    tenant = form.get("sort") == "tenant"
    with visit.writing() as tx:
        grants.create_grant(
            visit.app.database,
            tx,
            visit.who,
            form.get("cube", "").strip(),
            ability=ability,
            to_key=None if tenant else guest,
            to_tenant=guest if tenant else None,
            purpose=purpose,
            expires_at=visit.now + timedelta(days=days) if days else None,
            max_uses=fields.whole(visit, "uses", "the uses", most=2**31 - 1),
            now=visit.now,
        )
    return rendering.done("/admin/sharing", "shared")


@pages.add("POST", "/sharing/{grant_id}/revoke")
def revoke(visit: Visit) -> Response:
    with visit.writing() as tx:
        grants.revoke_grant(
            visit.app.database, tx, visit.who, visit.form.get("cube", ""), visit.path_id("grant_id"), now=visit.now
        )
    return rendering.done("/admin/sharing", "unshared")


def standing(grant: Grant, now: datetime) -> str:
    """`open`, or why the grant opens nothing any more."""
    if grant.revoked_at is not None:
        return "revoked"
    if grant.expires_at is not None and grant.expires_at <= now:
        return "expired"
    return "used up" if grant.max_uses is not None and grant.uses >= grant.max_uses else "open"
