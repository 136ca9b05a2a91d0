"""Wake: what was found in the archive and given to a caller comes back to the present.

A search that reads the archive changes nothing itself. Beside the counts of what was recalled it leaves the ids of what had
been put away, and with the next flush the job `wake` is promised: one revision, which a rollback undoes. It brings back only
what faded; what somebody archived, set aside or let expire meanwhile stays, and so does everything when the cube is full:
then the next decay run weighs it against the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

from memos.errors import NotFound
from memos.rules import policy as policies
from memos.rules.forgetting import Outcome as Act
from memos.rules.lifecycle import Action, State
from memos.services.attempt import Attempt, Outcome
from memos.services.remember import utc_now
from memos.store import decisions, jobs, search_archive
from memos.store.memories import Version
from memos.store.revision_writer import RevisionWriter
from memos.store.transaction import Transaction

KIND = "wake"
MOST_AT_ONCE = 500
"""Memories in one job; more wait for the next recall."""


def promise(tx: Transaction, cube_id: UUID, branch: str, memory_ids: Collection[UUID]) -> UUID:
    """Promise to bring memories back, after they were counted as recalled."""
    named = [str(memory_id) for memory_id in sorted(memory_ids)[:MOST_AT_ONCE]]
    return jobs.promise(tx, KIND, cube_id=cube_id, payload={"branch": branch, "memory_ids": named})


def wake(attempt: Attempt) -> Outcome:
    """Job `wake`, payload `{branch, memory_ids}`: at most one revision, with the log of why."""
    payload, now = attempt.job.payload, utc_now()
    named = [UUID(memory_id) for memory_id in payload["memory_ids"]]
    with attempt.saving() as tx:
        try:
            writer = RevisionWriter(tx, str(attempt.job.cube_id), payload["branch"], now=now)
        except NotFound:
            return attempt.finish(tx, {"skipped": "the branch is gone"}, None)
        policy = policies.parse(writer.cube.policy).forget
        faded = search_archive.faded(tx, writer.view, named)
        woken = [row for row in faded if row.expires_at is None or row.expires_at > now]
        room = policy.rule.max_memories
        if room is not None and writer.branch.live_count + len(woken) > room:
            return attempt.finish(tx, {"woken": 0, "skipped": "the cube is full"}, None)
        for row in woken:
            writer.change(row, replace(row.draft(), state=State.ACTIVATED, action=Action.RECALL))
        revised = writer.finish(kind=KIND, author=None, reason=f"recalled from the archive: {len(woken)}")
        revision = revised.number if revised.written else None
        decisions.record(
            tx, writer.cube.id, _logged(woken, policy.rule.version), kind=KIND, branch=writer.branch.name,
            job_id=attempt.job.id, revision=revision, now=now,
        )  # fmt: skip
        return attempt.finish(tx, {"woken": len(woken)}, revision)


def _logged(woken: Sequence[Version], version: str) -> list[decisions.Decision]:
    return [
        decisions.Decision(
            memory_id=row.memory_id,
            outcome=Act.RESTORE.value,
            score=None,
            inputs={"kind": row.kind, "state": row.state},
            reason="found in the archive by a search that was unsure without it",
            policy_version=version,
            applied=True,
        )
        for row in woken
    ]
