"""Erasure: what hangs on a memory, taking all of it, and what must then be gone.

Two lists say everything, so that a new table is a line: `EDGES`, by which content goes from one memory into another, and
`WIPES`, where content of a memory stands. Versions and texts keep their rows, emptied: history still has its numbers, and
its hashes their commitments.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from memos.store import kv_taint
from memos.store.cubes import View
from memos.store.memories import SHOWN, visible
from memos.store.transaction import Transaction

EDGES: Final[Mapping[str, str]] = {
    "derived": "SELECT memory_id AS id, source_memory_id AS via FROM memory_sources WHERE tenant_id = :tenant "
    "AND cube_id = :cube AND source_memory_id = ANY(:ids)",
    # Near-duplicates say the same, whichever of them survived.
    "duplicate": "SELECT merged_into AS id, memory_id AS via FROM memory_versions WHERE tenant_id = :tenant AND cube_id = :cube "
    "AND memory_id = ANY(:ids) AND merged_into IS NOT NULL UNION "
    "SELECT memory_id, merged_into FROM memory_versions WHERE tenant_id = :tenant AND cube_id = :cube "
    "AND merged_into = ANY(:ids)",
}


@dataclass(frozen=True, slots=True)
class Reached:
    """A memory that an erasure takes, and why: asked for, or by an edge from another one."""

    memory_id: UUID
    why: str
    via: UUID | None


@dataclass(frozen=True, slots=True)
class ErasedVersion:
    """What must be known of a version to say that it was erased."""

    id: int
    memory_id: UUID
    version: int
    branch_id: int
    from_revision: int
    live: bool
    tombstone: bool
    commitment: bytes


@dataclass(frozen=True, slots=True)
class ErasedText:
    """A text as it was, for the probes that must not find it. `embedding` is a halfvec; None for one without."""

    id: int
    memory_id: UUID
    text: str
    sha256: bytes
    embedding: Any
    terms: list[str]


def known(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID]) -> set[UUID]:
    """Those of the ids that name a memory of the cube, on any branch and at any time, which is not erased."""
    rows = tx.rows(
        "SELECT id FROM memories WHERE tenant_id = :tenant AND cube_id = :cube AND id = ANY(:ids) AND erased_at IS NULL",
        cube=cube_id,
        ids=list(memory_ids),
    )
    return {row["id"] for row in rows}


def matching(tx: Transaction, view: View, condition: str, parameters: dict[str, object]) -> list[UUID]:
    """Memories that a view shows, in whatever state, and that fulfil a condition over `v`."""
    source, bound = visible(view)
    rows = tx.rows(
        f"SELECT v.memory_id FROM {source} v WHERE {SHOWN} AND {condition} ORDER BY v.memory_id", **bound, **parameters
    )
    return [row["memory_id"] for row in rows]


def closure(tx: Transaction, cube_id: UUID, asked: Collection[UUID]) -> dict[UUID, Reached]:
    """All that goes with these memories, themselves included: on all branches, by every version that ever was."""
    reached = {memory_id: Reached(memory_id, "asked", None) for memory_id in sorted(asked)}
    frontier = list(reached)
    while frontier:
        found: dict[UUID, Reached] = {}
        for why, query in EDGES.items():
            for row in tx.rows(f"{query} ORDER BY 1, 2", cube=cube_id, ids=frontier):
                if row["id"] not in reached:
                    found.setdefault(row["id"], Reached(row["id"], why, row["via"]))
        # An edge may lead to what an earlier erasure took.
        there = known(tx, cube_id, found)
        frontier = sorted(there)
        reached |= {memory_id: found[memory_id] for memory_id in frontier}
    return reached


def frozen(tx: Transaction, view: View, memory_ids: Collection[UUID]) -> set[UUID]:
    """Those that a view shows frozen."""
    source, bound = visible(view, "o.memory_id = ANY(:ids)")
    rows = tx.rows(
        f"SELECT v.memory_id FROM {source} v WHERE {SHOWN} AND v.state = 'frozen'", ids=list(memory_ids), **bound
    )
    return {row["memory_id"] for row in rows}


def versions(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID]) -> list[ErasedVersion]:
    rows = tx.rows(
        "SELECT id, memory_id, version, branch_id, from_revision, to_revision IS NULL AS live, tombstone, commitment "
        "FROM memory_versions WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = ANY(:ids) "
        "ORDER BY memory_id, version",
        cube=cube_id,
        ids=list(memory_ids),
    )
    return [ErasedVersion(**{**row, "commitment": bytes(row["commitment"])}) for row in rows]


def texts(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID]) -> list[ErasedText]:
    rows = tx.rows(
        "SELECT id, memory_id, text, sha256, embedding, terms FROM contents WHERE tenant_id = :tenant AND cube_id = :cube "
        "AND memory_id = ANY(:ids) AND erased_at IS NULL ORDER BY id",
        cube=cube_id,
        ids=list(memory_ids),
    )
    return [ErasedText(**{**row, "sha256": bytes(row["sha256"])}) for row in rows]


def dedup_keys(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID]) -> list[bytes]:
    rows = tx.rows(
        "SELECT DISTINCT dedup_key FROM memory_versions WHERE tenant_id = :tenant AND cube_id = :cube "
        "AND memory_id = ANY(:ids) AND dedup_key IS NOT NULL",
        cube=cube_id,
        ids=list(memory_ids),
    )
    return [bytes(row["dedup_key"]) for row in rows]


def sources_left(tx: Transaction, cube_id: UUID, taken: Collection[UUID]) -> list[UUID]:
    """Sources of these memories that are not among them: they may still say what is erased here."""
    rows = tx.rows(
        "SELECT DISTINCT s.source_memory_id AS id FROM memory_sources s JOIN memories m ON m.tenant_id = s.tenant_id "
        "AND m.cube_id = s.cube_id AND m.id = s.source_memory_id AND m.erased_at IS NULL WHERE s.tenant_id = :tenant "
        "AND s.cube_id = :cube AND s.memory_id = ANY(:ids) AND NOT s.source_memory_id = ANY(:ids) ORDER BY 1",
        cube=cube_id,
        ids=list(taken),
    )
    return [row["id"] for row in rows]


def same_text(tx: Transaction, cube_id: UUID, taken: Collection[UUID]) -> list[UUID]:
    """Other memories of the cube with a text that one of these has, letter by letter, in some version."""
    rows = tx.rows(
        "SELECT DISTINCT c.memory_id AS id FROM contents c WHERE c.tenant_id = :tenant AND c.cube_id = :cube "
        "AND NOT c.memory_id = ANY(:ids) AND c.sha256 IN (SELECT t.sha256 FROM contents t WHERE t.tenant_id = :tenant "
        "AND t.cube_id = :cube AND t.memory_id = ANY(:ids)) ORDER BY 1",
        cube=cube_id,
        ids=list(taken),
    )
    return [row["id"] for row in rows]


# ---------------------------------------------------------------- taking it

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def names_memory(column: str) -> str:
    """SQL: whether a JSON column names one of the memories."""
    found = f"regexp_matches(CAST({column} AS text), '{_UUID}', 'g') AS m"
    return f"EXISTS (SELECT 1 FROM {found} WHERE CAST(m[1] AS uuid) = ANY(:ids))"


# The names of these tables and the statements that empty them, in an order that no foreign key minds. `:contents` are the
# ids of the texts. What stands in the indexes of the present left them with the revision that removed the memories.
WIPES: Final[Mapping[str, str]] = {
    "links": "DELETE FROM links WHERE tenant_id = :tenant AND cube_id = :cube "
    "AND (memory_id = ANY(:ids) OR other_id = ANY(:ids))",
    "memory_sources": "DELETE FROM memory_sources WHERE tenant_id = :tenant AND cube_id = :cube "
    "AND (memory_id = ANY(:ids) OR source_memory_id = ANY(:ids))",
    "claims": "DELETE FROM claims WHERE tenant_id = :tenant AND content_id = ANY(:contents)",
    "mentions": "DELETE FROM mentions WHERE tenant_id = :tenant AND content_id = ANY(:contents)",
    "readings": "DELETE FROM readings WHERE tenant_id = :tenant AND content_id = ANY(:contents)",
    # A name nobody says any more is content too. Who it meant goes with it.
    "identities": "DELETE FROM identities WHERE tenant_id = :tenant AND cube_id = :cube AND (memory_id = ANY(:ids) "
    "OR entity_id = ANY(:entities) OR means_id = ANY(:entities))",
    # Who was split off has a name, but only decisions lead to them.
    "entities": "DELETE FROM entities e WHERE e.tenant_id = :tenant AND e.cube_id = :cube AND (e.id = ANY(:entities) "
    "OR e.split_off AND NOT EXISTS (SELECT 1 FROM identities i WHERE i.tenant_id = e.tenant_id AND i.cube_id = e.cube_id "
    "AND i.means_id = e.id))",
    "usage": "DELETE FROM usage WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = ANY(:ids)",
    "decisions": "DELETE FROM decisions WHERE tenant_id = :tenant AND cube_id = :cube "
    f"AND (memory_id = ANY(:ids) OR {names_memory('inputs')})",
    "staged_vectors": "DELETE FROM staged_vectors WHERE tenant_id = :tenant AND content_id = ANY(:contents)",
    "heads": "DELETE FROM heads WHERE tenant_id = :tenant AND branch_id IN (SELECT id FROM branches WHERE tenant_id = :tenant "
    "AND cube_id = :cube) AND memory_id = ANY(:ids)",
    "contents": "UPDATE contents SET text = NULL, sha256 = NULL, embedding = NULL, terms = '{}', counts = '{}', length = 0, "
    "tokens = 0, archived = false, erased_at = :now WHERE tenant_id = :tenant AND id = ANY(:contents)",
    "memory_versions": "UPDATE memory_versions SET erased_at = :now, created_at = recorded_at, dedup_key = NULL, "
    "external_id = NULL, session_id = NULL, ordinal = NULL, role = NULL, name = NULL, title = NULL, source = NULL, "
    "valid_from = NULL, valid_to = NULL, expires_at = NULL, tags = '{}', metadata = '{}', merged_into = NULL, "
    "fingerprint = NULL, salt = NULL "
    "WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = ANY(:ids) AND erased_at IS NULL",
    "quarantine": "DELETE FROM quarantine WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = ANY(:ids)",
    "memories": "UPDATE memories SET erased_at = :now WHERE tenant_id = :tenant AND cube_id = :cube AND id = ANY(:ids)",
    # A question may repeat what it was answered with.
    "traces": "DELETE FROM traces WHERE tenant_id = :tenant AND memory_ids && CAST(:ids AS uuid[])",
    # The keys stay, or a client that repeats its write would bring everything back; the answers go.
    "idempotency": "UPDATE idempotency SET status = 410, headers = CAST(:gone_headers AS jsonb), body = CAST(:gone AS jsonb) "
    f"WHERE tenant_id = :tenant AND status <> 410 AND {names_memory('body')}",
    "jobs": "UPDATE jobs SET result = NULL, progress = NULL, payload = CASE WHEN state IN ('succeeded', 'cancelled') "
    "OR id = :job THEN '{}' ELSE payload END WHERE tenant_id = :tenant AND cube_id = :cube "
    f"AND ({names_memory('payload')} OR {names_memory('result')} OR {names_memory('progress')})",
    **kv_taint.WIPES,
}
GONE: Final = {
    "type": "urn:memos:problem:erased",
    "title": "The answer was erased",
    "status": 410,
    "detail": "what this request was answered named memories that have been erased since",
    "code": "erased",
}


def wipe(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID], job_id: UUID, now: datetime) -> dict[str, int]:
    """Take everything of these memories; rows touched by table. The caller has removed them from every branch before."""
    ids = list(memory_ids)
    contents = [text.id for text in texts(tx, cube_id, ids)]
    named = named_only_by(tx, cube_id, contents)
    parameters: dict[str, object] = {
        "cube": cube_id, "ids": ids, "contents": contents, "entities": named, "job": job_id, "now": now,
        "gone": json.dumps(GONE), "gone_headers": json.dumps({"Content-Type": "application/problem+json"}),
    }  # fmt: skip
    # The replies of two busy days are read whole to find those that name a memory.
    tx.run("SET LOCAL statement_timeout = '600s'")
    touched = {}
    for table, statement in WIPES.items():
        if table == "traces":
            # One that is being written at this moment is waited for; later ones look for themselves what is erased.
            tx.run("LOCK TABLE traces IN SHARE MODE")
        touched[table] = tx.run(statement, **parameters)
    return touched


def named_only_by(tx: Transaction, cube_id: UUID, contents: list[int]) -> list[UUID]:
    """Entities that no other text mentions or makes a statement about."""
    rows = tx.rows(
        "SELECT e.id FROM entities e WHERE e.tenant_id = :tenant AND e.cube_id = :cube AND e.id IN ("
        "  SELECT entity_id FROM mentions WHERE tenant_id = :tenant AND content_id = ANY(:contents) UNION "
        "  SELECT unnest(ARRAY[subject_id, object_id]) FROM claims WHERE tenant_id = :tenant AND content_id = ANY(:contents)) "
        "AND NOT EXISTS (SELECT 1 FROM mentions o WHERE o.tenant_id = :tenant AND o.cube_id = :cube AND o.entity_id = e.id "
        "  AND NOT o.content_id = ANY(:contents)) "
        "AND NOT EXISTS (SELECT 1 FROM claims o WHERE o.tenant_id = :tenant AND o.cube_id = :cube "
        "  AND (o.subject_id = e.id OR o.object_id = e.id) AND NOT o.content_id = ANY(:contents))",
        cube=cube_id,
        contents=contents,
    )
    return [row["id"] for row in rows]


def leftovers(
    tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID], contents: Collection[int]
) -> dict[str, int]:
    """What a look into the tables themselves still finds; all zeroes when the erasure is whole."""
    row = tx.row(
        "SELECT (SELECT count(*) FROM contents WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = ANY(:ids) "
        "  AND (text IS NOT NULL OR sha256 IS NOT NULL OR embedding IS NOT NULL OR terms <> '{}')) AS texts, "
        "(SELECT count(*) FROM memory_versions WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = ANY(:ids) "
        "  AND (erased_at IS NULL OR salt IS NOT NULL OR title IS NOT NULL OR metadata <> '{}' OR name IS NOT NULL)) AS headers, "
        "(SELECT count(*) FROM memory_sources WHERE tenant_id = :tenant AND cube_id = :cube "
        "  AND (memory_id = ANY(:ids) OR source_memory_id = ANY(:ids))) AS lineage, "
        "(SELECT count(*) FROM mentions WHERE tenant_id = :tenant AND content_id = ANY(:contents)) + "
        "(SELECT count(*) FROM claims WHERE tenant_id = :tenant AND content_id = ANY(:contents)) AS graph, "
        "(SELECT count(*) FROM usage WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = ANY(:ids)) AS usage, "
        f"(SELECT count(*) FROM idempotency WHERE tenant_id = :tenant AND {names_memory('body')}) AS replies",
        cube=cube_id,
        ids=list(memory_ids),
        contents=list(contents),
    )
    return {} if row is None else {name: int(count) for name, count in row.items()}
