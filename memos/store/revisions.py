"""Revisions and tags: the commit graph as rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.errors import Conflict, NotFound
from memos.store.cubes import Branch, Cube
from memos.store.transaction import Transaction

_REVISION = (
    "r.number AS revision, b.name AS branch, r.parent, r.merged_from, r.kind, r.author, r.reason, r.created_at, "
    "encode(r.hash, 'hex') AS hash, r.added, r.changed, r.removed"
)
_REVISIONS = "FROM revisions r JOIN branches b ON b.tenant_id = r.tenant_id AND b.id = r.branch_id"


@dataclass(frozen=True, slots=True)
class RevisionView:
    revision: int
    branch: str
    parent: int | None
    merged_from: int | None
    kind: str
    author: UUID | None
    reason: str
    created_at: datetime
    hash: str
    added: int
    changed: int
    removed: int


def revision(tx: Transaction, cube_id: UUID, number: int) -> RevisionView:
    row = tx.row(
        f"SELECT {_REVISION} {_REVISIONS} WHERE r.tenant_id = :tenant AND r.cube_id = :cube AND r.number = :number",
        cube=cube_id,
        number=number,
    )
    if row is None:
        raise NotFound(f"this cube has no revision {number}")
    return RevisionView(**row)


@dataclass(frozen=True, slots=True)
class Written:
    """Who made a revision (None: the workers), and the one before it."""

    author: UUID | None
    parent: int | None


def written(tx: Transaction, cube_id: UUID, numbers: Collection[int]) -> dict[int, Written]:
    """Of some revisions of a cube, by their numbers."""
    rows = tx.tuples(
        "SELECT number, author, parent FROM revisions WHERE tenant_id = :tenant AND cube_id = :cube AND number = ANY(:numbers)",
        cube=cube_id,
        numbers=sorted(set(numbers)),
    )
    return {number: Written(author, parent) for number, author, parent in rows}


def last_written_at(tx: Transaction, cube: Cube) -> datetime | None:
    moment: datetime | None = tx.scalar(
        "SELECT created_at FROM revisions WHERE tenant_id = :tenant AND cube_id = :cube AND number = :number",
        cube=cube.id,
        number=cube.last_revision,
    )
    return moment


def list_revisions(
    tx: Transaction, cube_id: UUID, steps: tuple[tuple[int, int], ...] | None, limit: int, before: int | None
) -> list[RevisionView]:
    """Newest first; of a lineage, or of all branches when `steps` is None."""
    rows = tx.rows(
        f"SELECT {_REVISION} {_REVISIONS} WHERE r.tenant_id = :tenant AND r.cube_id = :cube "
        "AND (CAST(:before AS integer) IS NULL OR r.number < :before) "
        "AND (CAST(:branches AS integer[]) IS NULL OR EXISTS (SELECT 1 FROM "
        "unnest(CAST(:branches AS integer[]), CAST(:caps AS integer[])) AS l (branch_id, cap) "
        "WHERE l.branch_id = r.branch_id AND r.number <= l.cap)) ORDER BY r.number DESC LIMIT :limit",
        cube=cube_id,
        before=before,
        limit=limit,
        branches=None if steps is None else [b for b, _ in steps],
        caps=None if steps is None else [c for _, c in steps],
    )
    return [RevisionView(**row) for row in rows]


@dataclass(frozen=True, slots=True)
class TagView:
    name: str
    revision: int
    created_at: datetime


def create_tag(tx: Transaction, cube_id: UUID, name: str, number: int) -> TagView:
    """Raises `Conflict` when the name is taken: a tag that could move would name nothing."""
    revision(tx, cube_id, number)
    row = tx.row(
        "INSERT INTO revision_tags (tenant_id, cube_id, name, revision) VALUES (:tenant, :cube, :name, :number) "
        "ON CONFLICT (tenant_id, cube_id, name) DO NOTHING RETURNING name, revision, created_at",
        cube=cube_id,
        name=name,
        number=number,
    )
    if row is None:
        raise Conflict(f"a tag named {name!r} exists already; delete it first to move it")
    return TagView(**row)


def list_tags(tx: Transaction, cube_id: UUID) -> list[TagView]:
    rows = tx.rows(
        "SELECT name, revision, created_at FROM revision_tags WHERE tenant_id = :tenant AND cube_id = :cube "
        "ORDER BY revision, name",
        cube=cube_id,
    )
    return [TagView(**row) for row in rows]


def delete_tag(tx: Transaction, cube_id: UUID, name: str) -> None:
    gone = tx.run(
        "DELETE FROM revision_tags WHERE tenant_id = :tenant AND cube_id = :cube AND name = :name",
        cube=cube_id,
        name=name,
    )
    if not gone:
        raise NotFound(f"this cube has no tag {name!r}")


def ancestry(tx: Transaction, cube_id: UUID, number: int) -> set[int]:
    """Every revision that leads to `number`, itself included, through parents and merges."""
    rows = tx.rows(
        "WITH RECURSIVE up AS (SELECT CAST(:number AS integer) AS number UNION "
        "SELECT p.number FROM up JOIN revisions r ON r.tenant_id = :tenant AND r.cube_id = :cube "
        "AND r.number = up.number CROSS JOIN LATERAL (VALUES (r.parent), (r.merged_from)) AS p (number) "
        "WHERE p.number IS NOT NULL) SELECT number FROM up",
        cube=cube_id,
        number=number,
    )
    return {int(row["number"]) for row in rows}


def revision_branch(tx: Transaction, cube_id: UUID, number: int) -> Branch:
    """The branch a revision was written on, deleted or not."""
    columns = ", ".join(f"b.{name}" for name in Branch.__dataclass_fields__)
    row = tx.row(
        f"SELECT {columns} FROM revisions r JOIN branches b ON b.tenant_id = r.tenant_id AND b.id = r.branch_id "
        "WHERE r.tenant_id = :tenant AND r.cube_id = :cube AND r.number = :number",
        cube=cube_id,
        number=number,
    )
    if row is None:
        raise NotFound(f"this cube has no revision {number}")
    return Branch(**row)
