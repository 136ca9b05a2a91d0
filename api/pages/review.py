"""Quarantine: what was set aside as suspicious, why, and the decision about it."""

from __future__ import annotations

from starlette.responses import Response

from api.pages import rendering
from api.pages.visiting import Pages, Visit
from memos.services import quarantine

pages = Pages()

MOST_HELD = 40


@pages.add("GET", "/quarantine")
def held(visit: Visit) -> Response:
    cube = visit.query("cube")
    with visit.reading() as tx:
        sources = quarantine.list_sources(tx, visit.who, now=visit.now)
        found = quarantine.list_held(tx, visit.who, cube=cube, limit=MOST_HELD, cursor=visit.query("cursor"))
    return rendering.page(visit, "quarantine.html", found=found, sources=sources, cube=cube)


@pages.add("POST", "/quarantine/{memory_id}/release")
def release(visit: Visit) -> Response:
    with visit.writing() as tx:
        quarantine.release(
            tx, visit.who, visit.path_id("memory_id"), now=visit.now, reason=visit.form.get("reason", "")[:500]
        )
    return rendering.done("/admin/quarantine", "released")


@pages.add("POST", "/quarantine/{memory_id}/reject")
def reject(visit: Visit) -> Response:
    with visit.writing() as tx:
        quarantine.reject(
            tx, visit.who, visit.path_id("memory_id"), now=visit.now, reason=visit.form.get("reason", "")[:500]
        )
    return rendering.done("/admin/quarantine", "rejected")
