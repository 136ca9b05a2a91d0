"""Extraction and consolidation on demand: as a job, or only as what it would do."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body
from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller, CubeRef
from api.routing import Routes
from api.schemas.derived import ConsolidateIn, ConsolidationPreviewOut, ExtractIn, ExtractionPreviewOut
from api.schemas.jobs import JobOut
from memos.rules.access import Scope
from memos.services import consolidate as consolidation
from memos.services import extract as extraction

routes = Routes("Derived memories")


@routes.add(
    "POST",
    "/v1/cubes/{cube}/extract",
    scope=Scope.WRITE,
    summary="Read what was written",
    answer=JobOut,
    status=202,
    fails=(404,),
    answer_description="The job that reads.",
    responses={200: {"model": ExtractionPreviewOut, "description": "With `dry_run`: what would be extracted."}},
)
def extract(call: Caller, cube: CubeRef, body: Annotated[ExtractIn, Body(default_factory=ExtractIn)]) -> Response:
    """Facts, names and slots of everything not read yet. Every write promises this anyway, unless the policy says no."""
    if body.dry_run:
        preview = extraction.preview(
            call.app.database,
            call.app.settings,
            call.who,
            cube,
            branch=body.branch,
            again=body.again,
            most=body.limit,
        )
        return answer(ExtractionPreviewOut, preview)
    with call.writing() as tx:
        job = extraction.request(tx, call.who, cube, branch=body.branch, again=body.again)
        return call.keep(tx, 202, JobOut, job, location=f"/v1/jobs/{job.id}")


@routes.add(
    "POST",
    "/v1/cubes/{cube}/consolidate",
    scope=Scope.WRITE,
    summary="Tidy a cube",
    answer=JobOut,
    status=202,
    fails=(404, 409),
    answer_description="The job that tidies.",
    responses={200: {"model": ConsolidationPreviewOut, "description": "With `dry_run`: what a run would do."}},
)
def consolidate(
    call: Caller, cube: CubeRef, body: Annotated[ConsolidateIn, Body(default_factory=ConsolidateIn)]
) -> Response:
    """Near-duplicates, episodes, profiles and procedures as one revision, which `rollback` undoes exactly."""
    if body.dry_run:
        app = call.app
        preview = consolidation.preview(
            app.database, call.embedder(cube), app.settings, call.who, cube, branch=body.branch
        )
        return answer(ConsolidationPreviewOut, preview)
    with call.writing() as tx:
        job = consolidation.request(tx, call.who, cube, branch=body.branch)
        return call.keep(tx, 202, JobOut, job, location=f"/v1/jobs/{job.id}")
