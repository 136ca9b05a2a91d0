"""Facts by the slot they fill: what a new statement has to be reconciled with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from memos.rules.reconcile import Claim, claim_from_json
from memos.store import memories
from memos.store.cubes import View
from memos.store.memories import SHOWN, Version, visible
from memos.store.transaction import Transaction

Slot = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Fact:
    """A stored fact with what it claims. `confidence` is the reader's, from 0 to 1."""

    row: Version
    claim: Claim
    confidence: float


def in_slots(tx: Transaction, view: View, slots: Iterable[Slot]) -> list[Fact]:
    """The recallable facts of a view that fill one of these slots, in order of writing.

    A fact that states several things fills no slot: closing it for one of them would deny the others.
    """
    wanted = list(dict.fromkeys(slots))
    if not wanted:
        return []
    holders = tx.rows(
        "SELECT DISTINCT v.memory_id FROM unnest(CAST(:subjects AS text[]), CAST(:attributes AS text[])) "
        "AS s (subject, attribute) JOIN claims c ON c.tenant_id = :tenant AND c.cube_id = :cube "
        "AND c.subject_key = s.subject AND c.attribute_key = s.attribute "
        "JOIN memory_versions v ON v.tenant_id = :tenant AND v.content_id = c.content_id AND v.kind = 'fact'",
        cube=view.cube.id,
        subjects=[subject for subject, _ in wanted],
        attributes=[attribute for _, attribute in wanted],
    )
    found = of_memories(tx, view, [row["memory_id"] for row in holders])
    return [fact for fact in found if fact.claim.slot in set(wanted)]


def of_memories(tx: Transaction, view: View, memory_ids: Iterable[UUID]) -> list[Fact]:
    """Those of these memories that are recallable facts with exactly one claim, in order of writing."""
    ids = list(memory_ids)
    if not ids:
        return []
    rows = [
        row
        for row in memories.get_many(tx, view, ids).values()
        if row.kind == "fact" and row.state in ("generated", "activated", "frozen")
    ]
    stored = tx.rows(
        "SELECT content_id, (array_agg(body))[1] AS body, (array_agg(confidence))[1] AS confidence FROM claims "
        "WHERE tenant_id = :tenant AND content_id = ANY(:ids) GROUP BY content_id HAVING count(*) = 1",
        ids=[row.content_id for row in rows],
    )
    bodies = {row["content_id"]: (row["body"], float(row["confidence"])) for row in stored}
    facts = [_fact(row, *bodies[row.content_id]) for row in rows if row.content_id in bodies]
    return sorted(facts, key=lambda fact: fact.row.id)


def _fact(row: Version, body: dict[str, object], confidence: float) -> Fact:
    claim = claim_from_json(
        body,
        memory_id=row.memory_id,
        text=row.text or "",
        said_at=row.created_at,
        valid_from=row.valid_from or row.created_at,
        valid_to=row.valid_to,
    )
    return Fact(row, claim, confidence)


def about(tx: Transaction, view: View, subject_keys: Iterable[str]) -> list[Fact]:
    """Everything a view shows about some subjects and what is theirs ("ana", "ana's sister"), in order of writing."""
    keys = list(subject_keys)
    holders = tx.rows(
        "SELECT DISTINCT v.memory_id FROM claims c JOIN memory_versions v ON v.tenant_id = c.tenant_id "
        "AND v.content_id = c.content_id AND v.kind = 'fact' WHERE c.tenant_id = :tenant AND c.cube_id = :cube "
        "AND (c.subject_key = ANY(:keys) OR split_part(c.subject_key, '''s ', 1) = ANY(:keys))",
        cube=view.cube.id,
        keys=keys,
    )
    return of_memories(tx, view, [row["memory_id"] for row in holders])


def speakers(tx: Transaction, view: View) -> list[str]:
    """The names under which turns were said that a view shows."""
    source, parameters = visible(view, "o.kind = 'turn' AND o.name IS NOT NULL")
    rows = tx.rows(f"SELECT DISTINCT v.name FROM {source} v WHERE {SHOWN} ORDER BY v.name", **parameters)
    return [row["name"] for row in rows]
