"""One memory with everything known of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.admin.oversight import CubeQuery
from api.call import answer
from api.dependencies import Caller, MemoryId
from api.routing import Routes
from api.schemas.dossier import DossierOut
from memos.rules.access import Scope
from memos.services import dossier

routes = Routes("Admin")


@routes.add(
    "GET",
    "/admin/v1/memories/{memory_id}",
    scope=Scope.ADMIN,
    summary="See everything known of a memory",
    answer=DossierOut,
    fails=(404,),
)
def get_dossier(
    call: Caller,
    memory_id: MemoryId,
    cube: CubeQuery = None,
    vectors: Annotated[bool, Query(description="Whether to give the vectors' numbers too.")] = False,
) -> Response:
    """Header, versions, vectors, lexemes, mentions, claims, usage, lineage, transitions, decisions, traces and KV, in one
    answer. `cube` chooses where copied cubes share ids."""
    with call.reading() as tx:
        found = dossier.open_(tx, call.who, memory_id, now=call.now, cube=cube, vectors=vectors)
    return answer(DossierOut, found)
