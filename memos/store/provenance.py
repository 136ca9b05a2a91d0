"""What a version was made from, and which other memories it is linked to: rows that hang on versions.

A version that only restates another (a rollback, a new state, a closed window) keeps its sources and links, because the
text they explain is still the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from memos.rules.header import Source
from memos.store.cubes import View
from memos.store.memories import SHOWN, Version, visible
from memos.store.transaction import Transaction


class Relation(StrEnum):
    """How a memory stands to another. Each end of a supersession or contradiction keeps a link of its own."""

    SUPERSEDES = "supersedes"
    SUPERSEDED_BY = "superseded-by"
    CONTRADICTS = "contradicts"
    SIMILAR = "similar"


@dataclass(frozen=True, slots=True)
class Link:
    """From the version that holds it to another memory."""

    other_id: UUID
    relation: Relation


@dataclass(frozen=True, slots=True)
class Origins:
    """What a new version brings. Without sources or links of its own it keeps those of `stated`, an earlier version."""

    memory_id: UUID
    version: int
    sources: Sequence[Source]
    links: Sequence[Link] | None
    stated: int | None


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A link as a view shows it."""

    memory_id: UUID
    other_id: UUID
    relation: Relation


def write(tx: Transaction, cube_id: UUID, origins: Sequence[Origins]) -> None:
    """Store the sources and links of versions that were just written."""
    sources = [
        {"memory_id": str(o.memory_id), "version": o.version, "other": str(s.memory_id), "number": s.version,
         "relation": s.relation}
        for o in origins for s in o.sources
    ]  # fmt: skip
    links = [
        {"memory_id": str(o.memory_id), "version": o.version, "other": str(link.other_id), "relation": link.relation}
        for o in origins for link in o.links or ()
    ]  # fmt: skip
    kept_sources = [_restated(o) for o in origins if o.stated is not None and not o.sources]
    kept_links = [_restated(o) for o in origins if o.stated is not None and o.links is None]
    for statement, records in (
        (INSERT_SOURCES, sources),
        (INSERT_LINKS, links),
        (KEEP_SOURCES, kept_sources),
        (KEEP_LINKS, kept_links),
    ):
        if records:
            tx.run(statement, cube=cube_id, records=json.dumps(records))


def links_of(tx: Transaction, view: View, memory_ids: Iterable[UUID]) -> list[LinkRow]:
    """Links from or to these memories, held by versions that the view shows, in a fixed order."""
    ids = list(memory_ids)
    held = tx.rows(
        "SELECT DISTINCT memory_id FROM links WHERE tenant_id = :tenant AND cube_id = :cube "
        "AND (memory_id = ANY(:ids) OR other_id = ANY(:ids))",
        cube=view.cube.id,
        ids=ids,
    )
    source, parameters = visible(view, "o.memory_id = ANY(:holders)")
    rows = tx.rows(
        f"SELECT l.memory_id, l.other_id, l.relation FROM {source} v JOIN links l ON l.tenant_id = v.tenant_id "
        "AND l.cube_id = v.cube_id AND l.memory_id = v.memory_id AND l.version = v.version "
        f"WHERE {SHOWN} AND (l.memory_id = ANY(:ids) OR l.other_id = ANY(:ids)) "
        "ORDER BY l.memory_id, l.other_id, l.relation",
        holders=[row["memory_id"] for row in held],
        ids=ids,
        **parameters,
    )
    return [LinkRow(row["memory_id"], row["other_id"], Relation(row["relation"])) for row in rows]


def sources_of(tx: Transaction, view: View, memory_ids: Iterable[UUID]) -> dict[UUID, list[Source]]:
    """What each memory was made from, as the view shows it; memories without sources are missing."""
    source, parameters = visible(view, "o.memory_id = ANY(:ids)")
    rows = tx.rows(
        f"SELECT v.memory_id, s.source_memory_id, s.source_version, s.relation FROM {source} v JOIN memory_sources s "
        "ON s.tenant_id = v.tenant_id AND s.cube_id = v.cube_id AND s.memory_id = v.memory_id AND s.version = v.version "
        f"WHERE {SHOWN} ORDER BY v.memory_id, s.source_memory_id, s.source_version, s.relation",
        ids=list(memory_ids),
        **parameters,
    )
    found: dict[UUID, list[Source]] = {}
    for row in rows:
        found.setdefault(row["memory_id"], []).append(
            Source(row["source_memory_id"], row["source_version"], row["relation"])
        )
    return found


def made_from_earlier(tx: Transaction, view: View, edited: Sequence[Version]) -> list[UUID]:
    """Facts that were derived from an earlier text of these memories."""
    rows = tx.rows(
        "SELECT DISTINCT s.memory_id FROM unnest(CAST(:ids AS uuid[]), CAST(:contents AS bigint[])) AS e (id, content) "
        "JOIN memory_sources s ON s.tenant_id = :tenant AND s.cube_id = :cube AND s.source_memory_id = e.id "
        "JOIN memory_versions o ON o.tenant_id = :tenant AND o.cube_id = :cube AND o.memory_id = e.id "
        "AND o.version = s.source_version AND o.content_id <> e.content "
        "JOIN memory_versions d ON d.tenant_id = :tenant AND d.cube_id = :cube AND d.memory_id = s.memory_id "
        "AND d.version = s.version AND d.kind = 'fact' AND d.origin = 'derived'",
        cube=view.cube.id,
        ids=[version.memory_id for version in edited],
        contents=[version.content_id for version in edited],
    )
    return [row["memory_id"] for row in rows]


def _restated(origins: Origins) -> dict[str, object]:
    return {"memory_id": str(origins.memory_id), "version": origins.version, "stated": origins.stated}


INSERT_SOURCES = (
    "INSERT INTO memory_sources (tenant_id, cube_id, memory_id, version, source_memory_id, source_version, relation) "
    "SELECT DISTINCT :tenant, CAST(:cube AS uuid), r.memory_id, r.version, r.other, r.number, r.relation "
    "FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r (memory_id uuid, version integer, other uuid, "
    "number integer, relation text)"
)
INSERT_LINKS = (
    "INSERT INTO links (tenant_id, cube_id, memory_id, version, other_id, relation) "
    "SELECT DISTINCT :tenant, CAST(:cube AS uuid), r.memory_id, r.version, r.other, r.relation "
    "FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r (memory_id uuid, version integer, other uuid, relation text)"
)
_STATED = "FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r (memory_id uuid, version integer, stated integer) "
_OF_STATED = "ON s.tenant_id = :tenant AND s.cube_id = CAST(:cube AS uuid) AND s.memory_id = r.memory_id AND s.version = r.stated"
KEEP_SOURCES = (
    "INSERT INTO memory_sources (tenant_id, cube_id, memory_id, version, source_memory_id, source_version, relation) "
    "SELECT s.tenant_id, s.cube_id, s.memory_id, r.version, s.source_memory_id, s.source_version, s.relation "
    f"{_STATED} JOIN memory_sources s {_OF_STATED}"
)
KEEP_LINKS = (
    "INSERT INTO links (tenant_id, cube_id, memory_id, version, other_id, relation, weight) "
    "SELECT s.tenant_id, s.cube_id, s.memory_id, r.version, s.other_id, s.relation, s.weight "
    f"{_STATED} JOIN links s {_OF_STATED}"
)
