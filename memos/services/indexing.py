"""Indexing: moving fresh vectors of a branch into the vector graph, out of the way of writers; and listing for filters what an
older release wrote."""

from __future__ import annotations

from memos.errors import NotFound
from memos.services.attempt import Attempt, Outcome
from memos.store import cubes, facets, present
from memos.store.cubes import Branch

# Vectors outside the graph are compared one by one, 0.4 ms a thousand. A branch with no more than this many of either side
# (see `folds`) never enters the graph: its answers are exact, so the same vectors give the same answers whoever holds them,
# also after an export or a backup. The graph draws its levels at random, and two graphs of the same vectors miss other ones.
EXACT = 4_000
# Beyond that, so many fresh ones are worth a run.
INDEX_AFTER = 2_000
# About a second of graph building: short enough to be interrupted, and to leave writers of the branch their turn.
BATCH = 500


def index(attempt: Attempt) -> Outcome:
    """Job `index`, payload `{branch}`: once a branch is large and enough has gathered, move it all, a batch a transaction.

    Any number of these may run or be repeated: a vector is in the graph or it is not.
    """
    cube_id, name = attempt.job.cube_id, attempt.job.payload["branch"]
    with attempt.reading() as tx:
        try:
            branch = cubes.find_branch(tx, cube_id, name) if cube_id else None
        except NotFound:
            branch = None
        waiting = present.pending(tx, branch.id) if branch else 0
        unlisted = branch is not None and facets.undescribed(tx, branch.id)
    if branch is not None and unlisted:
        _describe(attempt, branch)
    moved = 0
    if (
        branch is None
        or waiting <= INDEX_AFTER
        or max(branch.folded_count, branch.live_count - branch.folded_count) <= EXACT
    ):
        return Outcome({"indexed": 0, "waiting": waiting})
    while True:
        with attempt.saving() as tx:
            batch = present.index_some(tx, branch.id, BATCH)
        moved += batch
        if batch < BATCH:
            return Outcome({"indexed": moved, "waiting": 0})
        attempt.report({"done": moved, "total": max(moved, waiting)})


def _describe(attempt: Attempt, branch: Branch) -> None:
    described = BATCH
    while described == BATCH:
        with attempt.saving() as tx:
            cubes.find(tx, str(branch.cube_id), lock=True)
            described = facets.describe_some(tx, branch.id, BATCH)
