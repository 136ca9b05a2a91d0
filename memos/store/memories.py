"""Versions of memories, read through a view: the present by its own indexes, the past by revision ranges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.rules.header import Draft, Kind, Source
from memos.store.cubes import View
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable state of a memory, as stored."""

    id: int
    cube_id: UUID
    memory_id: UUID
    version: int
    branch_id: int
    from_revision: int
    to_revision: int | None
    tombstone: bool
    state: str
    kind: str
    content_id: int | None
    text: str | None
    dedup_key: bytes | None
    external_id: str | None
    session_id: str | None
    ordinal: int | None
    role: str | None
    name: str | None
    title: str | None
    source: str | None
    created_at: datetime
    valid_from: datetime | None
    valid_to: datetime | None
    expires_at: datetime | None
    priority: float
    sensitivity: str
    trust: float
    origin: str
    tags: list[str]
    metadata: dict[str, Any]
    merged_into: UUID | None
    quarantined: bool
    action: str
    state_before: str | None
    fingerprint: bytes | None
    salt: bytes | None
    commitment: bytes
    recorded_at: datetime
    erased_at: datetime | None

    def draft(self) -> Draft:
        """What would write this state again."""
        return Draft(
            kind=Kind(self.kind),
            text=self.text or "",
            created_at=self.created_at,
            state=self.state,
            dedup_key=self.dedup_key,
            external_id=self.external_id,
            session_id=self.session_id,
            ordinal=self.ordinal,
            role=self.role,
            name=self.name,
            title=self.title,
            source=self.source,
            valid_from=self.valid_from,
            valid_to=self.valid_to,
            expires_at=self.expires_at,
            priority=self.priority,
            sensitivity=self.sensitivity,
            trust=self.trust,
            origin=self.origin,
            tags=tuple(self.tags),
            metadata=self.metadata,
            merged_into=self.merged_into,
            quarantined=self.quarantined,
            action=self.action,
            state_before=self.state_before,
        )


COLUMNS = ", ".join("c.text" if name == "text" else f"v.{name}" for name in Version.__dataclass_fields__)
_JOIN = "LEFT JOIN contents c ON c.tenant_id = v.tenant_id AND c.id = v.content_id"

# Own rows first, then the base branch's as of the fork: the nearest row of a lineage hides the ones below it.
_PAST = """(
    SELECT DISTINCT ON (o.memory_id) o.* FROM
        unnest(CAST(:branch_ids AS integer[]), CAST(:caps AS integer[])) WITH ORDINALITY AS l (branch_id, cap, depth)
    JOIN memory_versions o ON o.tenant_id = :tenant AND o.branch_id = l.branch_id
        AND o.from_revision <= l.cap AND (o.to_revision IS NULL OR o.to_revision > l.cap)
    {where}
    ORDER BY o.memory_id, l.depth)"""
_PRESENT = """(
    SELECT o.* FROM memory_versions o
    WHERE o.tenant_id = :tenant AND o.branch_id = :branch_id AND o.to_revision IS NULL {where})"""


def visible(view: View, where: str = "") -> tuple[str, dict[str, object]]:
    """SQL for the versions a view shows (alias it `v`), and its parameters. `where` narrows by memory (`o.memory_id`).

    Tombstones and erased versions are left in: they must hide what lies below them; callers add `SHOWN`.
    """
    if view.present:
        condition = f"AND {where}" if where else ""
        return _PRESENT.format(where=condition), {"branch_id": view.branch.id}
    condition = f"WHERE {where}" if where else ""
    return _PAST.format(where=condition), lineage_parameters(view.lineage)


SHOWN = "NOT v.tombstone AND v.erased_at IS NULL"


def lineage_parameters(lineage: Sequence[tuple[int, int]]) -> dict[str, object]:
    return {"branch_ids": [b for b, _ in lineage], "caps": [c for _, c in lineage]}


def get(tx: Transaction, view: View, memory_id: UUID) -> Version | None:
    return get_many(tx, view, [memory_id]).get(memory_id)


def get_many(tx: Transaction, view: View, memory_ids: Iterable[UUID]) -> dict[UUID, Version]:
    """The versions of these memories that the view shows; absent ones are missing."""
    source, parameters = visible(view, "o.memory_id = ANY(:ids)")
    rows = tx.rows(f"SELECT {COLUMNS} FROM {source} v {_JOIN} WHERE {SHOWN}", ids=list(memory_ids), **parameters)
    return {row["memory_id"]: Version(**row) for row in rows}


def list_page(
    tx: Transaction, view: View, condition: str, parameters: dict[str, object], limit: int, after: UUID | None
) -> list[Version]:
    """In order of memory id, which is the order of writing. `condition` is over `v`."""
    source, bound = visible(view)
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM {source} v {_JOIN} WHERE {SHOWN} AND {condition} "
        "AND (CAST(:after AS uuid) IS NULL OR v.memory_id > :after) ORDER BY v.memory_id LIMIT :limit",
        after=after,
        limit=limit,
        **bound,
        **parameters,
    )
    return [Version(**row) for row in rows]


def stream(tx: Transaction, view: View) -> Iterator[Version]:
    """Every memory of the view in order of id, without holding them all."""
    source, bound = visible(view)
    for row in tx.stream(f"SELECT {COLUMNS} FROM {source} v {_JOIN} WHERE {SHOWN} ORDER BY v.memory_id", **bound):
        yield Version(**row)


@dataclass(frozen=True, slots=True)
class Seen:
    """Which versions of a memory to tell of: of a lineage (branch and last revision, each), recorded up to a revision,
    valid at a moment. None leaves that open."""

    lineage: tuple[tuple[int, int], ...] | None = None
    until: int | None = None
    valid_at: datetime | None = None


def history(
    tx: Transaction, cube_id: UUID, memory_id: UUID, limit: int, before: int | None, seen: Seen | None = None
) -> list[Version]:
    """Every version that is asked for, newest first; tombstones included, for they are what happened."""
    seen = seen or Seen()
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM memory_versions v {_JOIN} WHERE v.tenant_id = :tenant AND v.cube_id = :cube "
        "AND v.memory_id = :memory AND (CAST(:before AS integer) IS NULL OR v.version < :before) "
        "AND (CAST(:until AS integer) IS NULL OR v.from_revision <= :until) "
        "AND (CAST(:valid_at AS timestamptz) IS NULL OR (coalesce(v.valid_from, '-infinity') <= :valid_at "
        "AND coalesce(v.valid_to, 'infinity') > :valid_at)) "
        "AND (CAST(:branches AS integer[]) IS NULL OR EXISTS (SELECT 1 FROM "
        "unnest(CAST(:branches AS integer[]), CAST(:caps AS integer[])) AS l (branch_id, cap) "
        "WHERE l.branch_id = v.branch_id AND v.from_revision <= l.cap)) "
        "ORDER BY v.version DESC LIMIT :limit",
        cube=cube_id,
        memory=memory_id,
        before=before,
        limit=limit,
        until=seen.until,
        valid_at=seen.valid_at,
        branches=None if seen.lineage is None else [branch for branch, _ in seen.lineage],
        caps=None if seen.lineage is None else [cap for _, cap in seen.lineage],
    )
    return [Version(**row) for row in rows]


def version(tx: Transaction, cube_id: UUID, memory_id: UUID, number: int) -> Version | None:
    row = tx.row(
        f"SELECT {COLUMNS} FROM memory_versions v {_JOIN} WHERE v.tenant_id = :tenant AND v.cube_id = :cube "
        "AND v.memory_id = :memory AND v.version = :number",
        cube=cube_id,
        memory=memory_id,
        number=number,
    )
    return None if row is None else Version(**row)


def by_dedup_key(tx: Transaction, cube_id: UUID, keys: Iterable[bytes]) -> dict[bytes, UUID]:
    """Which memory a key belongs to, on any branch and at any time: a thing said again is the same memory."""
    rows = tx.rows(
        "SELECT DISTINCT ON (dedup_key) dedup_key, memory_id FROM memory_versions WHERE tenant_id = :tenant "
        "AND cube_id = :cube AND dedup_key = ANY(:keys) AND erased_at IS NULL "
        "ORDER BY dedup_key, to_revision IS NULL DESC, id DESC",
        cube=cube_id,
        keys=list(keys),
    )
    return {bytes(row["dedup_key"]): row["memory_id"] for row in rows}


def corrected_from(tx: Transaction, shown: Version, text_sha256: bytes) -> bool:
    """Whether what is shown is somebody's correction of a version that said this."""
    return bool(
        tx.scalar(
            "SELECT EXISTS (SELECT 1 FROM revisions r WHERE r.tenant_id = :tenant AND r.cube_id = :cube "
            "AND r.number = :number AND r.kind = 'edit') AND EXISTS (SELECT 1 FROM memory_versions v "
            "JOIN contents c ON c.tenant_id = :tenant AND c.id = v.content_id WHERE v.tenant_id = :tenant "
            "AND v.cube_id = :cube AND v.memory_id = :memory AND v.version < :version AND c.sha256 = :sha256)",
            cube=shown.cube_id,
            number=shown.from_revision,
            memory=shown.memory_id,
            version=shown.version,
            sha256=text_sha256,
        )
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """Just enough of a version to compare whole states of a branch."""

    id: int
    fingerprint: bytes
    state: str


def state_at(tx: Transaction, view: View, memory_ids: Iterable[UUID] | None = None) -> dict[UUID, Standing]:
    """Every memory a view shows, or those of some memories."""
    source, bound = visible(view, "" if memory_ids is None else "o.memory_id = ANY(:ids)")
    if memory_ids is not None:
        bound["ids"] = list(memory_ids)
    rows = tx.rows(f"SELECT v.memory_id, v.id, v.fingerprint, v.state FROM {source} v WHERE {SHOWN}", **bound)
    return {row["memory_id"]: Standing(row["id"], bytes(row["fingerprint"]), row["state"]) for row in rows}


def touched(tx: Transaction, first: View, second: View) -> list[UUID]:
    """Memories of which any version began or ended between two states of one branch: no other can differ in them."""
    rows = tx.rows(
        "SELECT memory_id FROM memory_versions WHERE tenant_id = :tenant AND branch_id = ANY(:branches) "
        "AND from_revision > :low AND from_revision <= :high UNION "
        "SELECT memory_id FROM memory_versions WHERE tenant_id = :tenant AND branch_id = ANY(:branches) "
        "AND to_revision > :low AND to_revision <= :high",
        branches=sorted({branch for view in (first, second) for branch, _ in view.lineage}),
        low=min(first.at, second.at),
        high=max(first.at, second.at),
    )
    return [row["memory_id"] for row in rows]


def by_version_ids(tx: Transaction, ids: Iterable[int]) -> dict[int, Version]:
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM memory_versions v {_JOIN} WHERE v.tenant_id = :tenant AND v.id = ANY(:ids)",
        ids=list(ids),
    )
    return {row["id"]: Version(**row) for row in rows}


def counts(tx: Transaction, view: View, valid_at: datetime | None = None) -> dict[str, Any]:
    """How many memories a view shows, by kind and by state; with `valid_at`, of those that were true then."""
    source, bound = visible(view)
    condition = ""
    if valid_at is not None:
        condition = " AND (v.valid_from IS NULL OR v.valid_from <= :valid_at) AND (v.valid_to IS NULL OR v.valid_to > :valid_at)"
        bound["valid_at"] = valid_at
    rows = tx.rows(
        f"SELECT v.kind, v.state, count(*) AS n FROM {source} v WHERE {SHOWN}{condition} "
        "GROUP BY v.kind, v.state ORDER BY 1, 2",
        **bound,
    )
    by_kind: dict[str, int] = {}
    by_state: dict[str, int] = {}
    for row in rows:
        by_kind[row["kind"]] = by_kind.get(row["kind"], 0) + row["n"]
        by_state[row["state"]] = by_state.get(row["state"], 0) + row["n"]
    return {"memories": sum(by_kind.values()), "by_kind": by_kind, "by_state": by_state}


def last_ordinal(tx: Transaction, view: View, session_id: str) -> int | None:
    """The place of the newest turn of a session; None when it has none."""
    source, bound = visible(view, "o.session_id = :session AND o.kind = 'turn'")
    # A maximum is one step from the end of the index; an order that puts nulls last would sort the whole session.
    last = tx.scalar(f"SELECT max(v.ordinal) FROM {source} v WHERE {SHOWN}", session=session_id, **bound)
    return None if last is None else int(last)


def passages_of(tx: Transaction, view: View, external_id: str) -> list[Version]:
    """The passages of a document, by its external id, that are not archived."""
    source, bound = visible(view, "o.external_id = :external AND o.kind = 'passage'")
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM {source} v {_JOIN} WHERE {SHOWN} AND v.state IN ('generated', 'activated') ORDER BY v.ordinal",
        external=external_id,
        **bound,
    )
    return [Version(**row) for row in rows]


def sources(tx: Transaction, cube_id: UUID, memory_id: UUID, number: int) -> list[Source]:
    rows = tx.rows(
        "SELECT source_memory_id AS memory_id, source_version AS version, relation FROM memory_sources "
        "WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = :memory AND version = :number "
        "ORDER BY relation, source_memory_id, source_version",
        cube=cube_id,
        memory=memory_id,
        number=number,
    )
    return [Source(**row) for row in rows]


def derived(tx: Transaction, cube_id: UUID, memory_id: UUID) -> list[Source]:
    """What was made from any version of this memory."""
    rows = tx.rows(
        "SELECT DISTINCT memory_id, version, relation FROM memory_sources WHERE tenant_id = :tenant AND cube_id = :cube "
        "AND source_memory_id = :memory ORDER BY memory_id, version, relation",
        cube=cube_id,
        memory=memory_id,
    )
    return [Source(**row) for row in rows]


@dataclass(frozen=True, slots=True)
class Usage:
    """What recall has taught about a memory."""

    recalls: int
    repeats: int
    last_recalled_at: datetime | None
    stability_days: float


def usage(tx: Transaction, cube_id: UUID, memory_ids: Iterable[UUID]) -> dict[UUID, Usage]:
    rows = tx.rows(
        "SELECT memory_id, recalls, repeats, last_recalled_at, stability_days FROM usage "
        "WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = ANY(:ids)",
        cube=cube_id,
        ids=list(memory_ids),
    )
    return {
        row["memory_id"]: Usage(row["recalls"], row["repeats"], row["last_recalled_at"], row["stability_days"])
        for row in rows
    }


def frozen_count(tx: Transaction, cube_id: UUID) -> int:
    """Frozen memories of a cube, on any branch."""
    return int(
        tx.scalar(
            "SELECT count(*) FROM memory_versions WHERE tenant_id = :tenant AND cube_id = :cube AND to_revision IS NULL "
            "AND state = 'frozen'",
            cube=cube_id,
        )
    )
