"""The first page, storage, and who has access."""

from __future__ import annotations

from datetime import timedelta

from starlette.responses import Response

from api.pages import rendering
from api.pages.visiting import Pages, Visit
from memos.errors import Invalid
from memos.rules.access import Scope
from memos.services import administer, jobs, oversee

pages = Pages()

MOST_FAILED = 5
MOST_CUBES = 8
MOST_ACTS = 8
MOST_KEYS = 100
MOST_DAYS = 3_650


@pages.add("GET", "")
def overview(visit: Visit) -> Response:
    with visit.reading() as tx:
        vitals = oversee.vitals(tx, visit.who, visit.now)
        failed = jobs.list_jobs(tx, visit.who, state="failed", kind=None, limit=MOST_FAILED, cursor=None).items
        cubes = oversee.list_cubes(tx, visit.who, part=None, limit=MOST_CUBES, cursor=None)
        acts = oversee.list_acts(tx, visit.who, action=None, key_id=None, cube=None, limit=MOST_ACTS, cursor=None).items
    return rendering.page(
        visit, "overview.html", vitals=vitals, failed=failed, cubes=cubes, acts=acts, model=visit.app.embedder
    )


@pages.add("GET", "/storage")
def storage(visit: Visit) -> Response:
    with visit.reading() as tx:
        stored = oversee.stored(tx, visit.who)
    return rendering.page(visit, "storage.html", stored=stored)


@pages.add("GET", "/access")
def access(visit: Visit) -> Response:
    return _access(visit, None)


@pages.add("POST", "/access/keys")
def create_key(visit: Visit) -> Response:
    """The answer to the form shows the secret, the only time it is shown; so it does not lead elsewhere."""
    form = visit.form
    days = form.get("days", "").strip()
    if days and not (days.isascii() and days.isdigit() and 0 < int(days) <= MOST_DAYS):
        raise Invalid(f"give the days until it expires as a whole number up to {MOST_DAYS:,}, or leave that empty")
    cubes = [name.strip() for name in form.get("cubes", "").split(",") if name.strip()]
    with visit.writing() as tx:
        made = administer.create_key(
            visit.app.database,
            tx,
            visit.who,
            tenant=form.get("tenant") or None,
            scopes=[scope for scope in Scope if form.get(f"scope-{scope}")],
            cube_refs=cubes or None,
            name=form.get("name", "")[:200],
            expires_at=visit.now + timedelta(days=int(days)) if days else None,
            now=visit.now,
        )
    return _access(visit, made)


@pages.add("POST", "/access/keys/{key_id}/revoke")
def revoke_key(visit: Visit) -> Response:
    with visit.writing() as tx:
        administer.revoke_key(visit.app.database, tx, visit.who, visit.path_id("key_id"), now=visit.now)
    return rendering.done("/admin/access", "revoked")


@pages.add("POST", "/access/tenants")
def create_tenant(visit: Visit) -> Response:
    name = visit.form.get("name", "").strip()
    if not 1 <= len(name) <= 200:
        raise Invalid("a tenant's name has 1 to 200 characters")
    with visit.writing() as tx:
        administer.create_tenant(tx, visit.who, name=name, now=visit.now)
    return rendering.done("/admin/access", "tenant")


def _access(visit: Visit, made: administer.NewKey | None) -> Response:
    with visit.reading() as tx:
        keys = administer.list_keys(tx, visit.who, limit=MOST_KEYS, cursor=visit.query("cursor"))
        tenants = administer.list_tenants(tx, visit.who)
    return rendering.page(
        visit,
        "access.html",
        keys=keys,
        tenants=tenants,
        scopes=sorted(visit.who.scopes),
        made=made,
        status=201 if made else 200,
    )
