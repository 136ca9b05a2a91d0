"""Forgetting and promoting by policy, what was decided, and erasure with its receipt."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Path, Query
from starlette.responses import Response

from api.call import answer
from api.dependencies import Caller, CubeRef, CursorQuery, LimitQuery
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.fields import Storable
from api.schemas.jobs import JobOut
from api.schemas.lifecycle import (
    DecisionOut,
    ErasurePreviewOut,
    ForgetIn,
    ForgetOut,
    ReceiptKeysOut,
    ReceiptOut,
    RunIn,
    RunPreviewOut,
)
from memos.rules.access import Scope
from memos.services import decisions, erase, promote, signing
from memos.services import forget as forgetting
from memos.services.erase import Wanted

routes = Routes("Lifecycle")

MOST_LISTED = 1_000
Word = Annotated[Storable | None, Query(max_length=100)]


@routes.add(
    "POST",
    "/v1/cubes/{cube}/decay",
    scope=Scope.WRITE,
    summary="Forget what has faded",
    answer=JobOut,
    status=202,
    fails=(404,),
    answer_description="The job that goes through the branch.",
    responses={200: {"model": RunPreviewOut, "description": "With `dry_run`: what it would decide."}},
)
def decay(call: Caller, cube: CubeRef, body: Annotated[RunIn, Body(default_factory=RunIn)]) -> Response:
    """Archive what has faded, expire what has run out, restore what is recalled again: as one revision. Nothing is
    deleted. It happens daily anyway, unless the policy says no."""
    if body.dry_run:
        with call.reading() as tx:
            found = forgetting.preview(
                tx, call.who, cube, branch=body.branch, now=body.now or call.now, most=MOST_LISTED
            )
        return answer(RunPreviewOut, found)
    with call.writing() as tx:
        job = forgetting.request(tx, call.who, cube, branch=body.branch, now=body.now)
        return call.keep(tx, 202, JobOut, job, location=f"/v1/jobs/{job.id}")


@routes.add(
    "POST",
    "/v1/cubes/{cube}/promote",
    scope=Scope.WRITE,
    summary="Choose what deserves a faster tier",
    answer=JobOut,
    status=202,
    fails=(404,),
    answer_description="The job that chooses.",
    responses={200: {"model": RunPreviewOut, "description": "With `dry_run`: what it would decide."}},
)
def promote_cube(call: Caller, cube: CubeRef, body: Annotated[RunIn, Body(default_factory=RunIn)]) -> Response:
    """From recalls, recency, stability, size and budget. The choice is logged; building the tier is its own work."""
    if body.dry_run:
        with call.reading() as tx:
            found = promote.preview(tx, call.who, cube, branch=body.branch, now=body.now or call.now, most=MOST_LISTED)
        return answer(RunPreviewOut, found)
    with call.writing() as tx:
        job = promote.request(tx, call.who, cube, branch=body.branch, now=body.now)
        return call.keep(tx, 202, JobOut, job, location=f"/v1/jobs/{job.id}")


@routes.add(
    "GET",
    "/v1/cubes/{cube}/decisions",
    scope=Scope.READ,
    summary="List decisions",
    answer=Page[DecisionOut],
    fails=(404,),
)
def list_decisions(
    call: Caller,
    cube: CubeRef,
    kind: Word = None,
    outcome: Word = None,
    memory_id: UUID | None = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """What the workers decided, newest first: inputs, score, policy version, outcome."""
    with call.reading() as tx:
        found = decisions.list_decisions(
            tx, call.who, cube, kind=kind, outcome=outcome, memory_id=memory_id, limit=limit, cursor=cursor
        )
    return answer(Page[DecisionOut], found)


@routes.add(
    "POST",
    "/v1/cubes/{cube}/forget",
    scope=Scope.ERASE,
    summary="Erase memories",
    answer=ForgetOut,
    status=202,
    fails=(404, 409, 413),
    answer_description="The job that erases, and the receipt it will leave.",
    responses={200: {"model": ErasurePreviewOut, "description": "With `dry_run`: what would go."}},
)
def forget(call: Caller, cube: CubeRef, body: ForgetIn) -> Response:
    """The content goes, with all that was derived from it, on all branches and in all revisions; what stays is numbers
    and hashes, so that history still verifies. It cannot be undone. Frozen memories stand against it (409)."""
    wanted = Wanted(body.memory_ids, body.filter, body.branch)
    if body.dry_run:
        with call.reading() as tx:
            found = erase.preview(tx, call.who, cube, wanted)
        return answer(ErasurePreviewOut, found)
    with call.writing() as tx:
        promised = erase.request(tx, call.who, cube, wanted, now=call.now, reason=body.reason)
        return call.keep(tx, 202, ForgetOut, promised, location=f"/v1/jobs/{promised.job_id}")


@routes.add("GET", "/v1/receipts/key", scope=Scope.READ, summary="Read the receipt keys", answer=ReceiptKeysOut)
def receipt_keys(call: Caller) -> Response:
    """What `memos verify-receipt FILE --key FILE` checks a receipt with, offline."""
    with call.reading() as tx:
        found = erase.public_keys(tx, call.who, signing.keyring(call.app.settings))
    return answer(ReceiptKeysOut, {"keys": found})


@routes.add(
    "GET",
    "/v1/receipts/{receipt_id}",
    scope=Scope.READ,
    summary="Read a receipt",
    answer=ReceiptOut,
    fails=(404,),
)
def get_receipt(call: Caller, receipt_id: Annotated[UUID, Path()]) -> Response:
    """404 until the erasure has happened. It stays when the cube is gone."""
    with call.reading() as tx:
        found = erase.get_receipt(tx, call.who, receipt_id)
    return answer(ReceiptOut, found)
