"""What consolidation reads: whole sessions, vectors of texts, and the memories that earlier runs made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np

from memos.store.cubes import View
from memos.store.memories import COLUMNS, SHOWN, Version, visible
from memos.store.transaction import Transaction

_JOIN = "LEFT JOIN contents c ON c.tenant_id = v.tenant_id AND c.id = v.content_id"
# What was put away can still be told about; what has expired cannot.
TOLD = "('generated', 'activated', 'frozen', 'archived', 'merged')"


@dataclass(frozen=True, slots=True)
class SessionSize:
    """A session as its turns stand now: enough to see whether a summary of it is up to date."""

    session_id: str
    begins_at: datetime
    ends_at: datetime
    contents: frozenset[tuple[UUID, int]]


@dataclass(frozen=True, slots=True)
class Covered:
    """A memory that an earlier run wrote, and the texts it covers."""

    memory_id: UUID
    content_id: int
    external_id: str
    session_id: str | None
    contents: frozenset[tuple[UUID, int]]


def sessions(tx: Transaction, view: View) -> list[SessionSize]:
    """Every session of turns, in order of id. Texts are not read."""
    source, parameters = visible(view, "o.kind = 'turn' AND o.session_id IS NOT NULL")
    rows = tx.rows(
        "SELECT v.session_id, min(v.created_at) AS begins_at, max(v.created_at) AS ends_at, "
        f"array_agg(v.memory_id) AS ids, array_agg(v.content_id) AS contents FROM {source} v WHERE {SHOWN} "
        f"AND v.state IN {TOLD} AND v.content_id IS NOT NULL GROUP BY v.session_id ORDER BY v.session_id",
        **parameters,
    )
    return [
        SessionSize(
            row["session_id"],
            row["begins_at"],
            row["ends_at"],
            frozenset(zip(row["ids"], row["contents"], strict=True)),
        )
        for row in rows
    ]


def turns(tx: Transaction, view: View, session_ids: Sequence[str]) -> dict[str, list[Version]]:
    """The turns of some sessions, each in its order."""
    source, parameters = visible(view, "o.session_id = ANY(:sessions) AND o.kind = 'turn'")
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM {source} v {_JOIN} WHERE {SHOWN} AND v.state IN {TOLD} "
        "ORDER BY v.session_id, v.ordinal NULLS LAST, v.id",
        sessions=list(session_ids),
        **parameters,
    )
    found: dict[str, list[Version]] = {name: [] for name in session_ids}
    for row in rows:
        found[row["session_id"]].append(Version(**row))
    return found


def made(tx: Transaction, view: View, kinds: Sequence[str]) -> list[Covered]:
    """What earlier runs wrote of these kinds and nobody has put away since, with the texts each was made from."""
    source, parameters = visible(view, "o.kind = ANY(:kinds) AND o.origin = 'derived'")
    rows = tx.rows(
        "SELECT v.memory_id, v.content_id, v.external_id, v.session_id, "
        "array_agg(o.memory_id) FILTER (WHERE o.content_id IS NOT NULL) AS ids, "
        f"array_agg(o.content_id) FILTER (WHERE o.content_id IS NOT NULL) AS contents FROM {source} v "
        "LEFT JOIN memory_sources s ON s.tenant_id = v.tenant_id AND s.cube_id = v.cube_id "
        "AND s.memory_id = v.memory_id AND s.version = v.version "
        "LEFT JOIN memory_versions o ON o.tenant_id = s.tenant_id AND o.cube_id = s.cube_id "
        "AND o.memory_id = s.source_memory_id AND o.version = s.source_version "
        f"WHERE {SHOWN} AND v.external_id IS NOT NULL AND v.state IN ('generated', 'activated') "
        "GROUP BY v.memory_id, v.content_id, v.external_id, v.session_id ORDER BY v.external_id",
        kinds=list(kinds),
        **parameters,
    )
    return [
        Covered(
            row["memory_id"],
            row["content_id"],
            row["external_id"],
            row["session_id"],
            frozenset(zip(row["ids"] or (), row["contents"] or (), strict=True)),
        )
        for row in rows
    ]


def vectors(tx: Transaction, content_ids: Iterable[int]) -> dict[int, np.ndarray]:
    """The vectors of some texts, float32 of length 1."""
    rows = tx.tuples(
        "SELECT id, embedding FROM contents WHERE tenant_id = :tenant AND id = ANY(:ids) AND embedding IS NOT NULL",
        ids=list(content_ids),
    )
    if not rows:
        return {}
    found = np.stack([row[1].to_numpy() for row in rows]).astype(np.float32)
    # Half precision makes them a little longer or shorter than they were.
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    return {row[0]: vector for row, vector in zip(rows, found, strict=True)}


def facts_from(tx: Transaction, view: View, memory_ids: Iterable[UUID]) -> dict[UUID, list[str]]:
    """The texts of the recallable facts that were derived from each of these memories."""
    ids = list(memory_ids)
    holders = tx.rows(
        "SELECT DISTINCT memory_id FROM memory_sources WHERE tenant_id = :tenant AND cube_id = :cube "
        "AND source_memory_id = ANY(:ids)",
        cube=view.cube.id,
        ids=ids,
    )
    source, parameters = visible(view, "o.memory_id = ANY(:holders)")
    rows = tx.rows(
        f"SELECT s.source_memory_id, c.text FROM {source} v {_JOIN} JOIN memory_sources s ON s.tenant_id = v.tenant_id "
        "AND s.cube_id = v.cube_id AND s.memory_id = v.memory_id AND s.version = v.version "
        f"AND s.source_memory_id = ANY(:ids) WHERE {SHOWN} AND v.kind = 'fact' AND c.text IS NOT NULL "
        "AND v.state IN ('generated', 'activated', 'frozen') ORDER BY v.memory_id",
        holders=[row["memory_id"] for row in holders],
        ids=ids,
        **parameters,
    )
    found: dict[UUID, list[str]] = {}
    for row in rows:
        found.setdefault(row["source_memory_id"], []).append(row["text"])
    return found


@dataclass(frozen=True, slots=True)
class Mergeable:
    """A memory that may repeat another. `fresh` ones were written since the last run looked; only they have their text."""

    version_id: int
    memory_id: UUID
    kind: str
    state: str
    speaker: str
    content_id: int
    text: str | None
    created_at: datetime
    trust: float
    tags: list[str]
    recalls: int
    fresh: bool


def newest(tx: Transaction, view: View, since_version_id: int) -> tuple[int, list[str]]:
    """The last version a branch wrote, and the sessions in which something was said after `since_version_id`."""
    row = tx.row(
        "SELECT max(id) AS id, array_agg(DISTINCT session_id) FILTER (WHERE kind = 'turn' AND session_id IS NOT NULL "
        "AND state IN ('generated', 'activated', 'frozen')) AS sessions FROM memory_versions "
        "WHERE tenant_id = :tenant AND branch_id = :branch AND to_revision IS NULL AND id > :since",
        branch=view.branch.id,
        since=since_version_id,
    )
    return (since_version_id, []) if row is None or row["id"] is None else (row["id"], row["sessions"] or [])


def mergeable(tx: Transaction, view: View, since_version_id: int) -> list[Mergeable]:
    """Everything current that can be recalled and folded, in order of writing: turns, passages and facts."""
    source, parameters = visible(view, "o.kind IN ('turn', 'passage', 'fact')")
    rows = tx.tuples(
        "SELECT v.id, v.memory_id, v.kind, v.state, coalesce(v.name, v.role, ''), v.content_id, "
        "CASE WHEN v.id > :since THEN c.text END, v.created_at, v.trust, v.tags, coalesce(u.recalls, 0), v.id > :since "
        f"FROM {source} v {_JOIN} "
        "LEFT JOIN usage u ON u.tenant_id = v.tenant_id AND u.cube_id = v.cube_id AND u.memory_id = v.memory_id "
        f"WHERE {SHOWN} AND v.state IN ('generated', 'activated', 'frozen') AND v.valid_to IS NULL "
        "AND v.content_id IS NOT NULL ORDER BY v.id",
        since=since_version_id,
        **parameters,
    )
    return [Mergeable(*row) for row in rows]


def shown(tx: Transaction, view: View, memory_ids: Iterable[UUID]) -> dict[UUID, tuple[int, str]]:
    """Version and state of some memories, without their texts; absent ones are missing."""
    source, parameters = visible(view, "o.memory_id = ANY(:ids)")
    rows = tx.tuples(
        f"SELECT v.memory_id, v.version, v.state FROM {source} v WHERE {SHOWN}", ids=list(memory_ids), **parameters
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def last_versions(tx: Transaction, cube_id: UUID, memory_ids: Iterable[UUID]) -> Mapping[UUID, int]:
    """The highest version number of each memory, on any branch."""
    rows = tx.tuples(
        "SELECT id, last_version FROM memories WHERE tenant_id = :tenant AND cube_id = :cube AND id = ANY(:ids)",
        cube=cube_id,
        ids=list(memory_ids),
    )
    return {row[0]: row[1] for row in rows}
