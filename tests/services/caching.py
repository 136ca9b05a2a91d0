"""What tests of the activation tier share: a cube with a few hundred tokens of memory, its plan, its caches."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID

from memos.encoders.kv_codecs import StoredChunk, decode_prefix
from memos.encoders.kv_state import KVState
from memos.rules.access import Principal
from memos.services import kv_feedback, kv_lookup, kv_plan, kv_serve
from memos.services.kv_lookup import Found
from memos.services.kv_plan import Made
from memos.services.remember import utc_now
from memos.store import jobs
from memos.store.jobs import Job
from memos.wiring import App
from tests.services.running import fact, make_cube, run, write

_numbers = itertools.count(1)
PLACES = (
    "Lisbon",
    "Porto",
    "Faro",
    "Braga",
    "Evora",
    "Sintra",
    "Coimbra",
    "Aveiro",
    "Lagos",
    "Tavira",
    "Beja",
    "Guarda",
)


def sentence(number: int) -> str:
    return f"Note {number}: the ferry from {PLACES[number % len(PLACES)]} leaves at {number % 24:02d}:15 and Ana always takes it."


def filled_cube(app: App, who: Principal, n: int = 8, policy: dict[str, Any] | None = None) -> tuple[str, list[UUID]]:
    """A fresh cube with `n` facts of about 80 tokens each, and their ids in order. Every fact is a revision of its own,
    so that the plan keeps their order."""
    name = f"cached-{next(_numbers)}"
    make_cube(app, who, name, utc_now(), policy)
    return name, [write(app, who, name, [fact(sentence(i))], utc_now())[0] for i in range(n)]


def plan_of(app: App, who: Principal, cube: str, **wishes: Any) -> Made:
    with app.database.transaction(who.tenant_id) as tx:
        asked = {"branch": "main", "model": "fake", "budget_tokens": None, **wishes}
        return kv_plan.current(tx, app.kv, who, cube, now=utc_now(), **asked)


def promise(app: App, who: Principal, cube: str, **wishes: Any) -> Job:
    asked = {"branch": "main", "model": "fake", "plan_id": None, "pin": False, "codecs": ["raw"], "budget_tokens": None}
    with app.database.transaction(who.tenant_id) as tx:
        return kv_feedback.promote(tx, app.kv, who, cube=cube, now=utc_now(), **{**asked, **wishes})


def promoted(app: App, who: Principal, cube: str, **wishes: Any) -> dict[str, Any]:
    """The result of building the cube's caches."""
    job = run(app, who, promise(app, who, cube, **wishes).id)
    assert job.result is not None
    return job.result


def found(app: App, who: Principal, cube: str, model: str = "fake", **asked: Any) -> Found:
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        return kv_lookup.lookup(tx, app.kv, who, cube=cube, model=model, **asked)


def served(app: App, who: Principal, match: Found) -> list[StoredChunk]:
    """The objects of a match as a caller gets them."""
    wanted = [kv_serve.Wanted(p.chunk.key, p.found.group, [p.found.codec]) for p in match.pieces]
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        servings = kv_serve.find_all(tx, app.kv, who, wanted)
    return [
        StoredChunk(
            kv_serve.label_of(each.found),
            b"".join(kv_serve.body(app.kv, app.database, who.tenant_id, each)),
            each.found.sha256,
        )
        for each in servings
    ]


def restored(app: App, who: Principal, match: Found) -> KVState:
    """The cache of a match, fetched and decoded as a client would."""
    return decode_prefix(served(app, who, match), app.kv.engine.identity.spec, match.matched_tokens)


def queued(app: App, who: Principal, kind: str) -> list[Job]:
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        return jobs.list_page(tx, "queued", kind, 100, None, None)


def job(app: App, who: Principal, kind: str, cube_id: UUID | None = None, **payload: Any) -> Job:
    """Promise and run a job of the tier."""
    with app.database.transaction(who.tenant_id) as tx:
        job_id = jobs.promise(tx, kind, cube_id=cube_id, payload=payload)
    return run(app, who, job_id)
