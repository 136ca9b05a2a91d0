"""Relating: links between memories that resemble each other, found for what is new. The job `relate`.

Incremental and bounded: each version is looked at once, in order of writing, and gets at most a few links. What follows
from columns (the next turn, the same session, what a fact was made from) is never stored, and needs no job.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from memos.errors import NotFound
from memos.services.attempt import Attempt, Outcome
from memos.store import cubes, jobs, readings, similar
from memos.store.engine import Database
from memos.store.readings import Place

KIND = "relate"
NEIGHBOURS = 5
LEAST = 0.6
"""Cosine of a link. Two turns of one topic have about 0.5, two that say nearly the same 0.85 (all-MiniLM-L6-v2)."""
BATCH = 200
QUIET = timedelta(minutes=2)
"""What comes together is related together."""


def relate(attempt: Attempt) -> Outcome:
    """Job `relate`, payload `{branch}`: link what was written since the last run. Run twice, it does nothing twice.

    A branch that inherits has no vectors of its own: it shows the links of its base, and its own come with its merge.
    """
    with attempt.reading() as tx:
        try:
            view = cubes.view(tx, str(attempt.job.cube_id), attempt.job.payload["branch"])
        except NotFound:
            return Outcome({"skipped": "the branch is gone"})
        place = readings.place(tx, view.branch.id, KIND)
    if view.branch.base_branch_id is not None:
        return Outcome({"skipped": "a branch that inherits is related when it is merged"})
    looked = linked = 0
    while True:
        with attempt.saving() as tx:
            batch = similar.after(tx, view.branch, place, BATCH)
            linked += similar.link(
                tx, view.branch, [one.version_id for one in batch], neighbours=NEIGHBOURS, least=LEAST
            )
            # At the end the whole revision is done, also those of its versions that nobody can recall.
            place = batch[-1] if len(batch) == BATCH else max(place, *batch, Place(view.at, 0), key=_order)
            readings.advance(tx, view.branch.id, KIND, place)
        looked += len(batch)
        if len(batch) < BATCH:
            return Outcome({"looked": looked, "linked": linked})
        attempt.report({"looked": looked})


def plan(database: Database, tenant_id: UUID, now: datetime) -> int:
    """Promise a run for every cube of a tenant that has changed since its last and is quiet now."""
    with database.transaction(tenant_id) as tx:
        found = [cube_id for cube_id, _ in readings.behind(tx, KIND, now - QUIET)]
        for cube_id in found:
            jobs.promise(tx, KIND, cube_id=cube_id, payload={"branch": cubes.MAIN}, dedup_key=f"{cube_id}/{cubes.MAIN}")
    return len(found)


def _order(place: Place) -> tuple[int, int]:
    return place.revision, place.version_id
