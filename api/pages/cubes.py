"""Cubes: their history as a timeline and a picture, what differs between revisions, and going back."""

from __future__ import annotations

from starlette.responses import Response

from api.pages import rendering
from api.pages.visiting import Pages, Visit
from memos.errors import Invalid
from memos.services import administer, branch, oversee, read
from memos.store.cubes import MAIN, At

pages = Pages()

MOST_CUBES = 50
MOST_REVISIONS = 30
MOST_DRAWN = 60
MOST_MEMORIES = 40
MOST_REVISION = 2**31 - 1


@pages.add("GET", "/cubes")
def cubes(visit: Visit) -> Response:
    with visit.reading() as tx:
        found = oversee.list_cubes(tx, visit.who, part=visit.query("q"), limit=MOST_CUBES, cursor=visit.query("cursor"))
    return rendering.page(visit, "cubes.html", cubes=found, asked=visit.query("q"))


@pages.add("GET", "/cubes/{cube}")
def timeline(visit: Visit) -> Response:
    """History, newest first. As a fragment: the next piece of it."""
    reference, name, cursor = visit.path("cube"), visit.query("branch"), visit.query("cursor")
    with visit.reading() as tx:
        found = branch.list_revisions(tx, visit.who, reference, branch=name, limit=MOST_REVISIONS, cursor=cursor)
        cube = administer.get_cube(tx, visit.who, reference)
        if visit.fragment:
            return rendering.page(visit, "parts/revisions.html", cube=cube, revisions=found, branch=name)
        drawn = branch.list_revisions(tx, visit.who, reference, branch=None, limit=MOST_DRAWN, cursor=None)
        tags = branch.list_tags(tx, visit.who, reference).items
    return rendering.page(visit, "cube.html", cube=cube, revisions=found, drawn=drawn, tags=tags, branch=name)


@pages.add("GET", "/cubes/{cube}/memories")
def memories(visit: Visit) -> Response:
    reference = visit.path("cube")
    asked = {name: visit.query(name) for name in ("kind", "state", "tag", "session_id")}
    name, at = visit.query("branch") or MAIN, _at(visit.query("at"))
    with visit.reading() as tx:
        found = read.list_memories(
            tx,
            visit.who,
            reference,
            kind=asked["kind"],
            state=asked["state"],
            tag=asked["tag"],
            session_id=asked["session_id"],
            branch=name,
            at=at,
            as_of=None,
            limit=MOST_MEMORIES,
            cursor=visit.query("cursor"),
        )
        cube = administer.get_cube(tx, visit.who, reference)
    template = "parts/memory_rows.html" if visit.fragment else "memories.html"
    return rendering.page(visit, template, cube=cube, found=found, asked=asked, branch=name, at=at)


@pages.add("GET", "/cubes/{cube}/diff")
def diff(visit: Visit) -> Response:
    """Two revisions side by side, each memory in its words. As a fragment: under a line of the timeline."""
    reference, name = visit.path("cube"), visit.query("branch") or MAIN
    with visit.reading() as tx:
        cube = administer.get_cube(tx, visit.who, reference, name)
        to = _at(visit.query("to"))
        to = cube.revision if to is None else to
        from_ = _at(visit.query("from"))
        if from_ is None:
            from_ = max(to - 1, 0) if isinstance(to, int) else cube.revision
        found = branch.diff(tx, visit.who, reference, from_=from_, to=to, branch=name)
    template = "parts/diff.html" if visit.fragment else "diff.html"
    return rendering.page(visit, template, cube=cube, diff=found, from_=from_, to=to, branch=name)


@pages.add("GET", "/cubes/{cube}/rollback")
def rollback_asked(visit: Visit) -> Response:
    """What going back would change, and the form that does it."""
    reference, name = visit.path("cube"), visit.query("branch") or MAIN
    to = _revision(visit.query("to"))
    with visit.reading() as tx:
        cube = administer.get_cube(tx, visit.who, reference, name)
        found = branch.diff(tx, visit.who, reference, from_=cube.revision, to=to, branch=name)
    return rendering.page(visit, "rollback.html", cube=cube, diff=found, to=to, branch=name)


@pages.add("POST", "/cubes/{cube}/rollback")
def rollback(visit: Visit) -> Response:
    """Refused when somebody wrote since the page was shown: what would change is no longer what was read."""
    form = visit.form
    with visit.writing() as tx:
        made = branch.rollback(
            tx,
            visit.who,
            visit.path("cube"),
            to=_revision(form.get("to")),
            branch=form.get("branch") or MAIN,
            now=visit.now,
            reason=form.get("reason", "")[:500],
            if_match=f'"{_revision(form.get("head"))}"',
        )
    return rendering.done(f"/admin/cubes/{visit.path('cube')}?branch={made.branch}", "rollback")


def _at(given: str | None) -> At:
    """A revision number or a tag's name."""
    if given is None:
        return None
    return _revision(given) if given.isascii() and given.isdigit() else given


def _revision(given: str | None) -> int:
    if given is None or not (given.isascii() and given.isdigit()) or int(given) > MOST_REVISION:
        raise Invalid("a revision is a whole number")
    return int(given)
