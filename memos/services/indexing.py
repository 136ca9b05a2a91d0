"""Indexing: moving fresh vectors of a branch into the vector graph, out of the way of writers."""

from __future__ import annotations

from memos.errors import NotFound
from memos.services.attempt import Attempt, Outcome
from memos.store import cubes, present

# Vectors outside the graph are compared one by one: 2,000 take about 2 ms, as long as the graph itself. Fewer are not
# worth building for; a cube below this is scanned exactly and never needs the graph at all.
INDEX_AFTER = 2_000
# About a second of graph building: short enough to be interrupted, and to leave writers of the branch their turn.
BATCH = 500


def index(attempt: Attempt) -> Outcome:
    """Job `index`, payload `{branch}`: once enough vectors have gathered, move them all, a batch a transaction.

    Any number of these may run or be repeated: a vector is in the graph or it is not.
    """
    cube_id, name = attempt.job.cube_id, attempt.job.payload["branch"]
    with attempt.reading() as tx:
        try:
            branch = cubes.find_branch(tx, cube_id, name) if cube_id else None
        except NotFound:
            branch = None
        waiting = present.pending(tx, branch.id) if branch else 0
    moved = 0
    if branch is None or waiting <= INDEX_AFTER:
        return Outcome({"indexed": 0, "waiting": waiting})
    while True:
        with attempt.saving() as tx:
            batch = present.index_some(tx, branch.id, BATCH)
        moved += batch
        if batch < BATCH:
            return Outcome({"indexed": moved, "waiting": 0})
        attempt.report({"done": moved, "total": max(moved, waiting)})
