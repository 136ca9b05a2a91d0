"""The sections of a package: which tables a cube lies in, and how their rows are read and written.

They stand in an order in which they can be written again. A row travels with every column it has, whatever migrations have added.
Ids that a database gives (of branches, texts and versions) travel as numbers counted within the cube, so that a package tells
nothing of other tenants and fits any database. What the indexes of the present hold is not among them: they are rebuilt from the
versions. A table that belongs to a cube and should travel with it is one more `Section`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from memos.store.erasure import names_memory

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Section:
    """A table's part of a package. `read` yields a column `body` that holds a row as JSON, and for texts and versions a column
    `owner`, their memory; in it the table is `o`, and `:gone` are the memories that may not leave. `mapped` says which members
    hold numbers, and of what. `defaults` stand in for columns that a package does not know."""

    name: str
    table: str
    read: str
    mapped: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    conflict: str = ""
    defaults: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    native: bool = False
    """Whether only the tenant it came from may take it in: it names keys and tenants."""

    def insert(self) -> str:
        return (
            f"INSERT INTO {self.table} OVERRIDING USER VALUE "
            f"SELECT r.* FROM jsonb_populate_recordset(CAST(NULL AS {self.table}), CAST(:records AS jsonb)) AS r {self.conflict}"
        )


_COUNTED = {
    "branch": "branches",
    "content": "contents",
    "version": "memory_versions",
}


def _numbered(kind: str) -> str:
    """SQL: the rows of a cube in a table, with their numbers (`n`) beside their ids."""
    return (
        f"(SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM {_COUNTED[kind]} "
        "WHERE tenant_id = :tenant AND cube_id = :cube)"
    )


def _read(
    table: str,
    order: str,
    where: str = "true",
    mapped: Mapping[str, str] = _NOTHING,
    *,
    cube: bool = True,
    change: str = "",
) -> str:
    """SQL for whole rows, their `mapped` columns as numbers. `change` is SQL that is appended to the JSON of a row."""
    joins, numbers = "", []
    for place, (column, kind) in enumerate(mapped.items()):
        joins += f" LEFT JOIN {_numbered(kind)} n{place} ON n{place}.id = o.{column}"
        numbers.append(f"'{column}', n{place}.n")
    named = f" || jsonb_build_object({', '.join(numbers)})" if numbers else ""
    owner = "o.memory_id" if table in {"contents", "memory_versions"} else "CAST(NULL AS uuid)"
    of_cube = "o.tenant_id = :tenant AND o.cube_id = :cube" if cube else "o.tenant_id = :tenant AND n0.n IS NOT NULL"
    return (
        f"SELECT {owner} AS owner, to_jsonb(o) - ARRAY['tenant_id', 'cube_id']{named}{change} AS body FROM {table} o{joins} "
        f"WHERE {of_cube} AND {where} ORDER BY {order}"
    )


_BRANCH: Final = {"branch_id": "branch"}
_CONTENT: Final = {"content_id": "content"}
_VERSION: Final = {"branch_id": "branch", "content_id": "content", "id": "version", "previous_id": "version"}
_CURSOR: Final = {"branch_id": "branch"}
_NOT_GONE = "NOT o.memory_id = ANY(:gone)"
_TEXT_STAYS = (
    "NOT EXISTS (SELECT 1 FROM contents t WHERE t.tenant_id = :tenant AND t.id = o.content_id "
    "AND t.memory_id = ANY(:gone))"
)
_NAMES_STAY = "NOT o.entity_id = ANY(:entities) AND NOT o.means_id = ANY(:entities)"
_NOT_NAMED = (
    "(cardinality(CAST(:gone AS uuid[])) = 0 OR NOT (coalesce(o.memory_id = ANY(:gone), false) "
    f"OR {names_memory('o.inputs').replace(':ids', ':gone')}))"
)
_BRANCHES = _read(
    "branches",
    "o.id",
    mapped={"id": "branch", "base_branch_id": "branch"},
    change=" - ARRAY['live_count', 'term_total']",
)
_TEXTS = (
    # Said by whom and under what title: what a model reads besides the text, from the first version that has it.
    "SELECT o.memory_id AS owner, jsonb_build_object('id', c.n, 'memory_id', o.memory_id, 'text', o.text, 'tokens', o.tokens, "
    "'erased_at', o.erased_at, 'title', v.title, 'speaker', coalesce(v.name, v.role), 'vector', CASE WHEN :vectors THEN "
    f"replace(encode(halfvec_send(o.embedding), 'base64'), E'\\n', '') END) AS body FROM contents o "
    f"JOIN {_numbered('content')} c ON c.id = o.id "
    "LEFT JOIN LATERAL (SELECT f.title, f.name, f.role FROM memory_versions f WHERE f.tenant_id = :tenant "
    "AND f.content_id = o.id ORDER BY f.id LIMIT 1) v ON true WHERE o.tenant_id = :tenant AND o.cube_id = :cube ORDER BY o.id"
)
_CURSORS = _read(
    "cursors", "o.branch_id, o.task", mapped=_CURSOR, cube=False,
    change=f" || jsonb_build_object('version_id', (SELECT max(v.n) FROM {_numbered('version')} v WHERE v.id <= o.version_id))",
)  # fmt: skip
_REDACTED = (
    " || CASE WHEN o.id = ANY(:gone) THEN jsonb_build_object('erased_at', coalesce(o.erased_at, :now)) ELSE '{}' END"
)

# Branches, texts and versions are written in ways of their own, see `packages.Import`.
SECTIONS: Final = (
    Section("branch", "branches", _BRANCHES),
    Section("revision", "revisions", _read("revisions", "o.number", mapped=_BRANCH), _BRANCH),
    Section("tag", "revision_tags", _read("revision_tags", "o.name")),
    Section("memory", "memories", _read("memories", "o.id", change=_REDACTED)),
    Section("content", "contents", _TEXTS),
    Section(
        "version", "memory_versions", _read("memory_versions", "o.id", mapped=_VERSION), _VERSION,
        defaults={"quarantined": False},
    ),
    Section(
        "source", "memory_sources",
        _read("memory_sources", "o.memory_id, o.version, o.source_memory_id, o.source_version, o.relation",
              f"{_NOT_GONE} AND NOT o.source_memory_id = ANY(:gone)"),
    ),
    Section(
        "link", "links",
        _read("links", "o.memory_id, o.version, o.other_id, o.relation", f"{_NOT_GONE} AND NOT o.other_id = ANY(:gone)"),
    ),
    Section("entity", "entities", _read("entities", "o.id", "NOT o.id = ANY(:entities)")),
    Section("mention", "mentions", _read("mentions", "o.content_id, o.entity_id, o.name", _TEXT_STAYS, _CONTENT), _CONTENT),
    Section("claim", "claims", _read("claims", "o.content_id, o.position", _TEXT_STAYS, _CONTENT), _CONTENT),
    Section("reading", "readings", _read("readings", "o.content_id", _TEXT_STAYS, _CONTENT), _CONTENT),
    Section(
        "identity", "identities",
        _read("identities", "o.id", f"(o.memory_id IS NULL OR {_NOT_GONE}) AND {_NAMES_STAY}", _BRANCH), _BRANCH,
    ),
    Section("cursor", "cursors", _CURSORS, {"branch_id": "branch", "version_id": "version"}),
    Section(
        "usage", "usage",
        # KV stays behind, and so does the tier it made.
        _read("usage", "o.memory_id", f"{_NOT_GONE} AND :usage", change=" || jsonb_build_object('tier', 'plaintext')"),
    ),
    Section("transition", "transitions", _read("transitions", "o.id", mapped=_BRANCH), _BRANCH),
    Section("decision", "decisions", _read("decisions", "o.id", f":decisions AND {_NOT_NAMED}")),
    Section(
        "receipt", "receipts", _read("receipts", "o.id", "o.body IS NOT NULL"),
        conflict="ON CONFLICT (tenant_id, id) DO NOTHING",
    ),
    Section("mark", "erasure_marks", _read("erasure_marks", "o.mark")),
    # Of other parts of the service; without the part there is no table, and no row.
    Section("quarantine", "quarantine", _read("quarantine", "o.memory_id, o.version", _NOT_GONE)),
    Section("hold", "holds", _read("holds", "o.id", f"(o.memory_id IS NULL OR {_NOT_GONE})")),
    Section("grant", "grants", _read("grants", "o.id"), native=True),
)  # fmt: skip
BY_NAME: Final = {section.name: section for section in SECTIONS}
