"""What the workers do: jobs and queues, and what was decided by which policy."""

from __future__ import annotations

from starlette.responses import Response

from api.pages import rendering
from api.pages.visiting import Pages, Visit
from memos.services import jobs, oversee

pages = Pages()

MOST_JOBS = 40
MOST_DECISIONS = 40
STATES = ("queued", "running", "succeeded", "failed", "cancelled")


@pages.add("GET", "/jobs")
def list_jobs(visit: Visit) -> Response:
    """As a fragment: the table, which asks for itself again while anything waits or runs."""
    state, kind = visit.query("state"), visit.query("kind")
    with visit.reading() as tx:
        found = oversee.list_jobs(tx, visit.who, state=state, kind=kind, limit=MOST_JOBS, cursor=visit.query("cursor"))
        queues = oversee.queues(tx, visit.who, visit.now)
    template = "parts/jobs.html" if visit.fragment else "jobs.html"
    return rendering.page(visit, template, found=found, queues=queues, state=state, kind=kind, states=STATES)


@pages.add("GET", "/jobs/{job_id}")
def job(visit: Visit) -> Response:
    with visit.reading() as tx:
        found = jobs.get_job(tx, visit.who, visit.path_id("job_id"))
        decided = oversee.list_decisions(
            tx,
            visit.who,
            cube=None,
            job_id=found.id,
            kind=None,
            outcome=None,
            memory_id=None,
            limit=MOST_DECISIONS,
            cursor=None,
        )
    return rendering.page(visit, "job.html", job=found, decided=decided)


@pages.add("POST", "/jobs/{job_id}/cancel")
def cancel(visit: Visit) -> Response:
    with visit.writing() as tx:
        found = jobs.cancel_job(tx, visit.who, visit.path_id("job_id"))
    return rendering.done(f"/admin/jobs/{found.id}", "cancelled")


@pages.add("POST", "/jobs/{job_id}/retry")
def retry(visit: Visit) -> Response:
    with visit.writing() as tx:
        found = jobs.retry_job(tx, visit.who, visit.path_id("job_id"))
    return rendering.done(f"/admin/jobs/{found.id}", "retried")


@pages.add("GET", "/decisions")
def list_decisions(visit: Visit) -> Response:
    asked = {name: visit.query(name) for name in ("cube", "kind", "outcome")}
    with visit.reading() as tx:
        found = oversee.list_decisions(
            tx,
            visit.who,
            cube=asked["cube"],
            job_id=None,
            kind=asked["kind"],
            outcome=asked["outcome"],
            memory_id=visit.query_id("memory_id"),
            limit=MOST_DECISIONS,
            cursor=visit.query("cursor"),
        )
    template = "parts/decisions.html" if visit.fragment else "decisions.html"
    return rendering.page(visit, template, found=found, asked=asked)
