"""Search: the few memories that matter for a question."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from api.call import Call, answer
from api.dependencies import Caller, CubeRef
from api.routing import Routes
from api.schemas.reading import SearchAllIn, SearchIn, SearchOut
from memos.rules.access import Scope
from memos.services import recall

routes = Routes("Reading")


@routes.add(
    "POST",
    "/v1/cubes/{cube}/search",
    scope=Scope.READ,
    summary="Search a cube",
    answer=SearchOut,
    fails=(404, 413),
)
def search(call: Caller, cube: CubeRef, body: SearchIn) -> Response:
    """Best first, from one snapshot. `route` says what was done, `explain` why each memory is there."""
    return _search(call, [cube], body)


@routes.add("POST", "/v1/search", scope=Scope.READ, summary="Search several cubes", answer=SearchOut, fails=(404, 413))
def search_all(call: Caller, body: SearchAllIn) -> Response:
    """As one corpus: the answer's `items` name their cube."""
    return _search(call, list(dict.fromkeys(body.cubes)), body)


def _search(call: Call, cubes: Sequence[str], body: SearchIn) -> Response:
    asked = recall.SearchQuery(
        query=body.query,
        limit=body.limit,
        granularity=body.granularity,
        filter=body.filter,
        budget=body.budget,
        branch=body.branch,
        at=body.at,
        as_of=body.as_of,
        now=body.now,
        explain=body.explain,
    )
    app = call.app
    found = recall.search_cubes(app.recall, call.who, cubes, asked, clock=call.now)
    return answer(SearchOut, found)
