"""An attempt: a claimed job in the hands of its handler.

A handler claims nothing and ends nothing by itself. It reads in `reading()`, computes outside any transaction, saves in
`saving()`, and may run again at any time: what `saving()` commits, it commits only while the claim stands, and with
`finish()` inside it the effects and the end of the job are one transaction.

    def digest(attempt: Attempt) -> Outcome:
        with attempt.reading() as tx: ...            # claim: what is to be done
        summary = compute(...)                       # no connection is held meanwhile
        with attempt.saving() as tx:                 # refused when the job was cancelled or given to another
            revision = store(tx, summary)
            return attempt.finish(tx, {"made": 1}, revision)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from memos.encoders.embedder import Embedder
from memos.rules.access import QUARANTINE
from memos.services import stopping
from memos.services.kv_tier import ActivationTier
from memos.services.spaces import Spaces
from memos.settings import Settings
from memos.store import events, jobs
from memos.store.engine import Database
from memos.store.jobs import Job
from memos.store.transaction import Transaction

# A worker that dies leaves its job to the next after this long. It is renewed three times as often while one lives.
LEASE_S = 60.0
# Progress is for people: more often than this nobody looks.
PROGRESS_EVERY_S = 1.0

log = structlog.get_logger("memos.jobs")


class Parts(Protocol):
    """What handlers may use of `memos.wiring.App`."""

    @property
    def database(self) -> Database: ...

    @property
    def embedder(self) -> Embedder: ...

    @property
    def spaces(self) -> Spaces: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def kv(self) -> ActivationTier: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job came to. `result` is shown to callers and must hold no memory content."""

    result: dict[str, Any] = field(default_factory=dict)
    revision: int | None = None


Handler = Callable[["Attempt"], Outcome]


def tell(tx: Transaction, job: Job, kind: str, **data: Any) -> None:
    """An event about a job. That events were delivered is none: there would be no end to it."""
    if job.kind != events.DELIVER:
        events.emit(tx, kind, cube_id=job.cube_id, job_id=str(job.id), job=job.kind, attempts=job.attempts, **data)


class Interrupted(Exception):
    """Not an error: the job was cancelled, or another worker has it. Nothing more may be saved; the runner catches this."""


class HandedBack(Exception):
    """Not an error either: this process is to stop, and another one will run the job from its beginning."""


class Attempt:
    """One run of one job. Made by `work.run_job`; `keeping_lease` is on while the handler runs."""

    def __init__(self, parts: Parts, tenant_id: UUID, job: Job, *, lease_s: float = LEASE_S) -> None:
        self.parts = parts
        self.tenant_id = tenant_id
        self.job = job
        self.finished = False
        self._lease_s = lease_s
        self._lost = threading.Event()
        self._over = threading.Event()
        self._reported_at = 0.0

    def check(self) -> None:
        """Raise `Interrupted` when the claim is known not to stand any more, and `HandedBack` when the process is to
        stop. Costs nothing: call it in loops."""
        self._check_claim()
        if stopping.asked():
            raise HandedBack

    def report(self, progress: dict[str, Any]) -> None:
        """Show progress, such as `{"done": 3, "total": 10}`, and check. Most calls cost nothing."""
        self.check()
        if time.monotonic() - self._reported_at >= PROGRESS_EVERY_S:
            self._reported_at = time.monotonic()
            self._renew(progress)
            self.check()

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """One snapshot of the tenant's data, without what is in quarantine: nothing is made of that."""
        self.check()
        with self.parts.database.transaction(self.tenant_id, read_only=True, sight=QUARANTINE - 1) as tx:
            yield tx

    @contextmanager
    def saving(self) -> Iterator[Transaction]:
        """All of it or nothing, and nothing when the claim no longer stands: then `Interrupted` is raised.

        The job's row is locked last, after everything the body locks: whoever deletes a cube takes the cube first and
        its jobs after it, and two orders would make a deadlock. What has been computed is saved also by a process that
        is to stop.
        """
        self._check_claim()
        with self.parts.database.transaction(self.tenant_id) as tx:
            yield tx
            if not self.finished and not jobs.held(tx, self.job, lock=True):
                self._lost.set()
                raise Interrupted

    def finish(self, tx: Transaction, result: dict[str, Any], revision: int | None = None) -> Outcome:
        """End the job in the transaction of its last effects; call it last. Raises `Interrupted` as `saving` does."""
        if not jobs.succeed(tx, self.job, result, revision):
            self._lost.set()
            raise Interrupted
        self.finished = True
        self.tell(tx, "job.succeeded", revision=revision)
        return Outcome(result, revision)

    def tell(self, tx: Transaction, kind: str, **data: Any) -> None:
        """Say how the job ended, when the transaction commits."""
        tell(tx, self.job, kind, **data)

    @contextmanager
    def keeping_lease(self) -> Iterator[None]:
        """Renew the lease from a thread, so that a handler deep in a model keeps its job."""
        thread = threading.Thread(target=self._keep, name="job-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(timeout=5)

    def _check_claim(self) -> None:
        if self._lost.is_set():
            raise Interrupted

    def _keep(self) -> None:
        while not self._over.wait(self._lease_s / 3):
            try:
                self._renew(None)
            except SQLAlchemyError as error:
                # The next beat may get through; if none does, the claim is lost and the last save says so.
                log.warning("lease_not_renewed", job_id=str(self.job.id), error=type(error).__name__)

    def _renew(self, progress: dict[str, Any] | None) -> None:
        with self.parts.database.transaction(self.tenant_id) as tx:
            if not jobs.renew(tx, self.job, self._lease_s, progress):
                self._lost.set()
