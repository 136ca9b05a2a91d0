"""Promote: which memories should be held in the activation tier, decided by use, stability, size and budget.

The job `promote` only decides and writes the wish down (`usage.tier`, and the log): building a KV cache is the
activation tier's work. What it calls cold it leaves to the next decay run. A policy is anything with a `version` and a
`decide`; `memos.rules.promotion.ValueDensity` is the one that ships.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from memos.errors import NotFound
from memos.rules import policy as policies
from memos.rules.access import Principal, Scope
from memos.rules.lifecycle import State
from memos.rules.policy import CubePolicy
from memos.rules.promotion import Move, TierDecision, Usage, decay_count
from memos.services.attempt import Attempt, Outcome
from memos.services.decisions import RunPreview
from memos.services.remember import utc_now
from memos.store import cubes, decisions, jobs, retention, usage
from memos.store.engine import Database
from memos.store.jobs import Job
from memos.store.retention import Standing
from memos.store.transaction import Transaction

KIND = "promote"
EVERY = timedelta(days=1)
TIERS = {Move.PROMOTE: "activation", Move.DEMOTE: "plaintext"}


def request(tx: Transaction, who: Principal, cube: str, *, branch: str, now: datetime | None) -> Job:
    """Promise a run."""
    who.require(Scope.WRITE)
    view = cubes.view(tx, cube, branch)
    who.reach(view.cube.id)
    return jobs.get(tx, jobs.promise_decisions(tx, KIND, view.cube.id, view.branch.name, now))


def preview(tx: Transaction, who: Principal, cube: str, *, branch: str, now: datetime, most: int) -> RunPreview:
    """The decisions a run would take at `now`, best score first. Writes nothing."""
    who.require(Scope.READ)
    view = cubes.view(tx, cube, branch)
    who.reach(view.cube.id)
    policy = policies.parse(view.cube.policy)
    decided = _decide(retention.standings(tx, view), policy, now)
    moves = [_logged(d, applied=False) for d in decided if d.move is not Move.HOLD]
    return RunPreview(view.branch.name, view.at, policy.promote.rule.version, _counts(decided), moves[:most])


def promote(attempt: Attempt) -> Outcome:
    """Job `promote`, payload `{branch, now?}`: no revision, for where a memory is held is not what it says."""
    payload = attempt.job.payload
    now = datetime.fromisoformat(payload["now"]) if payload.get("now") else utc_now()
    with attempt.reading() as tx:
        try:
            view = cubes.view(tx, str(attempt.job.cube_id), payload["branch"])
        except NotFound:
            return Outcome({"skipped": "the branch is gone"})
        policy = policies.parse(view.cube.policy)
        standings = retention.standings(tx, view)
    decided = _decide(standings, policy, now)
    attempt.check()
    with attempt.saving() as tx:
        moved = [d for d in decided if d.move in TIERS]
        for move, tier in TIERS.items():
            usage.set_tier(tx, view.cube.id, [d.memory_id for d in moved if d.move is move], tier)
        logged = [_logged(d, applied=True) for d in moved]
        decisions.record(tx, view.cube.id, logged, kind=KIND, branch=view.branch.name, job_id=attempt.job.id,
                         revision=None, now=now)  # fmt: skip
        retention.mark_run(tx, view.cube.id, "promoted", now)
        return attempt.finish(tx, {"counts": _counts(decided), "policy_version": policy.promote.rule.version})


def plan(database: Database, tenant_id: UUID, now: datetime) -> int:
    """Promise a run for every cube of a tenant that has been recalled from; how many."""
    with database.transaction(tenant_id) as tx:
        found = retention.cubes_to_promote(tx, now, EVERY)
        for cube_id in found:
            jobs.promise_decisions(tx, KIND, cube_id, cubes.MAIN, None)
    return len(found)


def _decide(standings: Sequence[Standing], policy: CubePolicy, now: datetime) -> list[TierDecision]:
    usages = [_usage(standing, policy, now) for standing in standings]
    decided = policy.promote.rule.decide(usages, policy.promote.budget_bytes, now)
    return sorted(decided, key=lambda d: (-d.score, d.memory_id))


def _usage(standing: Standing, policy: CubePolicy, now: datetime) -> Usage:
    since = standing.last_recalled_at
    return Usage(
        memory_id=standing.memory_id,
        state=State(standing.state),
        created_at=standing.created_at,
        weighted_recalls=0.0 if since is None else decay_count(standing.weighted_recalls, since, now),
        last_recalled_at=since,
        edits=standing.version - 1,
        tier_bytes=standing.tokens * policy.promote.bytes_per_token,
        in_tier=standing.tier == "activation",
        # What must stay at hand is what every prompt begins with.
        pinned=not set(policy.forget.pin_tags).isdisjoint(standing.tags),
        trust=standing.trust,
    )


def _logged(decision: TierDecision, *, applied: bool) -> decisions.Decision:
    return decisions.Decision(
        memory_id=decision.memory_id,
        outcome=decision.move.value,
        score=decision.score,
        inputs=decision.inputs,
        reason=decision.reason,
        policy_version=decision.policy_version,
        applied=applied,
    )


def _counts(decided: Sequence[TierDecision]) -> dict[str, int]:
    return dict(Counter(d.move.value for d in decided))
