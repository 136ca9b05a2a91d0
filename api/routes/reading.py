"""Search and context: the few memories that matter for a question."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from api.call import Call, answer
from api.dependencies import Caller, CubeRef
from api.routing import Routes
from api.schemas.reading import ContextAllIn, ContextIn, ContextOut, SearchAllIn, SearchIn, SearchOut
from memos.rules.access import Scope
from memos.services import assemble, recall

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


@routes.add(
    "POST",
    "/v1/cubes/{cube}/context",
    scope=Scope.READ,
    summary="Context for a prompt",
    answer=ContextOut,
    fails=(404, 413),
)
def context(call: Caller, cube: CubeRef, body: ContextIn) -> Response:
    """What a search finds, packed into a budget of tokens, in the order of time, with citations. `dropped` says what was
    left out and why. Never over budget by the tokenizer named; never empty while anything matches."""
    return _context(call, [cube], body)


@routes.add(
    "POST", "/v1/context", scope=Scope.READ, summary="Context from several cubes", answer=ContextOut, fails=(404, 413)
)
def context_all(call: Caller, body: ContextAllIn) -> Response:
    """As one corpus: headings name the cube."""
    return _context(call, list(dict.fromkeys(body.cubes)), body)


def _search(call: Call, cubes: Sequence[str], body: SearchIn) -> Response:
    app = call.app
    found = recall.search_cubes(app.recall, call.who, cubes, _asked(body), clock=call.now)
    return answer(SearchOut, found)


def _context(call: Call, cubes: Sequence[str], body: ContextIn) -> Response:
    app = call.app
    asked = assemble.ContextQuery(_asked(body), body.budget_tokens)
    return answer(ContextOut, assemble.context(app.recall, call.who, cubes, asked, clock=call.now))


def _asked(body: SearchIn) -> recall.SearchQuery:
    return recall.SearchQuery(
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
