"""Embedding spaces: a cube changes its model while it is in use, and back."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Path
from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller, CubeRef
from api.routing import Routes
from api.schemas.jobs import JobOut
from api.schemas.spaces import SpaceIn, SpacesOut
from memos.rules.access import Scope
from memos.services import reembed

routes = Routes("Admin")

SpaceId = Annotated[UUID, Path()]


@routes.add(
    "GET",
    "/admin/v1/cubes/{cube}/spaces",
    scope=Scope.ADMIN,
    summary="List embedding spaces",
    answer=SpacesOut,
    fails=(404,),
)
def list_spaces(call: Caller, cube: CubeRef) -> Response:
    """Which model's vectors are read, which are being made, and which are kept for a way back; with progress."""
    with call.reading() as tx:
        found = reembed.list_spaces(tx, call.who, cube)
    return answer(SpacesOut, {"items": found})


@routes.add(
    "POST",
    "/admin/v1/cubes/{cube}/spaces",
    scope=Scope.ADMIN,
    summary="Embed a cube with another model",
    answer=JobOut,
    status=202,
    fails=(404, 409),
    answer_description="The job that embeds.",
)
def add_space(call: Caller, cube: CubeRef, body: SpaceIn) -> Response:
    """Every text gets a vector in the space of that model, beside the present ones; nobody waits, and searches go on in the
    present space until the change-over, which is one transaction."""
    with call.writing() as tx:
        job = reembed.request(tx, call.app.spaces, call.who, cube, body.model, activate=body.activate, now=call.now)
        return call.keep(tx, 202, JobOut, job, location=f"/v1/jobs/{job.id}")


@routes.add(
    "POST",
    "/admin/v1/cubes/{cube}/spaces/{space_id}/activate",
    scope=Scope.ADMIN,
    summary="Change over to an embedding space, or back",
    answer=JobOut,
    status=202,
    fails=(404, 409),
    answer_description="The job that changes over.",
)
def activate_space(call: Caller, cube: CubeRef, space_id: SpaceId) -> Response:
    """Texts written since are embedded first. The former vectors are kept, so that the way back is the same call."""
    with call.writing() as tx:
        job = reembed.activate(tx, call.who, cube, space_id, now=call.now)
        return call.keep(tx, 202, JobOut, job, location=f"/v1/jobs/{job.id}")


@routes.add(
    "DELETE",
    "/admin/v1/cubes/{cube}/spaces/{space_id}",
    scope=Scope.ADMIN,
    summary="Forget an embedding space",
    answer=None,
    status=204,
    fails=(404, 409),
)
def drop_space(call: Caller, cube: CubeRef, space_id: SpaceId) -> Response:
    """One that is not read, with its vectors."""
    with call.writing() as tx:
        reembed.drop(tx, call.who, cube, space_id, now=call.now)
        return call.keep(tx, 204)
