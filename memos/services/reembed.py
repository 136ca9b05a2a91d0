"""Reembed: a cube changes its model while it is read and written.

The job `reembed` makes a vector of every text in the next space, batch by batch, beside the present ones; then, when it was asked
to, it takes the cube's row, sees that nothing is missing, and lets the two change places in one transaction. The former vectors
stay beside, so the way back is the same job with the other space. Until the commit every search is in the one space, from then
on in the other; a write that was embedded before and arrives after is told to come again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.encoders.embedder import Embedder
from memos.errors import Conflict, Invalid, Misconfigured, NotFound
from memos.rules.access import Principal, Scope
from memos.rules.embedding_text import Described, own_text
from memos.rules.packages import Model
from memos.services.attempt import Attempt, Outcome
from memos.services.remember import utc_now
from memos.services.spaces import Spaces
from memos.store import audit, cubes, jobs, spaces
from memos.store.jobs import Job
from memos.store.spaces import Space
from memos.store.transaction import Transaction

KIND = "reembed"
BATCH = 64


@dataclass(frozen=True, slots=True)
class SpaceView:
    """`staged` of `total` texts have a vector beside the present ones: on the way in, or kept for the way back."""

    id: UUID
    model: str
    fingerprint: str
    dimensions: int
    state: str
    staged: int
    total: int
    created_at: datetime
    changed_at: datetime


def list_spaces(tx: Transaction, who: Principal, reference: str) -> list[SpaceView]:
    """The spaces of a cube, oldest first. None when it never left the configured model's."""
    who.require(Scope.ADMIN)
    cube = cubes.find(tx, reference)
    who.reach(cube.id)
    found = spaces.of_cube(tx, cube.id)
    total = spaces.texts(tx, cube.id) if found else 0
    return [
        SpaceView(s.id, s.model, s.fingerprint, s.dimensions, s.state, staged, total, s.created_at, s.changed_at)
        for s, staged in found
    ]


def request(
    tx: Transaction, models: Spaces, who: Principal, reference: str, model: str, *, activate: bool, now: datetime
) -> Job:
    """Promise to fill the space of a model, and to change over to it if `activate`. Raises `Invalid` when the model cannot be."""
    who.require(Scope.ADMIN)
    cube = cubes.find(tx, reference, lock=True)
    who.reach(cube.id)
    try:
        target = models.model(model)
    except Misconfigured as error:
        # Of the request, not of the service: it named the model.
        raise Invalid(error.detail, where=["body", "model"]) from error
    before = spaces.active(tx, cube.id)
    if target.fingerprint == (models.home.fingerprint if before is None else before.fingerprint):
        raise Conflict(f"the cube's vectors are by {target.name!r} already")
    space = spaces.begin(tx, cube.id, _described(models.home), _described(target), now)
    return _promise(tx, who, space, activate=activate, now=now)


def activate(tx: Transaction, who: Principal, reference: str, space_id: UUID, *, now: datetime) -> Job:
    """Promise to change over to a space that is ready or was kept; what was written since is embedded first."""
    space = _reached(tx, who, reference, space_id)
    if space.state == "active":
        raise Conflict("this space is active already")
    return _promise(tx, who, space, activate=True, now=now)


def drop(tx: Transaction, who: Principal, reference: str, space_id: UUID, *, now: datetime) -> None:
    """Forget a space that is not read, and its vectors: after this there is no way back to it without embedding anew."""
    space = _reached(tx, who, reference, space_id)
    if space.state == "active":
        raise Conflict("the vectors of this space are in use; change over to another one first")
    spaces.drop(tx, space)
    audit.record(tx, who.key_id, "space.drop", now, cube_id=space.cube_id, target=str(space.id))


def reembed(attempt: Attempt) -> Outcome:
    """Job `reembed`, payload `{space_id, activate}`."""
    cube_id, payload = attempt.job.cube_id, attempt.job.payload
    if cube_id is None:
        raise Invalid("a job of this kind is about a cube")
    with attempt.reading() as tx:
        try:
            space = spaces.find(tx, cube_id, UUID(payload["space_id"]))
        except NotFound:
            return Outcome({"skipped": "the space is gone"})
    if space.state == "active":
        return Outcome({"skipped": "the space is active already"})
    embedder = attempt.parts.spaces.model(space.model)
    if embedder.fingerprint != space.fingerprint:
        raise Conflict(
            f"the model {space.model!r} is not the one this space was begun with; drop the space and begin anew"
        )
    embedded = 0
    while True:
        filled = _fill(attempt, space, embedder)
        embedded += filled
        with attempt.saving() as tx:
            cubes.find(tx, str(cube_id), lock=True)
            if left := spaces.remaining(tx, space):
                if not filled:
                    raise Conflict(f"{left} texts cannot be seen by this job")
                continue  # written while we embedded the others
            now = utc_now()
            if not payload["activate"]:
                spaces.set_state(tx, space, "kept" if space.state == "kept" else "ready", now)
                return attempt.finish(tx, {"embedded": embedded, "active": False})
            moved = spaces.swap(tx, space, now)
            for branch in cubes.list_branches(tx, cube_id):
                jobs.promise(tx, "index", cube_id=cube_id, payload={"branch": branch.name})
            audit.record(tx, None, "space.activate", now, cube_id=cube_id, target=str(space.id),
                         detail={"model": space.model, "texts": moved})  # fmt: skip
            return attempt.finish(tx, {"embedded": embedded, "moved": moved, "active": True})


def _fill(attempt: Attempt, space: Space, embedder: Embedder) -> int:
    """Embed what has no vector in the space yet; how many texts."""
    done, after = 0, 0
    # Not through `attempt.reading`, which leaves out what is set aside for review: that has vectors too.
    database, tenant_id = attempt.parts.database, attempt.tenant_id
    with database.transaction(tenant_id, read_only=True) as tx:
        total = spaces.remaining(tx, space)
    while True:
        with database.transaction(tenant_id, read_only=True) as tx:
            batch = spaces.unstaged(tx, space, after, BATCH)
        if not batch:
            return done
        vectors = embedder.embed([own_text(Described(u.text, u.speaker, None, u.title)) for u in batch])
        with attempt.saving() as tx:
            spaces.stage(tx, space, [u.content_id for u in batch], vectors)
        done, after = done + len(batch), batch[-1].content_id
        attempt.report({"done": done, "total": max(done, total)})


def _reached(tx: Transaction, who: Principal, reference: str, space_id: UUID) -> Space:
    who.require(Scope.ADMIN)
    cube = cubes.find(tx, reference, lock=True)
    who.reach(cube.id)
    return spaces.find(tx, cube.id, space_id)


def _promise(tx: Transaction, who: Principal, space: Space, *, activate: bool, now: datetime) -> Job:
    job_id = jobs.promise(
        tx,
        KIND,
        cube_id=space.cube_id,
        payload={"space_id": str(space.id), "activate": activate},
        dedup_key=f"{space.id}/{activate}",
    )
    audit.record(tx, who.key_id, "space.request", now, cube_id=space.cube_id, target=str(space.id),
                 detail={"model": space.model, "activate": activate})  # fmt: skip
    return jobs.get(tx, job_id)


def _described(embedder: Embedder) -> Model:
    return Model(embedder.name, embedder.fingerprint, embedder.dimensions)
