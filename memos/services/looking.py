"""Looking: candidates of all cubes asked, in one snapshot, as often as the router wants to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from memos.rules import lexical, routing
from memos.rules.folding import Origin, folded, missing_sources
from memos.rules.ranking import Candidate, Ranked, Statistics, asks, rank
from memos.rules.routing import Plan
from memos.rules.understanding import Understanding
from memos.services.spaces import Vectors
from memos.store import search
from memos.store.cubes import Asked, View
from memos.store.engine import Transaction
from memos.store.search import Corpus, Depth, Found, Request

MOST_SOURCES = 200
"""Sources fetched for derived memories in one look."""


class Looked:
    """What was seen so far in one snapshot: candidates of all cubes, and the statistics to weigh their terms with."""

    def __init__(
        self,
        tx: Transaction,
        views: Sequence[tuple[View, Asked]],
        understood: Understanding,
        plan: Plan,
        request: Request,
        vectors: Vectors,
    ) -> None:
        self.rows: dict[int, tuple[Found, UUID]] = {}
        self.read = 0
        self.whole = all(search.exhaustive(view, request.depth) for view, _ in views)
        self.present = all(view.present for view, _ in views)
        self.expansion: dict[str, float] = {}
        self._tx, self._views, self._understood, self._plan, self._request = tx, views, understood, plan, request
        self._vectors = vectors
        self._corpora: list[Corpus] = []
        self._hidden: set[UUID] = set()

    @property
    def documents(self) -> int:
        return sum(corpus.documents for corpus in self._corpora)

    def look(self) -> None:
        """Fetch what the request asks for from every cube, replacing what was seen before."""
        self.rows, self._corpora = {}, []
        for view, about in self._views:
            request = replace(self._request, documents=about.documents, embedding=self._vectors[view.space])
            found, corpus = search.candidates(self._tx, view, request)
            self._corpora.append(corpus)
            self.rows |= {row.version_id: (row, view.cube.id) for row in found}
            if not self._plan.chosen:
                self._add_sources(view, request, found)
        self.read += len(self.rows)
        if not self._plan.chosen:
            self._hidden = folded([_origin(row) for row, _ in self.rows.values()], self._plan.granularities)

    def look_again(self, ranked: Sequence[Ranked]) -> None:
        """Deeper, and with the telling words of the best hits."""
        probe = self._plan.escalation
        if probe is None:
            return
        best = [self.rows[one.version_id][0].text for one in ranked[: routing.FEEDBACK_HITS]]
        telling = routing.telling_terms(self._request.terms, best)
        frequencies: dict[str, int] = {}
        for view, _ in self._views:
            for term, n in search.document_frequencies(self._tx, view, list(telling)).items():
                frequencies[term] = frequencies.get(term, 0) + n
        self.expansion = routing.expansion(telling, frequencies, self.documents)
        self._views = [
            (view, replace(about, documents=about.documents | {term: frequencies[term] for term in self.expansion}))
            for view, about in self._views
        ]
        terms = (*self._request.terms, *self.expansion)
        self._request = replace(self._request, terms=terms, depth=depth_of(probe))
        self.whole = all(search.exhaustive(view, self._request.depth) for view, _ in self._views)
        self.look()

    def ranked(self, limit: int) -> list[Ranked]:
        shown = [(row, cube) for row, cube in self.rows.values() if row.memory_id not in self._hidden]
        pool = [_candidate(row, self._request.terms, cube) for row, cube in shown]
        return rank(
            self._understood.features,
            pool,
            _statistics(self._corpora),
            self._plan.weights,
            limit,
            routing.feedback(self.expansion, {c.version_id: c.terms for c in pool}) if self.expansion else None,
        )

    def term_weights(self) -> dict[str, float]:
        known = _statistics(self._corpora)
        terms = self._understood.features.terms
        return {term: lexical.idf(known.document_frequency.get(term, 0), known.documents) for term in terms}

    def _add_sources(self, view: View, request: Request, found: Sequence[Found]) -> None:
        """What facts were made from and no channel found; read whole, whatever may be shown was found."""
        if search.exhaustive(view, request.depth):
            return
        missing = missing_sources((_origin(row) for row in found), MOST_SOURCES)
        if missing:
            rows, _ = search.candidates(self._tx, view, replace(request, only=missing))
            self.rows |= {row.version_id: (row, view.cube.id) for row in rows}


def _origin(row: Found) -> Origin:
    return Origin(row.memory_id, row.kind, row.sources)


def depth_of(probe: routing.Probe) -> Depth:
    return Depth(probe.per_channel, probe.postings, probe.neighbours, probe.whole)


def _statistics(corpora: Sequence[Corpus]) -> Statistics:
    """Several cubes weigh terms as one corpus, so that their candidates can be compared."""
    documents = sum(c.documents for c in corpora)
    length = sum(c.mean_length * c.documents for c in corpora)
    held: dict[str, int] = {}
    for corpus in corpora:
        for term, n in corpus.document_frequency.items():
            held[term] = held.get(term, 0) + n
    return Statistics(documents, length / documents if documents else 0.0, held)


def _candidate(row: Found, terms: Sequence[str], cube_id: UUID) -> Candidate:
    return Candidate(
        version_id=row.version_id,
        kind=row.kind,
        # Sessions of two cubes may share an id and nothing else.
        session_id=None if row.session_id is None else f"{cube_id}/{row.session_id}",
        ordinal=row.ordinal,
        speaker=row.name,
        role=row.role,
        asks=asks(row.text),
        created_at=row.created_at,
        dense=row.dense,
        context_dense=None,
        terms={term: n for term, n in zip(terms, row.counts, strict=True) if n},
        length=row.length,
        state=row.state,
        trust=row.trust,
    )
