"""Gathering: what search and context share. A query in, ranked memories of one snapshot out, and the route taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from memos.encoders.embedder import Embedder
from memos.errors import Invalid
from memos.metering import stage
from memos.rules import filters, routing
from memos.rules.access import Principal, Scope
from memos.rules.embedding_text import query_text
from memos.rules.filters import Filter, Group
from memos.rules.folding import Origin, after_sources, beside_sources
from memos.rules.header import Kind
from memos.rules.ranking import Ranked, Ranking
from memos.rules.routing import Plan
from memos.rules.speakers import name_terms, named_speakers
from memos.rules.understanding import understand
from memos.services.known_speakers import KnownSpeakers
from memos.services.looking import Looked, depth_of
from memos.services.recall_buffer import RecallBuffer
from memos.services.spaces import Spaces
from memos.services.trace_buffer import TraceBuffer
from memos.services.views import RouteView
from memos.store import cubes, search
from memos.store.cubes import Asked, At, View
from memos.store.engine import Database
from memos.store.found import Found
from memos.store.transaction import Transaction

HEIRS_OF = 10
"""Of so many of the best hits it is asked whether something replaced them."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    query: str
    limit: int = 10
    granularity: str | Sequence[str] = "auto"
    filter: object | None = None
    budget: str = "auto"
    branch: str = cubes.MAIN
    at: At = None
    as_of: datetime | None = None
    now: datetime | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Recall:
    """The parts a search needs, put together once."""

    database: Database
    embedder: Embedder
    counts: RecallBuffer
    speakers: KnownSpeakers
    traces: TraceBuffer
    spaces: Spaces


@dataclass(frozen=True, slots=True)
class Scored:
    """A found memory, the cube it is of, and its place."""

    row: Found
    cube: UUID
    ranked: Ranked

    @property
    def origin(self) -> Origin:
        return Origin(self.row.memory_id, self.row.kind, self.row.sources)


@dataclass(frozen=True, slots=True)
class Gathered:
    """Best first. `weights` says how much each term of the query tells (its idf); `moment` is the asker's time, `clock`
    ours."""

    scored: list[Scored]
    views: list[View]
    weights: dict[str, float]
    route: RouteView
    moment: datetime
    clock: datetime

    @property
    def revisions(self) -> dict[str, int]:
        return {str(view.cube.id): view.at for view in self.views}


def gather(
    recall: Recall,
    who: Principal,
    references: Sequence[str],
    asked: SearchQuery,
    *,
    clock: datetime,
    pinned: Mapping[UUID, int] | None = None,
) -> Gathered:
    """Rank the memories of one or several cubes as one corpus. `now` in the query moves the asker's clock.

    `pinned` names the revision of each cube to read, by ids that are then also the `references`.
    One round trip says what is asked of, one finds candidates, one reads those that are shown; a filter that lists are kept
    for takes one to look them up. Each further look is one more: the second (three with words of the best hits), one at a time
    the question names, one at the archive, two at what replaced the best hits where some of them tell what is over.
    """
    who.require(Scope.READ)
    moment = asked.now or clock
    tree = _filter(asked)
    understood = understand(asked.query, moment)
    plan = routing.plan(understood, asked.budget, _kinds(asked.granularity))
    scope = (who.tenant_id, tuple(references), asked.branch)
    guessed = recall.speakers.known(scope, asked.query)
    text = query_text(asked.query, guessed)
    with stage("embed"):
        vectors = recall.spaces.query(text, recall.spaces.expected(scope))
    with recall.database.transaction(who.tenant_id, read_only=True) as tx:
        features = understood.features
        views = _views(tx, who, references, asked, features.terms, folded=plan.chosen, pinned=pinned)
        named = named_speakers(asked.query, {name for _, about in views for name in about.speakers})
        spaces = {view.space for view, _ in views}
        exact = text if named == guessed else query_text(asked.query, named)
        if exact != text or not spaces <= vectors.keys():
            with stage("embed"):
                vectors = recall.spaces.query(exact, spaces)
        request = search.Request(
            embedding=vectors[views[0][0].space],
            terms=features.terms,
            documents={},
            names=name_terms(named),
            depth=depth_of(plan.probe),
            as_of=asked.as_of or moment,
            kinds=plan.granularities if plan.chosen else None,
            beside=() if plan.chosen else beside_sources(plan.granularities),
            filter=tree,
            named=named,
            role=features.asked_role,
        )
        looked = Looked(tx, views, understood, plan, request, named, vectors)
        ranking, sure, escalated = _looked_through(looked, plan, asked, tree)
        scored = _spelled(looked, ranking, asked.limit)
    if named != guessed:
        recall.speakers.learn(scope, asked.query, named)
    recall.spaces.learn(scope, spaces)
    return Gathered(
        scored=scored,
        views=[view for view, _ in views],
        weights=looked.term_weights(),
        route=_route(looked, plan, sure, escalated=escalated),
        moment=moment,
        clock=clock,
    )


def _looked_through(looked: Looked, plan: Plan, asked: SearchQuery, tree: Filter | None) -> tuple[Ranking, float, bool]:
    """All the looks that this search takes: the final ranking, how sure the first look was, and whether a second followed."""
    with stage("candidates"):
        looked.look()
    with stage("rank"):
        ranking = looked.ranking()
    # Of the first look also after a second: the words found then raise scores, which proves nothing.
    sure = routing.confidence(routing.shape(ranking.evidence_of_best(routing.JUDGED)))
    escalated = routing.escalates(plan, sure, len(ranking), looked.reach)
    if escalated:
        with stage("second_look"):
            looked.look_again([one.version_id for one in ranking.best(routing.FEEDBACK_HITS)])
            ranking = looked.ranking()
    looked.look_along(ranking)
    with stage("times"):
        looked.look_at_times(ranking)
    if looked.gains or looked.timely:
        ranking = looked.ranking()
    with stage("heirs"):
        looked.look_for_heirs(ranking, min(asked.limit, HEIRS_OF), _places(ranking, asked.limit))
    if looked.lifted:
        ranking = looked.ranking()
    # Who names a state has said where to look, and a past state has no archive of what faded since.
    named_state = filters.mentions(tree, "state")
    if asked.at is None and not named_state and looked.has_archive and routing.reaches_back(plan, sure):
        with stage("archive"):
            looked.look_into_archive()
        if looked.archived:
            ranking = looked.ranking()
    return ranking, sure, escalated


def _filter(asked: SearchQuery) -> Filter | None:
    """What the caller wants, and with `as_of` only what had been said by then: a message has no validity of its own, but
    nobody could have heard it earlier. A fact read out of a later one, and dated before, then stands in for it."""
    parts = [] if asked.filter is None else [filters.parse(asked.filter)]
    if asked.as_of is not None:
        said_by = {"created_at": {"lte": asked.as_of.isoformat()}}
        parts.append(filters.parse({"or": [{"kind": {"ne": Kind.TURN.value}}, said_by]}))
    return Group("and", tuple(parts)) if len(parts) > 1 else next(iter(parts), None)


def _views(
    tx: Transaction,
    who: Principal,
    references: Sequence[str],
    asked: SearchQuery,
    terms: Sequence[str],
    *,
    folded: bool,
    pinned: Mapping[UUID, int] | None,
) -> list[tuple[View, Asked]]:
    """What is to be read of each cube, once however often it is named, with what the query asks of it."""
    views = []
    for reference in dict.fromkeys(references):
        at = asked.at if pinned is None else pinned[UUID(reference)]
        view, about = cubes.view_for_query(tx, reference, asked.branch, at, terms, asked.query, folded=folded)
        who.reach(view.cube.id)
        # A replay of what was asked when: what lay in the archive then may have come back.
        views.append((view, about if pinned is None else replace(about, archived=True)))
    return views


def _derived(ranking: Ranking, limit: int) -> bool:
    """Whether the best candidates hold some that were made from others. Only of folded ones the sources are at hand."""
    return bool(ranking.pool.folded[ranking.places[:limit]].any())


def _places(ranking: Ranking, limit: int) -> int:
    """How many of the best candidates are read in full: a few more where the sources of some are to be found among them."""
    return max(limit, routing.JUDGED) if _derived(ranking, limit) else limit


def _spelled(looked: Looked, ranking: Ranking, limit: int) -> list[Scored]:
    """The best candidates with all that is said of them; what was derived never stands before its sources."""
    best = ranking.best(_places(ranking, limit))
    rows = looked.spelled([one.version_id for one in best])
    scored = [Scored(rows[one.version_id], looked.cube_of(one.version_id), one) for one in best]
    return after_sources([(one, one.origin) for one in scored])[:limit] if _derived(ranking, limit) else scored


def _kinds(granularity: str | Sequence[str]) -> list[str] | None:
    """None for `auto`: every kind takes part."""
    if granularity == "auto":
        return None
    names = [granularity] if isinstance(granularity, str) else list(granularity)
    known = [k.value for k in Kind]
    for name in names:
        if name not in known:
            raise Invalid(
                f"unknown granularity {name!r}; known: auto, {', '.join(known)}", where=["body", "granularity"]
            )
    return names


def _route(looked: Looked, plan: Plan, sure: float, *, escalated: bool) -> RouteView:
    others = {
        "feedback": looked.expansion,
        "graph": looked.gains or looked.lifted,
        "temporal": looked.timely,
        "archive": looked.archived,
    }
    channels = ["dense", "lexical", *(name for name, found in others.items() if found)]
    if not looked.present:
        how = "a past state was asked for: its versions were scanned"
    elif looked.whole and looked.narrowed:
        how = "the filter leaves few: every memory it lets through was scored"
    elif looked.whole:
        how = "the cube is small: every memory was scored"
    else:
        probe = plan.escalation if escalated and plan.escalation else plan.probe
        how = f"the nearest {probe.per_channel} of each channel and {probe.neighbours} beside each were scored"
    again = (
        "; looked again, further" + (" and with words of the best hits" if looked.expansion else "")
        if escalated
        else ""
    )
    if looked.gains:
        again += "; walked the graph from the best hits"
    if looked.archived:
        again += f"; still unsure, so {looked.archived} of the archive were scored too"
    if looked.timely:
        again += "; what was said or happened at the time asked for counts more"
    if looked.lifted:
        again += "; put what replaced a hit before it"
    name, cost = routing.runner_up(plan, candidates=looked.read, documents=looked.reach)
    return RouteView(
        granularities=list(plan.granularities),
        channels=channels,
        budget=plan.budget,
        reason=f"{plan.why}: {how}{again}",
        confidence=sure,
        runner_up=name,
        runner_up_candidates=cost,
        candidates=looked.read,
        escalated=escalated,
        archived=looked.archived,
    )
