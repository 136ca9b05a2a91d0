"""Cubes and branches, and the views of them that readers ask for."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from memos.errors import Conflict, NotFound
from memos.store.transaction import Transaction

MAIN = "main"
At = int | str | datetime | None
_WORD = re.compile(r"[^\W_]+")
# How many candidates a walk through the vector graph holds (`hnsw.ef_search`), and from how many memories on it holds more:
# in a larger graph the same walk misses more of what is nearest.
BREADTH: Final = 100
WIDE_BREADTH: Final = 200
WIDE_FROM: Final = 30_000


@dataclass(frozen=True, slots=True)
class Cube:
    id: UUID
    name: str
    description: str
    policy: dict[str, Any]
    last_revision: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Branch:
    id: int
    cube_id: UUID
    name: str
    base_branch_id: int | None
    fork_revision: int
    head_revision: int
    live_count: int
    term_total: int
    folded_count: int
    folded_terms: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class View:
    """What can be seen of a cube: a branch as of a revision. `lineage` lists (branch id, last revision seen of it),
    own branch first; a version on an earlier entry hides the same memory on a later one. `space` is (fingerprint, model) of
    the vectors, None while they are the configured model's."""

    cube: Cube
    branch: Branch
    at: int
    lineage: tuple[tuple[int, int], ...]
    space: tuple[str, str] | None = None

    @property
    def present(self) -> bool:
        """Whether the indexes of the present answer for this view: a branch without a base, as it is now."""
        return len(self.lineage) == 1 and self.at == self.branch.head_revision


# ---------------------------------------------------------------- cubes

_CUBE = "id, name, description, policy, last_revision, created_at"


def create(tx: Transaction, cube_id: UUID, name: str, description: str, policy: dict[str, Any]) -> tuple[Cube, Branch]:
    """A cube with its branch `main`, at revision 0. Raises `Conflict` when the name is taken."""
    row = (
        tx.connection.execute(
            text(
                f"INSERT INTO cubes (tenant_id, id, name, description, policy) "
                f"VALUES (:tenant, :id, :name, :description, :policy) "
                f"ON CONFLICT (tenant_id, name) DO NOTHING RETURNING {_CUBE}"
            ).bindparams(bindparam("policy", type_=JSONB)),
            {"tenant": tx.tenant_id, "id": cube_id, "name": name, "description": description, "policy": policy},
        )
        .mappings()
        .first()
    )
    if row is None:
        raise Conflict(f"a cube named {name!r} exists already")
    return Cube(**row), insert_branch(tx, cube_id, MAIN, None, 0)


def find(tx: Transaction, reference: str, *, lock: bool = False) -> Cube:
    """A cube by id or name. `lock` serialises writers of the cube until the transaction ends."""
    suffix = " FOR UPDATE" if lock else ""
    row = None
    if (cube_id := _as_uuid(reference)) is not None:
        row = tx.row(f"SELECT {_CUBE} FROM cubes WHERE tenant_id = :tenant AND id = :id" + suffix, id=cube_id)
    if row is None:
        row = tx.row(f"SELECT {_CUBE} FROM cubes WHERE tenant_id = :tenant AND name = :name" + suffix, name=reference)
    if row is None:
        raise NotFound("no such cube")
    tx.enter(row["id"], row["policy"])
    return Cube(**row)


def there(tx: Transaction, cube_id: UUID) -> bool:
    """Whether a cube still exists; it does until this transaction ends."""
    return bool(tx.scalar("SELECT 1 FROM cubes WHERE tenant_id = :tenant AND id = :cube FOR SHARE", cube=cube_id))


def list_cubes(tx: Transaction, limit: int, after: UUID | None, only: list[UUID] | None) -> list[Cube]:
    rows = tx.rows(
        f"SELECT {_CUBE} FROM cubes WHERE tenant_id = :tenant AND (CAST(:after AS uuid) IS NULL OR id > :after) "
        "AND (CAST(:only AS uuid[]) IS NULL OR id = ANY(:only)) ORDER BY id LIMIT :limit",
        after=after,
        only=only,
        limit=limit,
    )
    return [Cube(**row) for row in rows]


def names(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, str]:
    """The names of those of these cubes that are there."""
    rows = tx.tuples("SELECT id, name FROM cubes WHERE tenant_id = :tenant AND id = ANY(:ids)", ids=list(ids))
    return dict(rows)


def update(tx: Transaction, cube: Cube, name: str, description: str, policy: dict[str, Any]) -> Cube:
    taken = tx.scalar(
        "SELECT 1 FROM cubes WHERE tenant_id = :tenant AND name = :name AND id <> :id", name=name, id=cube.id
    )
    if taken:
        raise Conflict(f"a cube named {name!r} exists already")
    row = (
        tx.connection.execute(
            text(
                f"UPDATE cubes SET name = :name, description = :description, policy = :policy "
                f"WHERE tenant_id = :tenant AND id = :id RETURNING {_CUBE}"
            ).bindparams(bindparam("policy", type_=JSONB)),
            {"tenant": tx.tenant_id, "id": cube.id, "name": name, "description": description, "policy": policy},
        )
        .mappings()
        .one()
    )
    return Cube(**row)


# Children before parents, so that no foreign key is ever in the way.
_OF_BRANCHES = ("heads", "postings", "terms", "speakers", "facets", "cursors")
_OF_CUBE = (
    "links", "identities", "claims", "mentions", "readings", "entities", "memory_sources", "usage", "staged_vectors",
    "embedding_spaces", "memory_versions", "contents", "quarantine", "holds", "memories", "revision_tags", "revisions",
    "transitions", "decisions", "erasure_marks", "grants",
)  # fmt: skip


def delete(tx: Transaction, cube_id: UUID) -> None:
    """Everything of the cube, set by set: cascading row by row would take minutes for a large one."""
    for table in _OF_BRANCHES:
        tx.run(
            f"DELETE FROM {table} WHERE tenant_id = :tenant AND branch_id IN "
            "(SELECT id FROM branches WHERE tenant_id = :tenant AND cube_id = :cube)",
            cube=cube_id,
        )
    for table in _OF_CUBE:
        tx.run(f"DELETE FROM {table} WHERE tenant_id = :tenant AND cube_id = :cube", cube=cube_id)
    tx.run("DELETE FROM jobs WHERE tenant_id = :tenant AND cube_id = :cube", cube=cube_id)
    tx.run("DELETE FROM traces WHERE tenant_id = :tenant AND :cube = ANY(cube_ids)", cube=cube_id)
    tx.run("DELETE FROM branches WHERE tenant_id = :tenant AND cube_id = :cube", cube=cube_id)
    tx.run("DELETE FROM cubes WHERE tenant_id = :tenant AND id = :cube", cube=cube_id)


# ---------------------------------------------------------------- branches

_BRANCH = (
    "id, cube_id, name, base_branch_id, fork_revision, head_revision, live_count, term_total, "
    "folded_count, folded_terms, created_at"
)


def insert_branch(tx: Transaction, cube_id: UUID, name: str, base: Branch | None, fork_revision: int) -> Branch:
    row = tx.row(
        "INSERT INTO branches (tenant_id, cube_id, name, base_branch_id, fork_revision, head_revision) "
        f"VALUES (:tenant, :cube, :name, :base, :fork, :fork) "
        f"ON CONFLICT (tenant_id, cube_id, name) WHERE deleted_at IS NULL DO NOTHING RETURNING {_BRANCH}",
        cube=cube_id,
        name=name,
        base=base.id if base else None,
        fork=fork_revision,
    )
    if row is None:
        raise Conflict(f"a branch named {name!r} exists already")
    return Branch(**row)


def find_branch(tx: Transaction, cube_id: UUID, name: str) -> Branch:
    row = tx.row(
        f"SELECT {_BRANCH} FROM branches WHERE tenant_id = :tenant AND cube_id = :cube AND name = :name "
        "AND deleted_at IS NULL",
        cube=cube_id,
        name=name,
    )
    if row is None:
        raise NotFound(f"no branch named {name!r} in this cube")
    return Branch(**row)


def list_branches(tx: Transaction, cube_id: UUID, *, deleted: bool = False) -> list[Branch]:
    rows = tx.rows(
        f"SELECT {_BRANCH} FROM branches WHERE tenant_id = :tenant AND cube_id = :cube "
        "AND (deleted_at IS NULL OR :deleted) ORDER BY id",
        cube=cube_id,
        deleted=deleted,
    )
    return [Branch(**row) for row in rows]


def delete_branch(tx: Transaction, branch: Branch) -> None:
    """The name becomes free and the indexes of the present go; its revisions stay, as history does."""
    tx.run("UPDATE branches SET deleted_at = now() WHERE tenant_id = :tenant AND id = :id", id=branch.id)
    for table in _OF_BRANCHES:
        tx.run(f"DELETE FROM {table} WHERE tenant_id = :tenant AND branch_id = :id", id=branch.id)


RESOLVE = f"""
WITH RECURSIVE target AS (
    SELECT c.id AS cube_id, c.name AS cube_name, c.description, c.policy, c.last_revision,
           c.created_at AS cube_created_at, b.id, b.name, b.base_branch_id, b.fork_revision, b.head_revision,
           b.live_count, b.term_total, b.folded_count, b.folded_terms, b.created_at,
           least(b.head_revision, CASE :how
               WHEN 'now' THEN b.head_revision
               WHEN 'number' THEN CAST(:number AS integer)
               WHEN 'tag' THEN (SELECT t.revision FROM revision_tags t
                   WHERE t.tenant_id = :tenant AND t.cube_id = c.id AND t.name = :tag)
               ELSE coalesce((SELECT max(r.number) FROM revisions r
                   WHERE r.tenant_id = :tenant AND r.cube_id = c.id AND r.created_at <= :moment), 0) END) AS at
    FROM cubes c JOIN branches b ON b.tenant_id = c.tenant_id AND b.cube_id = c.id AND b.deleted_at IS NULL
    WHERE c.tenant_id = :tenant AND b.name = :branch AND c.id = coalesce(
        (SELECT id FROM cubes WHERE tenant_id = :tenant AND id = CAST(:cube_id AS uuid)),
        (SELECT id FROM cubes WHERE tenant_id = :tenant AND name = :cube_name))),
line AS (
    SELECT id, at AS cap, base_branch_id, fork_revision, 0 AS depth FROM target
    UNION ALL
    SELECT p.id, least(l.cap, l.fork_revision), p.base_branch_id, p.fork_revision, l.depth + 1
    FROM line l JOIN branches p ON p.tenant_id = :tenant AND p.id = l.base_branch_id)
SELECT target.*, (:how = 'tag' AND NOT EXISTS (SELECT 1 FROM revision_tags t WHERE t.tenant_id = :tenant
           AND t.cube_id = target.cube_id AND t.name = :tag)) AS tag_missing,
       (SELECT ARRAY[e.fingerprint, e.model] FROM embedding_spaces e WHERE e.tenant_id = :tenant
           AND e.cube_id = target.cube_id AND e.state = 'active') AS space,
       (SELECT array_agg(id ORDER BY depth) FROM line) AS branch_ids,
       (SELECT array_agg(cap ORDER BY depth) FROM line) AS caps,
       (SELECT jsonb_object_agg(s.term, s.documents) FROM (SELECT term, sum(documents) AS documents FROM terms
           WHERE tenant_id = :tenant AND branch_id = target.id AND folded IN (false, :folded) AND term = ANY(:terms)
           GROUP BY term) s) AS documents,
       (SELECT array_agg(s.name ORDER BY s.name) FROM speakers s WHERE s.tenant_id = :tenant
           AND s.branch_id = (SELECT id FROM line ORDER BY depth DESC LIMIT 1) AND s.memories > 0
           AND (s.words && CAST(:words AS text[]) OR position(lower(s.name) IN :query) > 0)) AS speakers,
       CASE WHEN target.live_count >= {WIDE_FROM} THEN set_config('hnsw.ef_search', '{WIDE_BREADTH}', true) END AS breadth,
       EXISTS (SELECT 1 FROM memory_versions v WHERE v.tenant_id = :tenant AND v.branch_id = ANY(ARRAY(SELECT id FROM line))
           AND v.to_revision IS NULL AND v.state = 'archived') AS archived
FROM target
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a query needs to know of a branch before candidates are fetched: how many memories hold each of its terms,
    which speakers it may be naming, and whether anything was ever put away."""

    documents: dict[str, int]
    speakers: tuple[str, ...]
    archived: bool = False


def view(tx: Transaction, reference: str, branch: str = MAIN, at: At = None) -> View:
    """A branch of a cube (id or name) as of `at`: a revision number, a tag's name or a time; the present for None.

    Raises `NotFound` for a cube, branch, tag or revision that is not there.
    """
    return view_for_query(tx, reference, branch, at)[0]


def view_for_query(
    tx: Transaction,
    reference: str,
    branch: str,
    at: At,
    terms: Sequence[str] = (),
    query: str = "",
    *,
    folded: bool = False,
) -> tuple[View, Asked]:
    """The same, with what a query asks of the branch: one round trip for both. `folded`: of folded memories too."""
    lowered = query.lower()
    row = tx.row(
        RESOLVE,
        cube_id=_as_uuid(reference),
        cube_name=reference,
        branch=branch,
        terms=list(terms),
        folded=folded,
        words=sorted(set(_WORD.findall(lowered))),
        query=lowered,
        how="now" if at is None else "number" if isinstance(at, int) else "tag" if isinstance(at, str) else "time",
        number=at if isinstance(at, int) else None,
        tag=at if isinstance(at, str) else None,
        moment=at if isinstance(at, datetime) else None,
    )
    if row is None:
        cube = find(tx, reference)
        find_branch(tx, cube.id, branch)
        raise NotFound("no such cube")
    if isinstance(at, str) and row["tag_missing"]:
        raise NotFound(f"this cube has no tag {at!r}")
    if isinstance(at, int) and not 0 <= at <= row["last_revision"]:
        raise NotFound(f"this cube has no revision {at}")
    tx.enter(row["cube_id"], row["policy"])
    cube = Cube(row["cube_id"], row["cube_name"], row["description"], row["policy"], row["last_revision"],
                row["cube_created_at"])  # fmt: skip
    found = Branch(**{name: row[name] for name in Branch.__dataclass_fields__})
    lineage = tuple(zip(row["branch_ids"], row["caps"], strict=True))
    asked = Asked(row["documents"] or {}, tuple(row["speakers"] or ()), archived=row["archived"])
    space = None if row["space"] is None else (row["space"][0], row["space"][1])
    return View(cube, found, row["at"], lineage, space), asked


def lineage_of(tx: Transaction, branch: Branch, at: int) -> tuple[tuple[int, int], ...]:
    """(branch id, last revision seen of it) from a branch down to its root."""
    bases = {b.id: b for b in list_branches(tx, branch.cube_id, deleted=True)}
    steps = [(branch.id, at)]
    while branch.base_branch_id is not None:
        at = min(at, branch.fork_revision)
        branch = bases[branch.base_branch_id]
        steps.append((branch.id, at))
    return tuple(steps)


def _as_uuid(reference: str) -> UUID | None:
    try:
        return UUID(reference)
    except ValueError:
        return None
