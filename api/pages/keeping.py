"""Keeping: what must stay (legal holds), and what must go after a time (retention classes)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from api.pages import fields, rendering
from api.pages.visiting import Pages, Visit
from memos.errors import Invalid
from memos.rules.header import Kind, Sensitivity
from memos.services import holds, retention_classes
from memos.store import cubes, tenants

pages = Pages()

MOST_HOLDS = 100
MOST_DAYS = 36_500


@pages.add("GET", "/retention")
def retention(visit: Visit) -> Response:
    """`all` also shows the holds that were lifted; `cube` and `memory_id` fill the form, for links from elsewhere."""
    every = visit.query("all") is not None
    with visit.reading() as tx:
        found = holds.list_holds(
            tx, visit.who, cube=None, active=None if every else True, limit=MOST_HOLDS, cursor=visit.query("cursor")
        )
        kept = retention_classes.list_kept(tx, visit.who)
        names = cubes.names(tx, {hold.cube_id for hold in found.items})
        by = {key for hold in found.items for key in (hold.placed_by, hold.released_by) if key is not None}
        authors = tenants.key_names(tx, by)
    return rendering.page(
        visit,
        "retention.html",
        found=found,
        kept=kept,
        names=names,
        authors=authors,
        every=every,
        cube=visit.query("cube"),
        memory_id=visit.query("memory_id"),
        kinds=[kind.value for kind in Kind],
        labels=[one.value for one in Sensitivity],
    )


@pages.add("POST", "/holds")
def hold(visit: Visit) -> Response:
    reason = fields.reason(visit)
    if not reason:
        raise Invalid("say why: a hold without a reason cannot be lifted by anybody else")
    with visit.writing() as tx:
        holds.place(
            tx,
            visit.who,
            cube=visit.form.get("cube", "").strip(),
            memory_id=fields.identity(visit, "memory_id", "the memory"),
            reason=reason,
            now=visit.now,
        )
    return rendering.done("/admin/retention", "held")


@pages.add("POST", "/holds/{hold_id}/lift")
def lift(visit: Visit) -> Response:
    with visit.writing() as tx:
        holds.release(tx, visit.who, visit.path_id("hold_id"), now=visit.now, reason=fields.reason(visit))
    return rendering.done("/admin/retention", "lifted")


@pages.add("POST", "/retention")
def keep(visit: Visit) -> Response:
    """One more class; a revision of the cube."""
    form = visit.form
    days = fields.number(visit, "days", "the days", most=MOST_DAYS)
    if days is None:
        raise Invalid("say after how many days")
    given: dict[str, Any] = {"max_age_days": int(days) if days == int(days) else days, "then": form.get("then", "")}
    parts = {
        "name": form.get("name", "").strip(),
        "kinds": [kind.value for kind in Kind if form.get(f"kind-{kind.value}")],
        "tags": fields.words(visit, "tags"),
        "sensitivity": [one.value for one in Sensitivity if form.get(f"label-{one.value}")],
    }
    given |= {name: value for name, value in parts.items() if value}
    with visit.writing() as tx:
        retention_classes.add(tx, visit.who, form.get("cube", "").strip(), given, now=visit.now)
    return rendering.done("/admin/retention", "kept")


@pages.add("POST", "/retention/{cube}/remove")
def unkeep(visit: Visit) -> Response:
    """Refused when the cube has changed since the page was shown: the place may be another class's by now."""
    head, place = (fields.whole(visit, name, f"the {name}", most=2**31 - 1, least=0) for name in ("head", "place"))
    with visit.writing() as tx:
        retention_classes.remove(
            tx, visit.who, visit.path("cube"), -1 if place is None else place, if_match=f'"{head}"', now=visit.now
        )
    return rendering.done("/admin/retention", "unkept")
