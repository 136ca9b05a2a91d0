"""The search bench: one question, two settings, everything each of them found and left out. It leaves no trace."""

from __future__ import annotations

from starlette.responses import Response

from api.pages import rendering
from api.pages.visiting import Pages, Visit
from memos.errors import Invalid
from memos.rules.header import Kind
from memos.services import bench, oversee
from memos.services.bench import MOST_RESULTS, Setting
from memos.services.gathering import SearchQuery
from memos.store.cubes import MAIN, At

pages = Pages()

BUDGETS = ("auto", "low", "mid", "high")
GRANULARITIES = ("auto", *(kind.value for kind in Kind))
SIDES = ("a", "b")
START = {
    "a": {"budget": "auto", "granularity": "auto", "limit": "10", "tokens": "400", "branch": MAIN, "at": ""},
    "b": {"budget": "high", "granularity": "auto", "limit": "10", "tokens": "400", "branch": MAIN, "at": ""},
}
MOST_CUBES = 200
MOST_TOKENS = 32_000


@pages.add("GET", "/bench")
def bench_asked(visit: Visit) -> Response:
    return _bench(visit, visit.query("cube") or "", "", START, [])


@pages.add("POST", "/bench")
def bench_run(visit: Visit) -> Response:
    """A question is sent as a form, so that it stands in no address, history or log."""
    form = visit.form
    cube, query = form.get("cube", ""), form.get("query", "").strip()
    settings = {
        side: {name: form.get(f"{side}-{name}", start) for name, start in START[side].items()} for side in SIDES
    }
    if not query:
        raise Invalid("ask something")
    runs = [
        bench.run(visit.app.recall, visit.who, cube, _setting(query, settings[side]), clock=visit.now) for side in SIDES
    ]
    return _bench(visit, cube, query, settings, runs)


def _bench(visit: Visit, cube: str, query: str, settings: dict[str, dict[str, str]], runs: list[bench.Run]) -> Response:
    with visit.reading() as tx:
        cubes = oversee.list_cubes(tx, visit.who, part=None, limit=MOST_CUBES, cursor=None).items
    most = max((abs(v) for run in runs for shot in run.shots for v in shot.channels.values()), default=1.0)
    return rendering.page(
        visit,
        "bench.html",
        cubes=cubes,
        cube=cube,
        query=query,
        settings=settings,
        results=list(zip(SIDES, runs, bench.compared(runs), strict=False)),
        most=most,
        budgets=BUDGETS,
        granularities=GRANULARITIES,
    )


def _setting(query: str, given: dict[str, str]) -> Setting:
    if given["budget"] not in BUDGETS or given["granularity"] not in GRANULARITIES:
        raise Invalid("choose a budget and a granularity from the lists")
    at: At = given["at"].strip() or None
    if isinstance(at, str) and at.isascii() and at.isdigit():
        at = _whole(at, "a revision", 2**31 - 1)
    return Setting(
        SearchQuery(
            query=query,
            limit=_whole(given["limit"], "the number of results", MOST_RESULTS),
            granularity=given["granularity"],
            budget=given["budget"],
            branch=given["branch"].strip() or MAIN,
            at=at,
            explain=True,
        ),
        _whole(given["tokens"], "the tokens of the context", MOST_TOKENS),
    )


def _whole(given: str, what: str, most: int) -> int:
    if not (given.isascii() and given.isdigit()) or not 1 <= int(given) <= most:
        raise Invalid(f"{what} must be a whole number from 1 to {most:,}")
    return int(given)
