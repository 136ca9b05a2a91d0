"""The work of a consolidation: read snapshots, compute what should be, hold no transaction meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from memos.encoders.embedder import Embedder
from memos.encoders.llm import Meter, language_model
from memos.rules.consolidation import Finding, Proposal, judge
from memos.rules.derivation_policy import ConsolidationPolicy
from memos.services import merging, portraits, summaries
from memos.services.commit_consolidation import draft_of
from memos.services.encode import encode
from memos.services.merging import Candidates, Pair
from memos.services.remember import utc_now
from memos.services.summaries import Episodes, Summariser
from memos.settings import Settings
from memos.store import derivations, readings
from memos.store.cubes import View
from memos.store.revision_writer import Encoded
from memos.store.transaction import Transaction

Reading = Callable[[], AbstractContextManager[Transaction]]
KIND = "consolidate"


@dataclass(slots=True)
class Work:
    """What a run has made: memories to write with what the indexes need of them, memories to put away, and pairs of
    memories that may be one."""

    proposals: list[Proposal] = field(default_factory=list)
    encoded: dict[str, Encoded] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    retire: list[UUID] = field(default_factory=list)
    found: Candidates | None = None
    newest: int = 0
    pairs: list[Pair] = field(default_factory=list)
    report: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `reading` opens a snapshot; `progress` is called between steps and may raise to end the run."""

    reading: Reading
    view: View
    embedder: Embedder
    settings: Settings
    progress: Callable[[dict[str, object]], None]

    def compute(self) -> Work:
        policy = ConsolidationPolicy.of(self.view.cube.policy)
        work = Work()
        with self.reading() as tx:
            since = readings.place(tx, self.view.branch.id, KIND).version_id
            work.newest, talked = derivations.newest(tx, self.view, since)
        if policy.merge and work.newest > since:
            self._find_duplicates(work, since)
        if policy.episodes:
            self._summarise(work, policy)
        if policy.profile:
            with self.reading() as tx:
                people = portraits.read_people(tx, self.view)
            work.proposals += portraits.profiles(people, self.embedder.count_tokens, utc_now())
            self._retire_absent(work, "profile")
        if policy.procedures and talked:
            self._distil(work, talked)
        missing = [p for p in work.proposals if p.external_id not in work.encoded]
        work.encoded |= self._encode(missing)
        # Words are judged here, where nobody waits for the cube.
        work.findings = {p.external_id: judge(p, policy.min_coverage) for p in work.proposals}
        return work

    def _find_duplicates(self, work: Work, since: int) -> None:
        with self.reading() as tx:
            work.found = merging.candidates(tx, self.view, since)
        work.pairs = merging.near(work.found)
        self.progress({"step": "duplicates", "pairs": len(work.pairs)})

    def _summarise(self, work: Work, policy: ConsolidationPolicy) -> None:
        with self.reading() as tx:
            found = summaries.read(tx, self.view)
        model = language_model(self.settings) if policy.llm else None
        meter = None if model is None else Meter(model, self.settings.llm_price_in, self.settings.llm_price_out)
        summariser = Summariser(self.embedder.count_tokens, policy.min_coverage, meter)
        try:
            fresh: list[Proposal] = []
            for place, session in enumerate(found.changed, start=1):
                fresh += summariser.episodes(session)
                self.progress({"step": "episodes", "done": place, "total": len(found.changed)})
            work.encoded |= self._encode(fresh)
            vectors: dict[str, np.ndarray] = {p.external_id: work.encoded[p.external_id].embedding for p in fresh}
            periods, over = summariser.periods(found, {p.external_id: p for p in fresh}, vectors)
        finally:
            if model is not None:
                model.close()
        work.proposals += [*fresh, *periods]
        work.retire += [e.memory_id for e in (*_left_over(found, fresh), *over)]
        if meter is not None:
            work.report["llm"] = {**meter.report(), "written": summariser.by_model, "refused": summariser.refused}

    def _distil(self, work: Work, talked: Sequence[str]) -> None:
        """A cube is read in full only when somebody has said how something is done since the last run."""
        with self.reading() as tx:
            fresh = derivations.turns(tx, self.view, talked)
        if not portraits.traces_in(fresh):
            return
        with self.reading() as tx:
            turns = portraits.read_turns(tx, self.view)
        work.proposals += portraits.procedures(turns)
        self._retire_absent(work, "procedure")

    def _retire_absent(self, work: Work, kind: str) -> None:
        """What an earlier run made and this one would not."""
        wanted = {proposal.external_id for proposal in work.proposals}
        with self.reading() as tx:
            made = derivations.made(tx, self.view, [kind])
        work.retire += [
            row.memory_id
            for row in made
            if row.external_id.startswith(f"{kind}/") and row.contents and row.external_id not in wanted
        ]

    def _encode(self, proposals: list[Proposal]) -> Mapping[str, Encoded]:
        encoded = encode(self.embedder, [draft_of(proposal) for proposal in proposals]) if proposals else []
        return {p.external_id: e for p, e in zip(proposals, encoded, strict=True)}


def _left_over(found: Episodes, fresh: list[Proposal]) -> list[derivations.Covered]:
    """Episodes of sessions that now have fewer topics, or are gone."""
    wanted = {proposal.external_id for proposal in fresh}
    return [episode for episode in found.stale if episode.contents and episode.external_id not in wanted]
