"""Looking: candidates of all cubes asked, in one snapshot, as often as the router wants to look."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from memos.rules import graph_routing, lexical, routing, succession, when_asked
from memos.rules.pool import Pool, concatenated, joined
from memos.rules.ranking import Ranking, Statistics, order
from memos.rules.routing import Plan
from memos.rules.understanding import Understanding
from memos.services.graph_channel import graph_gains
from memos.services.spaces import Vectors
from memos.store import found, said_when, search, search_archive
from memos.store import succession as store_succession
from memos.store.cubes import Asked, View
from memos.store.facets import NOT_NARROWED, narrow
from memos.store.found import Found
from memos.store.search import Corpus, Depth, Request
from memos.store.transaction import Transaction


class Looked:
    """What was seen so far in one snapshot: candidates of all cubes, and the statistics to weigh their terms with."""

    def __init__(
        self,
        tx: Transaction,
        views: Sequence[tuple[View, Asked]],
        understood: Understanding,
        plan: Plan,
        request: Request,
        named: Collection[str],
        vectors: Vectors,
    ) -> None:
        self.read = 0
        self.archived = 0
        self.present = all(view.present for view, _ in views)
        self.expansion: dict[str, float] = {}
        self.gains: dict[int, float] = {}
        self.lifted: dict[int, float] = {}
        self.timely: dict[int, float] = {}
        self._tx, self._views, self._understood, self._plan, self._request = tx, views, understood, plan, request
        self._named, self._vectors = named, vectors
        self._pools: list[Pool] = []
        self._corpora: list[Corpus] = []
        self._spelled: dict[int, Found] = {}
        self._narrowed = [
            narrow(tx, view.branch, request.filter) if search.narrows(view, request) else NOT_NARROWED
            for view, _ in views
        ]
        # Whether what replaced a hit matters: to questions about how things are, in cubes where facts were read out of texts.
        self._heirs_matter = succession.asks_for_now(understood.features.text, understood.times, request.as_of) and any(
            _has_derived(view) for view, _ in views
        )

    @property
    def has_archive(self) -> bool:
        """Whether a cube that may be looked back into has something put away."""
        return any(about.archived and _looks_back(view) for view, about in self._views)

    @property
    def documents(self) -> int:
        return sum(corpus.documents for corpus in self._corpora)

    @property
    def reach(self) -> int:
        """How many memories may be the answer. Where a list tells the few that fit, as many as were seen: the list itself also
        counts those that are not for the caller's eyes."""
        seen = zip(self._pools, self._corpora, self._narrowed, strict=True)
        return sum(corpus.documents if narrowed.members is None else len(pool) for pool, corpus, narrowed in seen)

    @property
    def narrowed(self) -> bool:
        """Whether all that was looked at are the few that fit."""
        return all(narrowed.members is not None for narrowed in self._narrowed)

    @property
    def whole(self) -> bool:
        return all(
            search.exhaustive(view, replace(self._request, narrowed=narrowed))
            for (view, _), narrowed in zip(self._views, self._narrowed, strict=True)
        )

    def look(self) -> None:
        """Fetch what the request asks for from every cube, replacing what was seen before."""
        self._pools, self._corpora = [], []
        for (view, about), narrowed in zip(self._views, self._narrowed, strict=True):
            embedding = self._vectors[view.space]
            request = replace(self._request, documents=about.documents, embedding=embedding, narrowed=narrowed)
            pool, corpus = search.candidates(self._tx, view, request)
            self._pools.append(pool)
            self._corpora.append(corpus)
            self.read += len(pool)

    def look_again(self, best: Sequence[int]) -> None:
        """As the plan says: further, and where everything is to be tried with the telling words of the best hits, given as
        version ids."""
        if self._plan.escalation is None:
            return
        self._request = replace(self._request, depth=depth_of(self._plan.escalation))
        if self._plan.always:
            self._expand(best)
        self.look()

    def _expand(self, best: Sequence[int]) -> None:
        telling = routing.telling_terms(self._request.terms, search.terms_of(self._tx, best))
        frequencies: dict[str, int] = {}
        for view, _ in self._views:
            for term, n in search.document_frequencies(self._tx, view, list(telling)).items():
                frequencies[term] = frequencies.get(term, 0) + n
        self.expansion = routing.expansion(telling, frequencies, self.documents)
        self._views = [
            (view, replace(about, documents=about.documents | {term: frequencies[term] for term in self.expansion}))
            for view, about in self._views
        ]
        self._request = replace(self._request, terms=(*self._request.terms, *self.expansion))

    def look_along(self, ranking: Ranking) -> None:
        """Also at what the graph leads to from the best hits, where the question goes through somebody (see
        `rules.graph_routing`). A graph is one cube's."""
        if len(self._views) > 1:
            return
        best = ranking.best(graph_routing.SEED_HITS)
        facts = len(best) - int(ranking.pool.turn[ranking.places[: len(best)]].sum())
        question, budget = self._understood.features.text, self._plan.budget
        if not graph_routing.may_walk(question, budget) or facts * 2 < len(best):
            return
        view, about = self._views[0]
        rows = self.spelled([one.version_id for one in best])
        seeds = [(row.memory_id, row.kind, one.score) for one in best if (row := rows.get(one.version_id))]
        request = replace(self._request, documents=about.documents, embedding=self._vectors[view.space])
        gained = graph_gains(
            self._tx, view, question, self._understood.entities, seeds,
            budget=budget, as_of=request.as_of, tree=request.filter, kinds=request.kinds,
        )  # fmt: skip
        self.gains = {one.version_id: one.evidence for one in gained}
        unseen = self.gains.keys() - set(self._pools[0].version_id.tolist())
        if unseen:
            pool, _ = search.candidates(self._tx, view, replace(request, only=sorted(unseen)))
            self._pools[0] = concatenated([self._pools[0], pool])
            self.read += len(pool)

    def look_into_archive(self) -> None:
        """Also at what has faded and was put away: the nearest of it, in one round trip for each cube that has such."""
        for place, (view, about) in enumerate(self._views):
            if not (about.archived and _looks_back(view)):
                continue
            request = replace(self._request, documents=about.documents, embedding=self._vectors[view.space])
            pool = search_archive.archived(self._tx, view, request)
            self._pools[place] = concatenated([self._pools[place], pool])
            self.read += len(pool)
            self.archived += len(pool)

    def look_at_times(self, ranking: Ranking) -> None:
        """At what was said or happened when the question is about (see `rules.when_asked`)."""
        now = self._request.as_of
        windows = when_asked.windows(self._understood.times, now)
        offset = when_asked.offset(self._understood.features.text)
        best = ranking.best(1)
        if offset is not None and best:
            row = self.spelled([best[0].version_id])[best[0].version_id]
            windows = [offset.window(when_asked.anchor_of(row.text, row.created_at))]
        for window in windows:
            for place, (view, _) in enumerate(self._views):
                known = self._pools[place].version_id.tolist()
                embedding = self._vectors[view.space]
                said = said_when.said_between(self._tx, view, window.begin, window.until, embedding, known)
                self._fetch(place, said)
                for one in said:
                    self.timely[one] = max(self.timely.get(one, 0.0), window.gain)

    def _fetch(self, place: int, version_ids: Collection[int]) -> bool:
        """Add to the candidates of a view those that are none yet, as far as they fulfil all the rest."""
        unseen = sorted(set(version_ids) - set(self._pools[place].version_id.tolist()))
        if not unseen:
            return False
        view, about = self._views[place]
        embedding = self._vectors[view.space]
        request = replace(self._request, documents=about.documents, embedding=embedding, only=unseen)
        pool, _ = search.candidates(self._tx, view, request)
        self._pools[place] = concatenated([self._pools[place], pool])
        self.read += len(pool)
        return len(pool) > 0

    def look_for_heirs(self, ranking: Ranking, limit: int, shown: int) -> None:
        """At what replaced what the best `limit` hits say (see `rules.succession`). The best `shown` are likely to be the
        answer, and read in the same round trip."""
        if not self._heirs_matter:
            return
        best = [one.version_id for one in ranking.best(max(limit, shown))]
        rows, best = self.spelled(best, tellers=best[:limit]), best[:limit]
        terms = self._understood.features.terms
        over = {attribute for one in best if one in rows for attribute in rows[one].told}
        if not (asked := {attribute for attribute in over if succession.asks_for(terms, attribute)}):
            return
        over_now: list[succession.Succession] = []
        fetched = False
        for place, (view, _) in enumerate(self._views):
            if _has_derived(view):
                known = store_succession.successions(self._tx, view, best, asked, self._request.as_of)
                fetched = self._fetch(place, {heir for one in known for heir in one.heirs}) or fetched
                over_now += known
        if over_now:
            ranked = self.ranking() if fetched else ranking
            self.lifted = succession.lifts(over_now, ranked.evidence_by_version())

    def spelled(self, version_ids: Sequence[int], tellers: Collection[int] = ()) -> dict[int, Found]:
        """All that is said of some candidates, read once. Of `tellers` also what they told that is over."""
        if unread := [one for one in version_ids if one not in self._spelled or one in tellers]:
            as_of = self._request.as_of if tellers else None
            self._spelled |= found.spell_out(self._tx, unread, tellers=tellers, as_of=as_of)
        return {one: self._spelled[one] for one in version_ids if one in self._spelled}

    def ranking(self) -> Ranking:
        return order(
            self._understood.features,
            joined(self._pools),
            _statistics(self._corpora),
            self._plan.weights,
            self.expansion or None,
            self._named,
            _summed(self.gains, self.lifted, self.timely) or None,
        )

    def cube_of(self, version_id: int) -> UUID:
        """The cube that a candidate was found in."""
        for (view, _), pool in zip(self._views[:-1], self._pools[:-1], strict=True):
            if (pool.version_id == version_id).any():
                return view.cube.id
        return self._views[-1][0].cube.id

    def term_weights(self) -> dict[str, float]:
        known = _statistics(self._corpora)
        terms = self._understood.features.terms
        return {term: lexical.idf(known.document_frequency.get(term, 0), known.documents) for term in terms}


def _summed(*gains: Mapping[int, float]) -> dict[int, float]:
    return {one: sum(each.get(one, 0.0) for each in gains) for one in set().union(*gains)}


def depth_of(probe: routing.Probe) -> Depth:
    return Depth(probe.per_channel, probe.postings, probe.neighbours, probe.rim, probe.whole)


def _has_derived(view: View) -> bool:
    return view.present and view.branch.folded_count > 0


def _looks_back(view: View) -> bool:
    return bool(view.cube.policy.get("forget", {}).get("look_back", True))


def _statistics(corpora: Sequence[Corpus]) -> Statistics:
    """Several cubes weigh terms as one corpus, so that their candidates can be compared."""
    documents = sum(c.documents for c in corpora)
    length = sum(c.mean_length * c.documents for c in corpora)
    held: dict[str, int] = {}
    for corpus in corpora:
        for term, n in corpus.document_frequency.items():
            held[term] = held.get(term, 0) + n
    return Statistics(documents, length / documents if documents else 0.0, held)
