"""The worker of the job drill: the service's own, with one more kind of job, whose effect shows if it happens twice.

Real jobs are built so that a second run changes nothing, which would hide a job that was run twice. A tally adds a memory
each time it is applied, in the transaction that ends the job, so counting memories counts applications.

    python -m benchmarks.jobs_worker 2 60     # processes, seconds of a lease; servers as for `memos worker`
"""

from __future__ import annotations

import sys

from memos.cli.parts import run_worker
from memos.rules.header import Draft, Kind
from memos.services.attempt import Attempt, Outcome
from memos.services.encode import encode
from memos.services.remember import utc_now
from memos.services.work import HANDLERS
from memos.settings import Settings
from memos.store.cubes import MAIN
from memos.store.revision_writer import RevisionWriter

TALLY = "tally"
IDLE = "idle"


def tally(attempt: Attempt) -> Outcome:
    """Job `tally`, payload `{number}`: one more memory, named after the number and the attempt."""
    now = utc_now()
    text = f"tally {attempt.job.payload['number']} of attempt {attempt.job.attempts} at {now.isoformat()}"
    draft = Draft(kind=Kind.FACT, text=text, created_at=now)
    [encoded] = encode(attempt.parts.embedder, [draft])
    with attempt.saving() as tx:
        writer = RevisionWriter(tx, str(attempt.job.cube_id), MAIN, now=now)
        writer.add(draft, encoded)
        revised = writer.finish(kind="write", author=None, reason="a tally")
        return attempt.finish(tx, {}, revised.number)


def idle(_: Attempt) -> Outcome:
    """Job `idle`: nothing, to see what a job costs by itself."""
    return Outcome()


if __name__ == "__main__":
    handlers = {**HANDLERS, TALLY: tally, IDLE: idle}
    run_worker(Settings(), int(sys.argv[1]), handlers=handlers, lease_s=float(sys.argv[2]))
