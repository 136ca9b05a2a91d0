"""The page of one memory, the graph around it, and what an operator may do with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from starlette.responses import JSONResponse, Response

from api.pages import rendering
from api.pages.visiting import Pages, Visit, see_other
from memos.errors import Invalid, NotFound
from memos.rules.forgetting import Policy
from memos.rules.lifecycle import TRANSITIONS, State
from memos.rules.strength import Retention, retrievability
from memos.services import dossier, neighbourhood, revise
from memos.services.dossier import Dossier
from memos.store.cubes import MAIN

pages = Pages()

# A curve looks smooth with this many points, and half a year ahead shows when it will fade.
_POINTS = 80
_AHEAD = timedelta(days=180)
_BEHIND = timedelta(days=30)
_HOPS = 2


@pages.add("GET", "/memories/{memory_id}")
def memory(visit: Visit) -> Response:
    with visit.reading() as tx:
        found = dossier.open_(tx, visit.who, visit.path_id("memory_id"), now=visit.now, cube=visit.query("cube"))
    return rendering.page(
        visit,
        "memory.html",
        found=found,
        curve=_curve(found, visit.now),
        begin=_begin(found, visit.now),
        threshold=Policy().archive_below,
        next_states=_next_states(found.header.state),
    )


@pages.add("GET", "/memories")
def find(visit: Visit) -> Response:
    """From a search field to the page of an id."""
    return see_other(f"/admin/memories/{visit.query_id('id')}")


@pages.add("GET", "/memories/{memory_id}/graph.json")
def graph(visit: Visit) -> Response:
    """What stands around the memory, as the script of the graph view wants it."""
    memory_id = visit.path_id("memory_id")
    with visit.reading() as tx:
        home = dossier.open_(tx, visit.who, memory_id, now=visit.now, cube=visit.query("cube"))
        try:
            around = neighbourhood.neighbourhood(
                tx, visit.who, str(home.cube.id), center=str(memory_id), hops=_HOPS, branch=MAIN, at=None, as_of=None
            )
        except NotFound:  # archived, merged or erased: it stands in no graph now
            alone = neighbourhood.Node(memory_id, "memory", home.header.kind, home.header.content or "", 0)
            around = neighbourhood.GraphView([alone], [], [], truncated=False)
    nodes: list[dict[str, Any]] = [
        {
            "id": str(node.id),
            "sort": node.sort,
            "type": node.type,
            "label": rendering.label(node.label, 48),
            "hops": node.hops,
        }
        for node in around.nodes
    ]
    edges = [
        {"source": str(edge.source), "target": str(edge.target), "relation": edge.relation} for edge in around.edges
    ]
    return JSONResponse({"nodes": nodes, "edges": edges, "truncated": around.truncated}, headers=rendering.HEADERS)


@pages.add("POST", "/memories/{memory_id}/state")
def change_state(visit: Visit) -> Response:
    memory_id, form = visit.path_id("memory_id"), visit.form
    to = form.get("to", "")
    if to not in set(State):
        raise Invalid("choose a state")
    with visit.writing() as tx:
        revise.set_state(
            tx,
            visit.who,
            form.get("cube", ""),
            memory_id,
            to=State(to),
            reason=form.get("reason", "")[:500],
            branch=MAIN,
            now=visit.now,
        )
    return rendering.done(_address(memory_id, form), "state")


@pages.add("POST", "/memories/{memory_id}/restore")
def restore(visit: Visit) -> Response:
    memory_id, form = visit.path_id("memory_id"), visit.form
    version = form.get("version", "")
    if not (version.isascii() and version.isdigit() and len(version) < 10):
        raise Invalid("a version is a whole number")
    with visit.writing() as tx:
        revise.restore(
            tx,
            visit.who,
            form.get("cube", ""),
            memory_id,
            version=int(version),
            reason=form.get("reason", "")[:500],
            branch=MAIN,
            now=visit.now,
        )
    return rendering.done(_address(memory_id, form), "restored")


def _address(memory_id: UUID, form: dict[str, str]) -> str:
    return f"/admin/memories/{memory_id}?cube={form.get('cube', '')}"


def _curve(found: Dossier, now: datetime) -> list[tuple[datetime, float]]:
    """How strength falls since the last recall, until half a year from now. Earlier recalls are marks, no curve: how
    well it was retained between them is not kept."""
    if found.strength is None:
        return []
    retention: Retention = found.strength.retention
    since = max(min(retention.last_recalled_at, now), _begin(found, now))
    step = (now + _AHEAD - since) / _POINTS
    moments = sorted({since + step * i for i in range(_POINTS + 1)} | {now})
    return [(at, retrievability(retention, at)) for at in moments]


def _begin(found: Dossier, now: datetime) -> datetime:
    """Early enough to show the last recalls, but not so early that what comes is squeezed."""
    recent = found.use.recent if found.use else []
    return max(min([found.created_at, *recent, now - _BEHIND]), now - 6 * _BEHIND)


def _next_states(state: str) -> list[str]:
    """What the state may become by somebody's wish; `merged` and `expired` come about otherwise."""
    wished = {State.ACTIVATED, State.ARCHIVED, State.FROZEN, State.GENERATED}
    return sorted(to.value for to in TRANSITIONS[State(state)] if to in wished)
