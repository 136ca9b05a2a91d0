"""Traces: why the agent said this. From the answer to the memories behind it, and from those to what they were made of."""

from __future__ import annotations

from starlette.responses import Response

from api.pages import rendering
from api.pages.visiting import Pages, Visit, see_other
from memos.services import explain, oversee, trace

pages = Pages()

MOST_TRACES = 40
DOORS = ("search", "context")


@pages.add("GET", "/traces")
def list_traces(visit: Visit) -> Response:
    """What is found by its id or its context's hash alone is opened at once."""
    door, cube, find = visit.query("door"), visit.query("cube"), visit.query("find")
    visit.app.traces.flush()
    with visit.reading() as tx:
        found = oversee.list_traces(
            tx,
            visit.who,
            cube=cube,
            door=door if door in DOORS else None,
            memory_id=visit.query_id("memory_id"),
            find=None if find is None else find.strip()[:200],
            limit=MOST_TRACES,
            cursor=visit.query("cursor"),
        )
    if find and len(found.items) == 1 and find.strip().lower() in {str(found.items[0].id), found.items[0].context_hash}:
        return see_other(f"/admin/traces/{found.items[0].id}")
    template = "parts/traces.html" if visit.fragment else "traces.html"
    return rendering.page(visit, template, found=found, door=door, cube=cube, find=find, doors=DOORS)


@pages.add("GET", "/traces/{trace_id}")
def show(visit: Visit) -> Response:
    visit.app.traces.flush()
    with visit.reading() as tx:
        found = explain.explained(tx, visit.who, visit.path_id("trace_id"))
    most = max((abs(v) for step in found.steps for v in step.channels.values()), default=1.0)
    return rendering.page(visit, "trace.html", found=found, most=most, replay=None)


@pages.add("POST", "/traces/{trace_id}/replay")
def replay(visit: Visit) -> Response:
    """The question once more to the same revisions. It writes nothing, and needs no confirmation."""
    with visit.reading() as tx:
        found = explain.explained(tx, visit.who, visit.path_id("trace_id"))
    again = trace.replay(visit.app.recall, visit.who, found.trace, clock=visit.now)
    if visit.fragment:
        return rendering.page(visit, "parts/replay.html", found=found, replay=again)
    most = max((abs(v) for step in found.steps for v in step.channels.values()), default=1.0)
    return rendering.page(visit, "trace.html", found=found, most=most, replay=again)
