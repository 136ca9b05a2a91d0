"""`memos reembed`: move cubes to another embedding model, and back, from the console and in the foreground."""

from __future__ import annotations

import sys
from uuid import UUID

from memos.cli.console import Console, console
from memos.errors import Conflict, Invalid, MemosError
from memos.services import reembed, work
from memos.services.reembed import SpaceView
from memos.services.remember import utc_now
from memos.settings import Settings
from memos.store import cubes, jobs


def reembed_cubes(settings: Settings, cube: str | None, *, model: str, activate: bool, tenant: str) -> int:
    """Fill the space of a model for one cube or for all of the tenant's, and change over if `activate`; how many failed."""
    failed = 0
    with console(settings, tenant) as here:
        for name in [cube] if cube else _names(here):
            try:
                with here.app.database.transaction(here.who.tenant_id) as tx:
                    job = reembed.request(tx, here.app.spaces, here.who, name, model, activate=activate, now=utc_now())
                done = _run(here, job.id)
            except Conflict as error:
                done = error.detail
            except MemosError as error:
                failed, done = failed + 1, f"failed: {error.detail}"
            sys.stdout.write(f"{name}: {done}\n")
    return failed


def change_back(settings: Settings, cube: str, *, tenant: str) -> str:
    """Change over to the space that was active before; what came of it."""
    with console(settings, tenant) as here:
        kept = [space for space in spaces_of(here, cube) if space.state == "kept"]
        if not kept:
            raise Invalid("no earlier space of this cube is kept")
        latest = max(kept, key=lambda space: space.changed_at)
        with here.app.database.transaction(here.who.tenant_id) as tx:
            job = reembed.activate(tx, here.who, cube, latest.id, now=utc_now())
        return f"{cube}: {_run(here, job.id)}"


def show(settings: Settings, cube: str, *, tenant: str) -> str:
    with console(settings, tenant) as here:
        found = spaces_of(here, cube)
        home = here.app.embedder.name
    if not found:
        return f"{cube} is in the space of the configured model, {home}, and always was."
    return "\n".join(f"{s.state:8} {s.model} ({s.dimensions} dimensions), {s.staged}/{s.total} staged" for s in found)


def spaces_of(here: Console, cube: str) -> list[SpaceView]:
    with here.app.database.transaction(here.who.tenant_id, read_only=True) as tx:
        return reembed.list_spaces(tx, here.who, cube)


def _run(here: Console, job_id: UUID) -> str:
    """Here and now; a worker that was quicker is left to it."""
    state = work.run_job(here.app, here.who.tenant_id, job_id)
    with here.app.database.transaction(here.who.tenant_id, read_only=True) as tx:
        job = jobs.get(tx, job_id)
    if state is None:
        return f"a worker has it: job {job_id} is {job.state}"
    if state != "succeeded":
        raise Invalid(f"job {job_id} is {job.state}: {(job.error or {}).get('detail', '')}")
    result = job.result or {}
    return f"{result.get('embedded', 0)} texts embedded, {'changed over' if result.get('active') else 'ready to change over'}"


def _names(here: Console) -> list[str]:
    with here.app.database.transaction(here.who.tenant_id, read_only=True) as tx:
        return [cube.name for cube in cubes.list_cubes(tx, 2**31 - 1, None, None)]
