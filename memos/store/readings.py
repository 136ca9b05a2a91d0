"""Which texts have been read, and what was found in them: names, statements, slots. Saved in bulk, never twice.

Everything here hangs on a text (`contents`), so it is true wherever and whenever a version shows that text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.store.cubes import Branch
from memos.store.memories import COLUMNS, SHOWN, Version
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Mentioned:
    """A name in a text. `key` is the entity's one spelling, `entity` its full name, `name` what stands in the text."""

    key: str
    entity: str
    name: str
    type: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Stated:
    """A statement in a text: its slot, the key of its value where that is a name, and the claim as JSON."""

    subject_key: str
    attribute_key: str
    object_key: str | None
    confidence: float
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found in one text."""

    content_id: int
    mentions: Sequence[Mentioned] = ()
    claims: Sequence[Stated] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """How far a task has come on a branch: behind it lies every version up to this one."""

    revision: int
    version_id: int


BEGINNING = Place(0, 0)


def place(tx: Transaction, branch_id: int, task: str) -> Place:
    row = tx.row(
        "SELECT revision, version_id FROM cursors WHERE tenant_id = :tenant AND branch_id = :branch AND task = :task",
        branch=branch_id,
        task=task,
    )
    return BEGINNING if row is None else Place(row["revision"], row["version_id"])


def advance(tx: Transaction, branch_id: int, task: str, to: Place) -> None:
    """Never backwards: two jobs may do the same stretch, and the slower one must not undo the faster one's step."""
    tx.run(
        "INSERT INTO cursors (tenant_id, branch_id, task, revision, version_id) "
        "VALUES (:tenant, :branch, :task, :revision, :version) "
        "ON CONFLICT (tenant_id, branch_id, task) DO UPDATE SET revision = excluded.revision, "
        "version_id = excluded.version_id "
        "WHERE (cursors.revision, cursors.version_id) < (excluded.revision, excluded.version_id)",
        branch=branch_id,
        task=task,
        revision=to.revision,
        version=to.version_id,
    )


def rewind(tx: Transaction, branch_id: int, task: str) -> None:
    """Begin again from the first version of the branch."""
    tx.run(
        "DELETE FROM cursors WHERE tenant_id = :tenant AND branch_id = :branch AND task = :task",
        branch=branch_id,
        task=task,
    )


def behind(tx: Transaction, task: str, quiet_since: datetime) -> list[tuple[UUID, dict[str, Any]]]:
    """Cubes (with their policy) whose `main` is ahead of a task and was not written to since then."""
    rows = tx.rows(
        "SELECT c.id, c.policy FROM cubes c JOIN branches b ON b.tenant_id = c.tenant_id AND b.cube_id = c.id "
        "AND b.name = 'main' AND b.deleted_at IS NULL "
        "JOIN revisions r ON r.tenant_id = c.tenant_id AND r.cube_id = c.id AND r.number = b.head_revision "
        "LEFT JOIN cursors k ON k.tenant_id = c.tenant_id AND k.branch_id = b.id AND k.task = :task "
        "WHERE c.tenant_id = :tenant AND r.created_at <= :quiet AND b.head_revision > coalesce(k.revision, 0) ORDER BY c.id",
        task=task,
        quiet=quiet_since,
    )
    return [(row["id"], row["policy"]) for row in rows]


def unread(tx: Transaction, branch: Branch, after: Place, most: int, *, again: bool = False) -> list[Version]:
    """The next versions of a branch, recallable now, whose text nobody has read, in order of writing.

    With `again`, texts that were read before come too, except those that were made by reading.
    """
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM memory_versions v JOIN contents c ON c.tenant_id = v.tenant_id AND c.id = v.content_id "
        "WHERE v.tenant_id = :tenant AND v.branch_id = :branch AND v.to_revision IS NULL "
        "AND v.from_revision >= :revision AND (v.from_revision, v.id) > (:revision, :version) "
        f"AND v.state IN ('generated', 'activated', 'frozen') AND {SHOWN} AND ((:again AND v.origin <> 'derived') "
        "OR NOT EXISTS (SELECT 1 FROM readings r WHERE r.tenant_id = v.tenant_id AND r.content_id = v.content_id)) "
        "ORDER BY v.from_revision, v.id LIMIT :most",
        branch=branch.id,
        revision=after.revision,
        version=after.version_id,
        most=most,
        again=again,
    )
    return [Version(**row) for row in rows]


def among_read(tx: Transaction, content_ids: Sequence[int]) -> set[int]:
    """Those of these texts that have been read."""
    rows = tx.rows(
        "SELECT content_id FROM readings WHERE tenant_id = :tenant AND content_id = ANY(:ids)", ids=list(content_ids)
    )
    return {row["content_id"] for row in rows}


def speakers(tx: Transaction, branch_ids: Sequence[int], session_ids: Iterable[str]) -> dict[str, list[str]]:
    """The names of those who speak in each session, on any of these branches."""
    rows = tx.rows(
        "SELECT session_id, array_agg(DISTINCT name ORDER BY name) AS names FROM memory_versions "
        "WHERE tenant_id = :tenant AND branch_id = ANY(:branches) AND session_id = ANY(:sessions) AND name IS NOT NULL "
        "AND to_revision IS NULL AND kind = 'turn' AND NOT tombstone GROUP BY session_id",
        branches=list(branch_ids),
        sessions=list(session_ids),
    )
    return {row["session_id"]: list(row["names"]) for row in rows}


def contents_of(tx: Transaction, branch_id: int, revision: int) -> dict[UUID, int]:
    """The texts of the versions that a revision wrote, by memory."""
    rows = tx.rows(
        "SELECT memory_id, content_id FROM memory_versions WHERE tenant_id = :tenant AND branch_id = :branch "
        "AND from_revision = :revision AND content_id IS NOT NULL",
        branch=branch_id,
        revision=revision,
    )
    return {row["memory_id"]: row["content_id"] for row in rows}


def save(tx: Transaction, cube_id: UUID, reader: str, found: Sequence[Reading], now: datetime) -> None:
    """Store readings; a text that was read before gets the new one in place of the old."""
    if not found:
        return
    content_ids = [reading.content_id for reading in found]
    for table in ("mentions", "claims"):
        tx.run(f"DELETE FROM {table} WHERE tenant_id = :tenant AND content_id = ANY(:ids)", ids=content_ids)
    tx.run(
        "INSERT INTO readings (tenant_id, content_id, cube_id, reader, read_at) "
        "SELECT DISTINCT :tenant, id, CAST(:cube AS uuid), :reader, CAST(:now AS timestamptz) "
        "FROM unnest(CAST(:ids AS bigint[])) AS id "
        "ON CONFLICT (tenant_id, content_id) DO UPDATE SET reader = excluded.reader, read_at = excluded.read_at",
        cube=cube_id,
        reader=reader,
        ids=content_ids,
        now=now,
    )
    names = {m.key: m.entity for reading in found for m in reading.mentions}
    _ensure_entities(tx, cube_id, names, now)
    mentions = [
        {"content_id": r.content_id, "key": m.key, "name": m.name, "type": m.type, "confidence": m.confidence}
        for r in found for m in r.mentions
    ]  # fmt: skip
    claims = [
        {"content_id": r.content_id, "position": position, "subject_key": c.subject_key,
         "attribute_key": c.attribute_key, "object_key": c.object_key, "confidence": c.confidence, "body": dict(c.body)}
        for r in found for position, c in enumerate(r.claims)
    ]  # fmt: skip
    if mentions:
        tx.run(INSERT_MENTIONS, cube=cube_id, records=json.dumps(mentions))
    if claims:
        tx.run(INSERT_CLAIMS, cube=cube_id, records=json.dumps(claims))


def _ensure_entities(tx: Transaction, cube_id: UUID, names: Mapping[str, str], now: datetime) -> None:
    """Whoever comes first names an entity; order by key, so that two writers cannot wait for each other in a circle."""
    if names:
        tx.run(
            "INSERT INTO entities (tenant_id, cube_id, id, key, name, created_at) "
            "SELECT :tenant, CAST(:cube AS uuid), gen_random_uuid(), n.key, n.name, CAST(:now AS timestamptz) "
            "FROM unnest(CAST(:keys AS text[]), CAST(:names AS text[])) AS n (key, name) ORDER BY n.key "
            "ON CONFLICT (tenant_id, cube_id, key) DO NOTHING",
            cube=cube_id,
            keys=list(names),
            names=list(names.values()),
            now=now,
        )


INSERT_MENTIONS = (
    "INSERT INTO mentions (tenant_id, cube_id, content_id, entity_id, name, type, confidence) "
    "SELECT DISTINCT ON (r.content_id, e.id, r.name) :tenant, CAST(:cube AS uuid), r.content_id, e.id, r.name, r.type, "
    "r.confidence FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r (content_id bigint, key text, name text, "
    "type text, confidence real) "
    "JOIN entities e ON e.tenant_id = :tenant AND e.cube_id = CAST(:cube AS uuid) AND e.key = r.key "
    "ORDER BY r.content_id, e.id, r.name, r.confidence DESC"
)
INSERT_CLAIMS = (
    "INSERT INTO claims (tenant_id, cube_id, content_id, position, subject_key, attribute_key, subject_id, object_id, "
    "confidence, body) SELECT :tenant, CAST(:cube AS uuid), r.content_id, r.position, r.subject_key, r.attribute_key, "
    "s.id, o.id, r.confidence, r.body FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r (content_id bigint, "
    "position smallint, subject_key text, attribute_key text, object_key text, confidence real, body jsonb) "
    "LEFT JOIN entities s ON s.tenant_id = :tenant AND s.cube_id = CAST(:cube AS uuid) AND s.key = r.subject_key "
    "LEFT JOIN entities o ON o.tenant_id = :tenant AND o.cube_id = CAST(:cube AS uuid) AND o.key = r.object_key"
)
