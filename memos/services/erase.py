"""Erase: the content of memories goes, with all that was derived from it, and a receipt says so that anyone can check.

The job `erase` is one transaction: what hangs on the memories is found anew, a revision of kind `erase` removes them from
each branch that shows them, everything of theirs is wiped on all branches and in all revisions, every door is tried, and
the receipt is signed. Either all of that happens or nothing does. While it runs, writers of the cube wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
import uuid_utils.compat as uuid_utils

from memos.errors import Forbidden, Frozen, Invalid, MemosError, NotFound
from memos.rules import filters
from memos.rules import receipts as rules
from memos.rules.access import TOP_CLEARANCE, Principal, Scope
from memos.rules.header import instant
from memos.services import holds, kv_erase, probes, signing
from memos.services.attempt import Attempt, Outcome
from memos.services.probes import Probe, Taken
from memos.services.remember import utc_now
from memos.services.signing import Keyring
from memos.store import audit, cubes, erasure, events, jobs, marks, memories, quotas, receipts, revisions
from memos.store.cubes import Cube, View
from memos.store.erasure import Reached
from memos.store.filters import compile_filter
from memos.store.receipts import Receipt
from memos.store.revision_writer import RevisionWriter
from memos.store.transaction import Transaction

KIND = "erase"
MOST_LISTED = 1_000
MOST_AT_ONCE = 50_000
"""Memories in one request. More would hold up the cube's writers for minutes; a whole cube is deleted as a cube."""

log = structlog.get_logger("memos.jobs")


class StillThere(MemosError):
    """A probe found what was to be erased. Nothing was erased: this is a defect of ours, not the caller's fault."""

    code = "still_there"
    title = "The erasure did not reach everything and was undone"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller wants erased: memories by id, or all that a filter finds on a branch."""

    memory_ids: Sequence[UUID] | None = None
    filter: Mapping[str, Any] | None = None
    branch: str = cubes.MAIN


@dataclass(frozen=True, slots=True)
class ErasurePreview:
    """What an erasure would take. `memories` are the first of them, with why; `frozen` stand against it.

    `sources_left` are sources of what is taken that stay and may say the same; `same_text` are other memories with a text
    that is the same letter by letter.
    """

    asked: int
    taken: int
    versions: int
    memories: list[Reached]
    frozen: list[UUID]
    sources_left: list[UUID]
    same_text: list[UUID]


@dataclass(frozen=True, slots=True)
class Promised:
    job_id: UUID
    receipt_id: UUID


def preview(tx: Transaction, who: Principal, cube: str, wanted: Wanted) -> ErasurePreview:
    """The closure over derivations, on all branches and through all of history. Writes nothing."""
    who.require(Scope.ERASE)
    view = cubes.view(tx, cube, wanted.branch)
    who.reach(view.cube.id)
    _require_clearance(tx)
    asked = _asked(tx, view, wanted)
    reached = erasure.closure(tx, view.cube.id, asked)
    return ErasurePreview(
        asked=len(asked),
        taken=len(reached),
        versions=len(erasure.versions(tx, view.cube.id, reached)),
        memories=list(reached.values())[:MOST_LISTED],
        frozen=_frozen(tx, view.cube, reached)[:MOST_LISTED],
        sources_left=erasure.sources_left(tx, view.cube.id, reached)[:MOST_LISTED],
        same_text=erasure.same_text(tx, view.cube.id, reached)[:MOST_LISTED],
    )


def request(tx: Transaction, who: Principal, cube: str, wanted: Wanted, *, now: datetime, reason: str = "") -> Promised:
    """Promise the erasure and its receipt. Raises `Frozen` when anything it would take is frozen."""
    who.require(Scope.ERASE)
    view = cubes.view(tx, cube, wanted.branch)
    who.reach(view.cube.id)
    _require_clearance(tx)
    asked = _asked(tx, view, wanted)
    if not asked:
        raise NotFound("no memory fits the filter")
    reached = erasure.closure(tx, view.cube.id, asked)
    refuse_frozen(tx, view.cube, reached)
    holds.refuse(tx, view.cube.id, reached)
    receipt_id = uuid_utils.uuid7()
    payload = {
        "memory_ids": [str(memory_id) for memory_id in asked],
        "receipt_id": str(receipt_id),
        "requested_by": str(who.key_id),
        "requested_at": instant(now),
        "reason": reason,
    }
    job_id = jobs.promise(tx, KIND, cube_id=view.cube.id, payload=payload)
    receipts.promise(tx, receipt_id, view.cube.id, job_id, who.key_id, now)
    audit.record(tx, who.key_id, "memory.erase.request", now, cube_id=view.cube.id, target=str(receipt_id),
                 detail={"asked": len(asked)})  # fmt: skip
    return Promised(job_id, receipt_id)


def get_receipt(tx: Transaction, who: Principal, receipt_id: UUID) -> dict[str, Any]:
    """The signed document. Raises `NotFound` until there is one."""
    who.require(Scope.READ)
    found: Receipt = receipts.get(tx, receipt_id)
    if found.body is None or not who.may_reach(found.cube_id):
        raise NotFound("no such receipt (an erasure has none before it has happened)")
    return found.body


def public_keys(tx: Transaction, who: Principal, keys: Keyring) -> list[dict[str, str]]:
    """The key that signs now, and those that signed this tenant's receipts before it."""
    who.require(Scope.READ)
    known = dict.fromkeys([keys.public, *keys.retired, *receipts.signers(tx)])
    return [rules.key_json(public) for public in known]


def erase(attempt: Attempt) -> Outcome:
    """Job `erase`, payload `{memory_ids, receipt_id, requested_by, requested_at, reason}`."""
    keys = signing.keyring(attempt.parts.settings)
    payload = attempt.job.payload
    author = UUID(payload["requested_by"])
    caches = _forget_caches(attempt, [UUID(memory_id) for memory_id in payload["memory_ids"]])
    with attempt.saving() as tx:
        cube = cubes.find(tx, str(attempt.job.cube_id), lock=True)
        now = utc_now()
        asked = erasure.known(tx, cube.id, [UUID(memory_id) for memory_id in payload["memory_ids"]])
        reached = erasure.closure(tx, cube.id, asked)
        refuse_frozen(tx, cube, reached)
        holds.refuse(tx, cube.id, reached)
        keys_before = erasure.dedup_keys(tx, cube.id, reached)
        texts = erasure.texts(tx, cube.id, reached)
        revisions = _remove(tx, cube, reached, author, payload["reason"], now)
        versions = erasure.versions(tx, cube.id, reached)
        freed = quotas.stored(tx, cube.id, reached)
        rows = erasure.wipe(tx, cube.id, reached, attempt.job.id, now)
        quotas.refund(tx, memories=freed[0], size_bytes=freed[1])
        kv_erase.delete_unnamed(tx, attempt.parts.kv, cube.id)
        for table, taken in caches.items():
            rows[table] = rows.get(table, 0) + taken
        if marks.wanted(cube):
            rows["erasure_marks"] = marks.keep(tx, cube, [text.text for text in texts], now)
        doors = probes.run(tx, cube, Taken(reached.keys(), versions, texts, keys_before), now)
        doors["activation_tier"] = Probe(1, kv_erase.left(tx, attempt.parts.kv, cube.id, reached))
        _refuse_finds(doors)
        tombstones = [
            rules.tombstone(keys.tombstones, tx.tenant_id, cube.id, v.memory_id, v.version, v.commitment)
            for v in versions
        ]
        body = {
            "id": payload["receipt_id"],
            "tenant_id": str(tx.tenant_id),
            "cube_id": str(cube.id),
            "requested_by": payload["requested_by"],
            "requested_at": payload["requested_at"],
            "erased_at": instant(now),
            "erased": {"memories": len(reached), "versions": len(versions), "texts": len(texts)},
            "reached": dict(sorted(Counter(r.why for r in reached.values()).items())),
            "rows": rows,
            "revisions": revisions,
            "tombstones": rules.tombstones_json(tombstones),
            "probes": {door: asdict(probe) for door, probe in doors.items()},
            "return_refused": marks.wanted(cube),
            "proves": list(rules.PROVES),
            "does_not_prove": list(rules.NOT_PROVEN),
        }
        receipts.keep(tx, UUID(payload["receipt_id"]), rules.sign(body, keys.signer), keys.public, now)
        audit.record(tx, author, "memory.erase", now, cube_id=cube.id, target=payload["receipt_id"],
                     detail=body["erased"] | {"revisions": [r["revision"] for r in revisions]})  # fmt: skip
        events.emit(tx, "erasure.signed", cube_id=cube.id, receipt_id=payload["receipt_id"], **body["erased"])
        result = {"receipt_id": payload["receipt_id"], **body["erased"]}
        return attempt.finish(tx, result, revisions[0]["revision"])


# ---------------------------------------------------------------- steps


def _require_clearance(tx: Transaction) -> None:
    """What is taken and what is left behind is told by what memories say: nobody asks who may not read them all."""
    if tx.clearance < TOP_CLEARANCE:
        raise Forbidden("erasing takes the highest clearance: a key of less cannot see what it would take")


def _asked(tx: Transaction, view: View, wanted: Wanted) -> list[UUID]:
    """The memories meant. Raises `NotFound` for an id that names none: the caller must know what was not erased."""
    if (wanted.memory_ids is None) == (wanted.filter is None):
        raise Invalid("send either memory_ids or a filter", where=["body"])
    if wanted.memory_ids is not None:
        asked = list(dict.fromkeys(wanted.memory_ids))
        known = erasure.known(tx, view.cube.id, asked)
        if missing := [memory_id for memory_id in asked if memory_id not in known]:
            raise NotFound(f"{len(missing)} of the {len(asked)} memories are not there, or no longer")
    else:
        condition, parameters = compile_filter(filters.parse(wanted.filter))
        asked = erasure.matching(tx, view, condition, parameters)
    if len(asked) > MOST_AT_ONCE:
        raise Invalid(f"{len(asked):,} memories are too many for one erasure ({MOST_AT_ONCE:,}); narrow the filter")
    return asked


def _forget_caches(attempt: Attempt, memory_ids: Sequence[UUID]) -> dict[str, int]:
    """Take the caches first, in a transaction of their own: a file cannot be brought back when a transaction fails, and
    caches may be lost at any time. What is built between this and the erasure itself is taken by the erasure."""
    with attempt.saving() as tx:
        cube = cubes.find(tx, str(attempt.job.cube_id), lock=True)
        reached = erasure.closure(tx, cube.id, erasure.known(tx, cube.id, memory_ids))
        refuse_frozen(tx, cube, reached)
        holds.refuse(tx, cube.id, reached)
        return kv_erase.forget(tx, attempt.parts.kv, cube.id, reached)


def _frozen(tx: Transaction, cube: Cube, reached: Collection[UUID]) -> list[UUID]:
    """What is frozen on any branch, its own or inherited."""
    views = [cubes.view(tx, str(cube.id), branch.name) for branch in cubes.list_branches(tx, cube.id)]
    return sorted(set().union(*(erasure.frozen(tx, view, reached) for view in views)))


def refuse_frozen(tx: Transaction, cube: Cube, reached: Collection[UUID]) -> None:
    if found := _frozen(tx, cube, reached):
        raise Frozen(
            f"{len(found)} of the {len(reached)} memories this would erase are frozen; unfreeze them first",
            extra={"memory_ids": [str(memory_id) for memory_id in found[:100]]},
        )


def _remove(
    tx: Transaction, cube: Cube, reached: Collection[UUID], author: UUID, reason: str, now: datetime
) -> list[dict[str, Any]]:
    """A revision on `main`, and on every other branch that shows some of the memories as its own, without them."""
    written = []
    branches = sorted(cubes.list_branches(tx, cube.id), key=lambda branch: branch.name != cubes.MAIN)
    for branch in branches:
        writer = RevisionWriter(tx, str(cube.id), branch.name, now=now)
        shown = memories.get_many(tx, writer.view, reached)
        own = [row for row in shown.values() if row.branch_id == branch.id]
        if not own and branch.name != cubes.MAIN:
            continue
        for row in own:
            writer.remove(row)
        revised = writer.finish(kind=KIND, author=author, reason=reason or "erased on request", even_if_empty=True)
        made = revisions.revision(tx, cube.id, revised.number)
        written.append({"branch": branch.name, "revision": made.revision, "hash": made.hash, "removed": made.removed})
    return written


def _refuse_finds(doors: Mapping[str, Probe]) -> None:
    if found := {door: probe.found for door, probe in doors.items() if probe.found}:
        log.error("erasure_incomplete", found=found)
        raise StillThere(f"after the erasure these probes still found something: {', '.join(sorted(found))}")
