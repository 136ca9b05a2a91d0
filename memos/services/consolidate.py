"""Consolidate: fold near-duplicates, summarise episodes, refresh profiles, distil procedures. The job `consolidate`.

A run is planned from snapshots and computed outside any transaction; then everything is checked and written as one
revision that cites its sources, or nothing is. What has not changed is not written again, so a second run does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from memos.encoders.embedder import Embedder
from memos.errors import NotFound
from memos.rules import policy as policies
from memos.rules.access import Principal, Scope
from memos.rules.derivation_policy import ConsolidationPolicy, ExtractionPolicy
from memos.services import commit_consolidation, merging
from memos.services.attempt import Attempt, Outcome
from memos.services.commit_consolidation import Plan
from memos.services.consolidation_run import KIND, Run, Work
from memos.services.remember import utc_now
from memos.settings import Settings
from memos.store import cubes, decisions, jobs, readings
from memos.store.cubes import View
from memos.store.engine import Database
from memos.store.jobs import Job
from memos.store.readings import Place
from memos.store.revision_writer import RevisionWriter
from memos.store.transaction import Transaction

QUIET = timedelta(minutes=10)
"""A conversation that is going on is not summarised yet."""


@dataclass(frozen=True, slots=True)
class ProposedMerge:
    survivor: UUID
    folded: list[UUID]
    cosines: list[float]


@dataclass(frozen=True, slots=True)
class ProposedMemory:
    """A memory the run would write; `memory_id` is None for one that is new."""

    memory_id: UUID | None
    kind: str
    external_id: str
    title: str
    content: str
    sources: list[UUID]


@dataclass(frozen=True, slots=True)
class ConsolidationPreview:
    """What a run would write, fold and put away. With `problems` it would be refused."""

    memories: list[ProposedMemory]
    merges: list[ProposedMerge]
    retired: list[UUID]
    problems: list[str]


def request(tx: Transaction, who: Principal, cube: str, *, branch: str) -> Job:
    """Promise a run on a branch."""
    who.require(Scope.WRITE)
    view = cubes.view(tx, cube, branch)
    who.reach(view.cube.id)
    payload = {"branch": view.branch.name}
    dedup_key = f"{view.cube.id}/{view.branch.name}"
    return jobs.get(tx, jobs.promise(tx, KIND, cube_id=view.cube.id, payload=payload, dedup_key=dedup_key))


def preview(
    database: Database, embedder: Embedder, settings: Settings, who: Principal, cube: str, *, branch: str
) -> ConsolidationPreview:
    """What a run would do now. Writes nothing."""
    who.require(Scope.READ)
    with database.transaction(who.tenant_id, read_only=True) as tx:
        view = cubes.view(tx, cube, branch)
        who.reach(view.cube.id)
    run = Run(lambda: database.transaction(who.tenant_id, read_only=True), view, embedder, settings, lambda _: None)
    work = run.compute()
    with database.transaction(who.tenant_id, read_only=True) as tx:
        return _shown(_plan(tx, cubes.view(tx, str(view.cube.id), branch), work))


def consolidate(attempt: Attempt) -> Outcome:
    """Job `consolidate`, payload `{branch}`. Raises `ConsolidationRefused` when a check fails."""
    name = attempt.job.payload["branch"]
    with attempt.reading() as tx:
        try:
            view = cubes.view(tx, str(attempt.job.cube_id), name)
        except NotFound:
            return Outcome({"skipped": "the branch is gone"})
    parts = attempt.parts
    embedder = parts.spaces.of(attempt.tenant_id, str(view.cube.id))
    work = Run(attempt.reading, view, embedder, parts.settings, attempt.report).compute()
    with attempt.saving() as tx:
        writer = RevisionWriter(tx, str(view.cube.id), name, now=utc_now())
        made = _plan(tx, writer.view, work)
        commit_consolidation.write(writer, made, work.encoded)
        revised = writer.finish(kind=KIND, author=None, reason=_reason(made))
        # What was written meanwhile has not been looked at.
        looked_at = revised.number if writer.branch.head_revision == view.at else view.at
        readings.advance(tx, writer.branch.id, KIND, Place(looked_at, work.newest))
        decisions.record(
            tx, view.cube.id, commit_consolidation.decisions_of(made), kind=KIND, branch=name, job_id=attempt.job.id,
            revision=revised.number if revised.written else None, now=writer.now,
        )  # fmt: skip
        if revised.written and ExtractionPolicy.of(writer.cube.policy).enabled:
            # Whom the new episodes name is read like everything else that was written.
            jobs.promise_after_write(tx, writer.cube.id, name, extraction=True)
        return attempt.finish(tx, _counts(made) | work.report, revised.number if revised.written else None)


def plan(database: Database, tenant_id: UUID, now: datetime) -> int:
    """Promise a run for every cube of a tenant that has changed since its last and has been quiet for a while."""
    with database.transaction(tenant_id) as tx:
        behind = readings.behind(tx, KIND, now - QUIET)
        found = [cube_id for cube_id, policy in behind if ConsolidationPolicy.of(policy).enabled]
        for cube_id in found:
            jobs.promise(tx, KIND, cube_id=cube_id, payload={"branch": cubes.MAIN}, dedup_key=f"{cube_id}/{cubes.MAIN}")
    return len(found)


def _plan(tx: Transaction, view: View, work: Work) -> Plan:
    pin_tags = policies.parse(view.cube.policy).forget.pin_tags
    groups = merging.group(tx, view, work.found, work.pairs, pin_tags) if work.found is not None else []
    return commit_consolidation.plan(tx, view, work.proposals, work.findings, groups, work.retire)


def _counts(plan: Plan) -> dict[str, object]:
    kinds = [writing.proposal.kind.value for writing in plan.writings]
    return {
        "episodes": kinds.count("episode"),
        "profiles": kinds.count("profile"),
        "procedures": kinds.count("procedure"),
        "merged": len(plan.folded),
        "survivors": len(plan.groups),
        "retired": len(plan.retire),
        "unchanged": plan.unchanged,
        "put_off": plan.put_off,
    }


def _reason(plan: Plan) -> str:
    done = {name: count for name, count in _counts(plan).items() if count and name not in ("unchanged", "put_off")}
    return "consolidated: " + (", ".join(f"{count} {name}" for name, count in done.items()) or "nothing to do")


def _shown(plan: Plan) -> ConsolidationPreview:
    return ConsolidationPreview(
        [
            ProposedMemory(
                None if writing.row is None else writing.memory_id,
                writing.proposal.kind.value,
                writing.proposal.external_id,
                writing.proposal.title,
                writing.proposal.text,
                [source.memory_id for source in plan.sources[writing.memory_id]],
            )
            for writing in plan.writings
        ],
        [ProposedMerge(group.survivor_id, list(group.folded_ids), list(group.cosines)) for group in plan.groups],
        [row.memory_id for row in plan.retire],
        plan.problems,
    )
