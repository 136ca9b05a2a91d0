"""The graph: entities, what is said of them, what stands around them, and who is the same as whom."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Path, Query
from starlette.responses import Response

from api.call import answer
from api.dependencies import AsOfQuery, AtQuery, BranchQuery, Caller, CubeRef, CursorQuery, LimitQuery
from api.routing import Routes
from api.schemas.base import Page
from api.schemas.fields import Storable
from api.schemas.graph import EntityDecisionOut, EntityDetailOut, EntityMergeIn, EntityOut, EntitySplitIn, GraphOut
from api.schemas.limits import MAX_NAME
from api.schemas.walk import WalkIn, WalkOut
from memos.rules.access import Scope
from memos.services import entities, neighbourhood, walking

routes = Routes("Graph")

EntityId = Annotated[UUID, Path()]
Part = Annotated[Storable | None, Query(max_length=MAX_NAME, description="Any part of a name, in any case.")]
Center = Annotated[
    Storable, Query(min_length=1, max_length=MAX_NAME, description="An entity's id or name, or a memory's id.")
]
Hops = Annotated[int, Query(ge=1, le=3, description="How far to go from the centre.")]


@routes.add(
    "GET",
    "/v1/cubes/{cube}/entities",
    scope=Scope.READ,
    summary="List entities",
    answer=Page[EntityOut],
    fails=(404,),
)
def list_entities(
    call: Caller,
    cube: CubeRef,
    q: Part = None,
    branch: BranchQuery = "main",
    at: AtQuery = None,
    as_of: AsOfQuery = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """In order of name: everybody and everything the branch's memories name."""
    with call.reading() as tx:
        found = entities.list_entities(
            tx, call.who, cube, q=q, branch=branch, at=at, as_of=as_of, limit=limit, cursor=cursor
        )
    return answer(Page[EntityOut], found)


@routes.add(
    "POST",
    "/v1/cubes/{cube}/entities/merge",
    scope=Scope.WRITE,
    summary="Say that names mean one entity",
    answer=EntityDecisionOut,
    status=201,
    fails=(404, 409),
)
def merge_entities(call: Caller, cube: CubeRef, body: EntityMergeIn) -> Response:
    """A revision of its own; nothing is rewritten, and a split or a rollback undoes it."""
    with call.writing() as tx:
        decided = entities.merge_entities(
            tx,
            call.who,
            cube,
            entities=body.entities,
            into=body.into,
            branch=body.branch,
            now=call.now,
            reason=body.reason,
        )
        return call.keep(tx, 201, EntityDecisionOut, decided)


@routes.add(
    "GET",
    "/v1/cubes/{cube}/entities/{entity_id}",
    scope=Scope.READ,
    summary="Read an entity",
    answer=EntityDetailOut,
    fails=(404,),
)
def get_entity(
    call: Caller,
    cube: CubeRef,
    entity_id: EntityId,
    branch: BranchQuery = "main",
    at: AtQuery = None,
    as_of: AsOfQuery = None,
) -> Response:
    """Its spellings, the memories that name it, and what they state of it, with validity."""
    with call.reading() as tx:
        found = entities.get_entity(tx, call.who, cube, entity_id, branch=branch, at=at, as_of=as_of)
    return answer(EntityDetailOut, found)


@routes.add(
    "POST",
    "/v1/cubes/{cube}/entities/{entity_id}/split",
    scope=Scope.WRITE,
    summary="Say that a name means several",
    answer=EntityDecisionOut,
    status=201,
    fails=(404,),
)
def split_entity(call: Caller, cube: CubeRef, entity_id: EntityId, body: EntitySplitIn) -> Response:
    """Undoes merges, or tells apart two of the same name. A revision of its own."""
    with call.writing() as tx:
        decided = entities.split_entity(
            tx,
            call.who,
            cube,
            entity_id,
            entities=body.entities,
            memory_ids=body.memory_ids,
            name=body.name,
            branch=body.branch,
            now=call.now,
            reason=body.reason,
        )
        return call.keep(tx, 201, EntityDecisionOut, decided)


@routes.add("GET", "/v1/cubes/{cube}/graph", scope=Scope.READ, summary="Look around", answer=GraphOut, fails=(404,))
def graph(
    call: Caller,
    cube: CubeRef,
    center: Center,
    hops: Hops = 1,
    branch: BranchQuery = "main",
    at: AtQuery = None,
    as_of: AsOfQuery = None,
) -> Response:
    """Entities and memories around a centre, at most three hundred, the nearest first."""
    with call.reading() as tx:
        found = neighbourhood.neighbourhood(
            tx, call.who, cube, center=center, hops=hops, branch=branch, at=at, as_of=as_of
        )
    return answer(GraphOut, found)


@routes.add(
    "POST",
    "/v1/cubes/{cube}/graph/walk",
    scope=Scope.READ,
    summary="Walk from entities and memories",
    answer=WalkOut,
    fails=(404, 413),
)
def walk_graph(call: Caller, cube: CubeRef, body: WalkIn) -> Response:
    """What hangs together with them, best first: a step away from what words and meaning find (personalised PageRank)."""
    asked = walking.WalkQuery(
        query=body.query,
        entities=body.entities,
        memory_ids=body.memory_ids,
        kinds=body.kinds,
        filter=body.filter,
        limit=body.limit,
        branch=body.branch,
        at=body.at,
        as_of=body.as_of,
    )
    with call.reading() as tx:
        found = walking.walk(tx, call.who, cube, asked, now=call.now)
    return answer(WalkOut, found)
