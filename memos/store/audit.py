"""The audit trail: one row per act, each hashed over the one before it, per tenant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.rules.access import Principal
from memos.rules.header import canonical, instant
from memos.rules.versioning import GENESIS
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row of the trail. `hash` and `previous` are hexadecimal."""

    seq: int
    at: datetime
    key_id: UUID | None
    action: str
    cube_id: UUID | None
    target: str
    detail: dict[str, Any]
    previous: str
    hash: str


# Done to the memory, or giving it to somebody to read.
_ABOUT = (
    "(CAST(:memory AS text) IS NULL OR target = :memory OR detail -> 'read' @> "
    "jsonb_build_array(jsonb_build_array(CAST(:memory AS text))))"
)


def list_page(
    tx: Transaction,
    *,
    action: str | None,
    key_id: UUID | None,
    cube_id: UUID | None,
    memory_id: UUID | None,
    only: Sequence[UUID] | None,
    limit: int,
    before: int | None,
) -> list[Recorded]:
    """Newest first. `action` is a whole one (`cube.create`) or what stands before its dot (`cube`)."""
    rows = tx.rows(
        "SELECT seq, at, key_id, action, cube_id, target, detail, encode(previous, 'hex') AS previous, "
        "encode(hash, 'hex') AS hash FROM audit WHERE tenant_id = :tenant "
        "AND (CAST(:action AS text) IS NULL OR action = :action OR starts_with(action, :action || '.')) "
        "AND (CAST(:key AS uuid) IS NULL OR key_id = :key) AND (CAST(:cube AS uuid) IS NULL OR cube_id = :cube) "
        f"AND {_ABOUT} AND (CAST(:only AS uuid[]) IS NULL OR cube_id = ANY(:only)) "
        "AND (CAST(:before AS bigint) IS NULL OR seq < :before) ORDER BY seq DESC LIMIT :limit",
        action=action,
        key=key_id,
        cube=cube_id,
        memory=None if memory_id is None else str(memory_id),
        only=only,
        before=before,
        limit=limit,
    )
    return [Recorded(**row) for row in rows]


def head(tx: Transaction) -> tuple[int, str]:
    """(the number of the last row, its hash in hexadecimal) as the chain's own record has them; (0, genesis) before any."""
    row = tx.row("SELECT seq, encode(hash, 'hex') AS hash FROM audit_heads WHERE tenant_id = :tenant")
    return (int(row["seq"]), row["hash"]) if row else (0, GENESIS.hex())


def record(
    tx: Transaction,
    key_id: UUID | None,
    action: str,
    now: datetime,
    *,
    cube_id: UUID | None = None,
    target: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Append one act, in the transaction of the act itself, with the calling context it was done in. Never put memory
    content into `detail`."""
    context = {} if tx.caller is None else context_of(tx.caller)
    record_many(tx, [Act(now, key_id, action, cube_id, target, {**context, **(detail or {})})])


@dataclass(frozen=True, slots=True)
class Act:
    """One row of the trail to be."""

    at: datetime
    key_id: UUID | None
    action: str
    cube_id: UUID | None
    target: str
    detail: Mapping[str, Any]


def context_of(who: Principal) -> dict[str, Any]:
    """What the trail keeps of a calling context: nothing of what nobody said."""
    grant = None if who.grant_id is None else str(who.grant_id)
    said = {"purpose": who.calling.purpose, "session": who.calling.session, "grant": grant}
    return {name: value for name, value in said.items() if value is not None}


def record_many(tx: Transaction, acts: Sequence[Act]) -> None:
    """Append acts in order: the chain's head is taken once."""
    if not acts:
        return
    seq, digest = _taken_head(tx)
    rows: list[dict[str, object]] = []
    for act in acts:
        previous, seq = digest, seq + 1
        detail = dict(act.detail)
        digest = link(previous, seq, act.at, act.key_id, act.action, act.cube_id, act.target, detail)
        rows.append(
            {
                "tenant": tx.tenant_id, "seq": seq, "at": act.at, "key": act.key_id, "action": act.action,
                "cube": act.cube_id, "target": act.target, "detail": json.dumps(detail), "previous": previous,
                "hash": digest,
            }
        )  # fmt: skip
    tx.run_many(
        "INSERT INTO audit (tenant_id, seq, at, key_id, action, cube_id, target, detail, previous, hash) "
        "VALUES (:tenant, :seq, :at, :key, :action, :cube, :target, CAST(:detail AS jsonb), :previous, :hash)",
        rows,
    )
    tx.run("UPDATE audit_heads SET seq = :seq, hash = :hash WHERE tenant_id = :tenant", seq=seq, hash=digest)


def _taken_head(tx: Transaction) -> tuple[int, bytes]:
    """The chain's head, which is this transaction's alone until it ends; made where a tenant has none yet."""
    wanted = "SELECT seq, hash FROM audit_heads WHERE tenant_id = :tenant FOR UPDATE"
    if (found := tx.row(wanted)) is None:
        tx.run(
            "INSERT INTO audit_heads (tenant_id, seq, hash) VALUES (:tenant, 0, :genesis) ON CONFLICT DO NOTHING",
            genesis=GENESIS,
        )
        found = tx.row(wanted)
    assert found is not None  # noqa: S101 - inserted above, here or by another first writer
    return int(found["seq"]), bytes(found["hash"])


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the trail as stored."""

    seq: int
    at: datetime
    key_id: UUID | None
    action: str
    cube_id: UUID | None
    target: str
    detail: dict[str, Any]
    previous: bytes
    hash: bytes


def stream(
    tx: Transaction, *, after_seq: int, since: datetime | None, until: datetime | None, memory_id: UUID | None
) -> Iterator[Entry]:
    """Rows in order, without holding them all. With a memory, only those that are about it or gave it to somebody."""
    for row in tx.stream(
        f"SELECT {', '.join(Entry.__dataclass_fields__)} FROM audit WHERE tenant_id = :tenant AND seq > :after "
        "AND (CAST(:since AS timestamptz) IS NULL OR at >= :since) AND (CAST(:until AS timestamptz) IS NULL OR at < :until) "
        f"AND {_ABOUT} ORDER BY seq",
        after=after_seq,
        since=since,
        until=until,
        memory=None if memory_id is None else str(memory_id),
    ):
        yield Entry(**{**row, "previous": bytes(row["previous"]), "hash": bytes(row["hash"])})


def link(
    previous: bytes,
    seq: int,
    at: datetime,
    key_id: UUID | None,
    action: str,
    cube_id: UUID | None,
    target: str,
    detail: dict[str, Any],
) -> bytes:
    """The hash of one row of the chain."""
    body = [seq, instant(at), key_id and str(key_id), action, cube_id and str(cube_id), target, detail]
    return hashlib.sha256(previous + canonical(body)).digest()


def verify(tx: Transaction) -> tuple[int, int | None]:
    """(rows read, first seq that does not follow from the one before it or None). Rows missing at the end count too."""
    previous, read = GENESIS, 0
    for row in tx.stream("SELECT * FROM audit WHERE tenant_id = :tenant ORDER BY seq"):
        read += 1
        expected = link(
            previous, read, row["at"], row["key_id"], row["action"], row["cube_id"], row["target"], row["detail"]
        )
        if row["seq"] != read or bytes(row["hash"]) != expected:
            return read, row["seq"]
        previous = expected
    if head(tx) != (read, previous.hex()):
        return read, read + 1
    return read, None
