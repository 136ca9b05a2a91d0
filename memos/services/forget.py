"""Forget: what has faded is put away, what has run out expires, what is recalled again comes back. Nothing is deleted.

The job `decay` goes through one branch. It reads in one snapshot, decides by `memos.rules.forgetting` outside any
transaction, and writes what the decisions say as one revision, which a rollback undoes exactly. Whatever somebody changed
in the meantime is left for the next run. Every decision that changes a memory is logged with its inputs; the others,
which are thousands a run for the same few reasons, as one row with their counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from memos.errors import NotFound
from memos.rules import policy as policies
from memos.rules.access import Principal, Scope
from memos.rules.forgetting import Candidate, Decision, Outcome, decide, kept, pressed
from memos.rules.header import Draft
from memos.rules.lifecycle import Action, State
from memos.rules.policy import Forget
from memos.rules.strength import Retention
from memos.services import attempt as attempts
from memos.services.attempt import Attempt
from memos.services.decisions import RunPreview
from memos.services.remember import utc_now
from memos.store import cubes, decisions, holds, jobs, memories, retention
from memos.store.cubes import View
from memos.store.engine import Database
from memos.store.jobs import Job
from memos.store.memories import Version
from memos.store.retention import Standing
from memos.store.revision_writer import RevisionWriter
from memos.store.transaction import Transaction

KIND = "decay"
EVERY = timedelta(days=1)
"""Strength changes over days; times to live and budgets are looked at whenever the clock strikes (hourly)."""
MOST_ACTS = 2_000
"""Changes in one revision: two seconds during which writers of the cube wait. What is left has a run of its own."""

_TARGETS = {
    Outcome.ARCHIVE: (State.ARCHIVED, Action.ARCHIVE),
    Outcome.EVICT: (State.ARCHIVED, Action.ARCHIVE),
    Outcome.EXPIRE: (State.EXPIRED, Action.EXPIRE),
    Outcome.RESTORE: (State.ACTIVATED, Action.RESTORE),
}


def request(tx: Transaction, who: Principal, cube: str, *, branch: str, now: datetime | None) -> Job:
    """Promise a run. It takes place whether or not the policy would have one by itself."""
    who.require(Scope.WRITE)
    view = cubes.view(tx, cube, branch)
    who.reach(view.cube.id)
    return jobs.get(tx, jobs.promise_decisions(tx, KIND, view.cube.id, view.branch.name, now))


def preview(tx: Transaction, who: Principal, cube: str, *, branch: str, now: datetime, most: int) -> RunPreview:
    """The decisions a run would take at `now`, the weakest memories first. Writes nothing."""
    who.require(Scope.READ)
    view = cubes.view(tx, cube, branch)
    who.reach(view.cube.id)
    forget = _policy(view)
    acts = _changing(_decided(_standings(tx, view, forget, now), forget, now))
    planned = [_planned(act, applied=False) for act in acts[:most]]
    return RunPreview(view.branch.name, view.at, forget.rule.version, _counts(acts), planned)


def decay(attempt: Attempt) -> attempts.Outcome:
    """Job `decay`, payload `{branch, now?}`: at most one revision, with the log of why."""
    payload = attempt.job.payload
    asked = datetime.fromisoformat(payload["now"]) if payload.get("now") else None
    now = asked or utc_now()
    with attempt.reading() as tx:
        try:
            view = cubes.view(tx, str(attempt.job.cube_id), payload["branch"])
        except NotFound:
            return attempts.Outcome({"skipped": "the branch is gone"})
        forget = _policy(view)
        standings = _standings(tx, view, forget, now)
    decided = _decided(standings, forget, now)
    acts = _changing(decided)
    known = {standing.memory_id: standing.version_id for standing in standings}
    attempt.check()
    with attempt.saving() as tx:
        applied, revision = _write(tx, view, forget, acts[:MOST_ACTS], known)
        _log(
            tx, view, attempt, [_planned(act, applied=True) for act in applied] + _kept(decided, forget), revision, now
        )
        retention.mark_run(tx, view.cube.id, "decayed", now)
        if len(acts) > MOST_ACTS:
            jobs.promise_decisions(tx, KIND, view.cube.id, view.branch.name, asked)
        left = max(0, len(acts) - MOST_ACTS)
        result = {"counts": _counts(applied), "policy_version": forget.rule.version, "left": left}
        return attempt.finish(tx, result, revision)


def plan(database: Database, tenant_id: UUID, now: datetime) -> int:
    """Promise a run for every cube of a tenant that has something to forget; how many. Those that wait are not doubled."""
    with database.transaction(tenant_id) as tx:
        found = retention.cubes_to_decay(tx, now, EVERY)
        for cube_id in found:
            jobs.promise_decisions(tx, KIND, cube_id, cubes.MAIN, None)
    return len(found)


def candidate(standing: Standing, forget: Forget, now: datetime) -> Candidate:
    """A memory as the rules see it."""
    since = now - timedelta(days=forget.rule.protect_window_days)
    return Candidate(
        memory_id=standing.memory_id,
        kind=standing.kind,
        state=State(standing.state),
        retention=Retention(
            standing.stability_days, standing.last_recalled_at or standing.created_at, standing.recalls
        ),
        priority=standing.priority,
        trust=standing.trust,
        pinned=not set(forget.pin_tags).isdisjoint(standing.tags),
        expires_at=standing.expires_at,
        recent_recalls=sum(since <= moment <= now for moment in standing.recent),
        citations=standing.citations,
        size_bytes=standing.size_bytes,
        withdrawn=standing.withdrawn,
    )


# ---------------------------------------------------------------- one run


def _policy(view: View) -> Forget:
    """The cube's policy as its room lets it be. Only a branch with a present of its own knows how many are live; the
    others are treated as full."""
    forget = policies.parse(view.cube.policy).forget
    return replace(forget, rule=pressed(forget.rule, view.branch.live_count)) if view.present else forget


def _standings(tx: Transaction, view: View, forget: Forget, now: datetime) -> list[Standing]:
    return retention.due(tx, view, forget.rule, forget.pin_tags, now)


def _decided(standings: Sequence[Standing], forget: Forget, now: datetime) -> list[Decision]:
    return decide([candidate(standing, forget, now) for standing in standings], forget.rule, now)


def _changing(decided: Sequence[Decision]) -> list[Decision]:
    """Decisions that change something, the weakest memories first."""
    return sorted((d for d in decided if d.outcome is not Outcome.KEEP), key=lambda d: (d.score, d.memory_id))


def _write(
    tx: Transaction, view: View, forget: Forget, acts: Sequence[Decision], known: dict[UUID, int]
) -> tuple[list[Decision], int | None]:
    """Write the acts as one revision, as far as the memories are still what was decided about."""
    if not acts:
        return [], None
    writer = RevisionWriter(tx, str(view.cube.id), view.branch.name, now=utc_now())
    shown = memories.get_many(tx, writer.view, [act.memory_id for act in acts])
    kept = holds.held(tx, view.cube.id, shown)
    applied = []
    for act in acts:
        row = shown.get(act.memory_id)
        held = act.memory_id in kept and act.outcome is not Outcome.RESTORE
        if row is not None and row.id == known[act.memory_id] and not held:
            writer.change(row, _changed(row, act.outcome))
            applied.append(act)
    summary = ", ".join(f"{outcome} {n}" for outcome, n in sorted(_counts(applied).items()))
    revised = writer.finish(kind=KIND, author=None, reason=f"{summary} ({forget.rule.version})")
    return applied, revised.number if revised.written else None


def _changed(row: Version, outcome: Outcome) -> Draft:
    state, action = _TARGETS[outcome]
    return replace(row.draft(), state=state, action=action)


def _kept(decided: Sequence[Decision], forget: Forget) -> list[decisions.Decision]:
    """One row for all that were looked at and stay; none when nothing was."""
    found = kept(decided)
    if not found.count:
        return []
    return [
        decisions.Decision(
            memory_id=None,
            outcome=Outcome.KEEP.value,
            score=found.lowest,
            inputs={
                "kept": found.count,
                "reasons": dict(found.reasons),
                "lowest": found.lowest,
                "highest": found.highest,
            },
            reason=f"{found.count} memories near an edge of the policy were looked at and stay as they are",
            policy_version=forget.rule.version,
            applied=True,
        )
    ]


def _log(
    tx: Transaction,
    view: View,
    attempt: Attempt,
    logged: Sequence[decisions.Decision],
    revision: int | None,
    now: datetime,
) -> None:
    decisions.record(
        tx,
        view.cube.id,
        logged,
        kind=KIND,
        branch=view.branch.name,
        job_id=attempt.job.id,
        revision=revision,
        now=now,
    )


def _planned(act: Decision, *, applied: bool) -> decisions.Decision:
    return decisions.Decision(
        memory_id=act.memory_id,
        outcome=act.outcome.value,
        score=act.score,
        inputs=act.inputs,
        reason=act.reason,
        policy_version=act.policy_version,
        applied=applied,
    )


def _counts(acts: Sequence[Decision]) -> dict[str, int]:
    return dict(Counter(act.outcome.value for act in acts))
