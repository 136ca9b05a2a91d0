"""The sections of a package: which tables a cube lies in, and how their rows are read and written.

They stand in an order in which they can be written again. Ids that a database gives (of branches, texts and versions) travel as
numbers counted within the cube, so that a package tells nothing of other tenants and fits any database. What the indexes of the
present hold is not among them: they are rebuilt from the versions. A table that belongs to a cube and should travel with it is
one more `Section`, before `receipt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from memos.store.erasure import names_memory


def _numbered(table: str) -> str:
    """SQL: the rows of a cube in a table, with their numbers (`n`) beside their ids."""
    return f"(SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM {table} WHERE tenant_id = :tenant AND cube_id = :cube)"


_BRANCHES, _CONTENTS, _VERSIONS = (_numbered(table) for table in ("branches", "contents", "memory_versions"))
_OF_CUBE = "o.tenant_id = :tenant AND o.cube_id = :cube"
_BY_CONTENT = f"JOIN {_CONTENTS} c ON c.id = o.content_id"
_NOT_GONE = "NOT o.memory_id = ANY(:gone)"
_TEXT_STAYS = (
    "NOT EXISTS (SELECT 1 FROM contents t WHERE t.tenant_id = :tenant AND t.id = o.content_id "
    "AND t.memory_id = ANY(:gone))"
)
_NO_ENTITY_GONE = "NOT o.entity_id = ANY(:entities) AND NOT o.means_id = ANY(:entities)"


@dataclass(frozen=True, slots=True)
class Section:
    """A table's part of a package. `columns` are those of its rows with their types; `mapped` says which of them hold
    numbers, and of what. `read` yields the columns, or one named `body` that holds the row as JSON; in it the table is `o`, and
    `:gone` are the memories that may not leave."""

    name: str
    table: str
    columns: Mapping[str, str]
    read: str
    mapped: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    of_cube: bool = True
    conflict: str = ""

    def insert(self) -> str:
        names = ", ".join(self.columns)
        cube = ("cube_id, ", "CAST(:cube AS uuid), ") if self.of_cube else ("", "")
        return (
            f"INSERT INTO {self.table} (tenant_id, {cube[0]}{names}) "
            f"SELECT :tenant, {cube[1]}{', '.join('r.' + name for name in self.columns)} "
            f"FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r ({', '.join(f'{n} {t}' for n, t in self.columns.items())}) "
            + self.conflict
        )


def _plain(columns: Mapping[str, str], *, but: Sequence[str] = ()) -> str:
    return ", ".join(f"o.{name}" for name in columns if name not in but)


_REVISION = {
    "number": "integer", "branch_id": "integer", "parent": "integer", "merged_from": "integer", "kind": "text",
    "author": "uuid", "reason": "text", "created_at": "timestamptz", "added": "integer", "changed": "integer",
    "removed": "integer", "changes": "bytea", "hash": "bytea",
}  # fmt: skip
_SOURCE = {
    "memory_id": "uuid", "version": "integer", "source_memory_id": "uuid", "source_version": "integer", "relation": "text",
}  # fmt: skip
_LINK = {"memory_id": "uuid", "version": "integer", "other_id": "uuid", "relation": "text"}
_ENTITY = {"id": "uuid", "key": "text", "name": "text", "split_off": "boolean", "created_at": "timestamptz"}
_MENTION = {"content_id": "bigint", "entity_id": "uuid", "name": "text", "type": "text", "confidence": "real"}
_CLAIM = {
    "content_id": "bigint", "position": "smallint", "subject_key": "text", "attribute_key": "text", "subject_id": "uuid",
    "object_id": "uuid", "confidence": "real", "body": "jsonb",
}  # fmt: skip
_READING = {"content_id": "bigint", "reader": "text", "read_at": "timestamptz"}
_IDENTITY = {
    "branch_id": "integer", "entity_id": "uuid", "memory_id": "uuid", "means_id": "uuid", "from_revision": "integer",
    "to_revision": "integer",
}  # fmt: skip
_CURSOR = {"branch_id": "integer", "task": "text", "revision": "integer", "version_id": "bigint"}
_USAGE = {
    "memory_id": "uuid", "recalls": "integer", "repeats": "integer", "last_recalled_at": "timestamptz",
    "stability_days": "real", "recent": "timestamptz[]", "weighted_recalls": "real",
}  # fmt: skip
_TRANSITION = {
    "memory_id": "uuid", "version": "integer", "branch_id": "integer", "revision": "integer", "from_state": "text",
    "to_state": "text", "action": "text", "at": "timestamptz",
}  # fmt: skip
_DECISION = {
    "id": "uuid", "branch": "text", "job_id": "uuid", "kind": "text", "memory_id": "uuid", "outcome": "text",
    "score": "double precision", "inputs": "jsonb", "reason": "text", "policy_version": "text", "applied": "boolean",
    "revision": "integer", "decided_at": "timestamptz",
}  # fmt: skip
_RECEIPT = {
    "id": "uuid", "job_id": "uuid", "requested_by": "uuid", "requested_at": "timestamptz", "signed_at": "timestamptz",
    "public_key": "bytea", "body": "jsonb",
}  # fmt: skip
_TAG = {"name": "text", "revision": "integer", "created_at": "timestamptz"}
_MEMORY = {"id": "uuid", "last_version": "integer", "created_at": "timestamptz", "erased_at": "timestamptz"}
_MARK = {"mark": "bytea", "key_id": "bytea", "made_at": "timestamptz"}

# Sections with tables written by `insert`; branches, contents and versions have ways of their own, see `Import`.
SECTIONS: Final = (
    Section(
        "branch",
        "branches",
        {"id": "integer", "name": "text", "base_branch_id": "integer", "fork_revision": "integer",
         "head_revision": "integer", "created_at": "timestamptz", "deleted_at": "timestamptz"},
        f"SELECT b.n AS id, o.name, p.n AS base_branch_id, o.fork_revision, o.head_revision, o.created_at, o.deleted_at "
        f"FROM branches o JOIN {_BRANCHES} b ON b.id = o.id LEFT JOIN {_BRANCHES} p ON p.id = o.base_branch_id "
        f"WHERE {_OF_CUBE} ORDER BY o.id",
    ),
    Section(
        "revision", "revisions", _REVISION,
        f"SELECT b.n AS branch_id, {_plain(_REVISION, but=['branch_id'])} FROM revisions o JOIN {_BRANCHES} b "
        f"ON b.id = o.branch_id WHERE {_OF_CUBE} ORDER BY o.number",
        {"branch_id": "branch"},
    ),
    Section("tag", "revision_tags", _TAG, f"SELECT {_plain(_TAG)} FROM revision_tags o WHERE {_OF_CUBE} ORDER BY o.name"),
    Section(
        "memory", "memories", _MEMORY,
        "SELECT o.id, o.last_version, o.created_at, CASE WHEN o.id = ANY(:gone) THEN coalesce(o.erased_at, :now) "
        f"ELSE o.erased_at END AS erased_at FROM memories o WHERE {_OF_CUBE} ORDER BY o.id",
    ),
    Section(
        "content", "contents", {},
        # Said by whom, when and under what title: what a model reads besides the text, from the first version that has it.
        "SELECT c.n AS id, o.memory_id, o.text, o.tokens, o.erased_at, v.title, coalesce(v.name, v.role) AS speaker, "
        "v.created_at AS said_at, CASE WHEN :vectors THEN replace(encode(halfvec_send(o.embedding), 'base64'), E'\\n', '') "
        f"END AS vector FROM contents o JOIN {_CONTENTS} c ON c.id = o.id LEFT JOIN LATERAL (SELECT f.title, f.name, f.role, "
        "f.created_at FROM memory_versions f WHERE f.tenant_id = :tenant AND f.content_id = o.id ORDER BY f.id LIMIT 1) v "
        f"ON true WHERE {_OF_CUBE} ORDER BY o.id",
    ),
    Section(
        "version", "memory_versions", {},
        # Every column there is, whatever migrations have added.
        "SELECT o.memory_id, to_jsonb(o) - ARRAY['tenant_id', 'cube_id'] || jsonb_build_object('id', v.n, 'branch_id', b.n, "
        f"'content_id', c.n, 'previous_id', p.n) AS body FROM memory_versions o JOIN {_VERSIONS} v ON v.id = o.id "
        f"JOIN {_BRANCHES} b ON b.id = o.branch_id LEFT JOIN {_CONTENTS} c ON c.id = o.content_id "
        f"LEFT JOIN {_VERSIONS} p ON p.id = o.previous_id WHERE {_OF_CUBE} ORDER BY o.id",
        {"branch_id": "branch", "content_id": "content", "id": "version", "previous_id": "version"},
    ),
    Section(
        "source", "memory_sources", _SOURCE,
        f"SELECT {_plain(_SOURCE)} FROM memory_sources o WHERE {_OF_CUBE} AND {_NOT_GONE} "
        "AND NOT o.source_memory_id = ANY(:gone) "
        "ORDER BY o.memory_id, o.version, o.source_memory_id, o.source_version, o.relation",
    ),
    Section(
        "link", "links", _LINK,
        f"SELECT {_plain(_LINK)} FROM links o WHERE {_OF_CUBE} AND {_NOT_GONE} AND NOT o.other_id = ANY(:gone) "
        "ORDER BY o.memory_id, o.version, o.other_id, o.relation",
    ),
    Section(
        "entity", "entities", _ENTITY,
        f"SELECT {_plain(_ENTITY)} FROM entities o WHERE {_OF_CUBE} AND NOT o.id = ANY(:entities) ORDER BY o.id",
    ),
    Section(
        "mention", "mentions", _MENTION,
        f"SELECT c.n AS content_id, {_plain(_MENTION, but=['content_id'])} FROM mentions o {_BY_CONTENT} "
        f"WHERE {_OF_CUBE} AND {_TEXT_STAYS} ORDER BY o.content_id, o.entity_id, o.name",
        {"content_id": "content"},
    ),
    Section(
        "claim", "claims", _CLAIM,
        f"SELECT c.n AS content_id, {_plain(_CLAIM, but=['content_id'])} FROM claims o {_BY_CONTENT} "
        f"WHERE {_OF_CUBE} AND {_TEXT_STAYS} ORDER BY o.content_id, o.position",
        {"content_id": "content"},
    ),
    Section(
        "reading", "readings", _READING,
        f"SELECT c.n AS content_id, {_plain(_READING, but=['content_id'])} FROM readings o {_BY_CONTENT} "
        f"WHERE {_OF_CUBE} AND {_TEXT_STAYS} ORDER BY o.content_id",
        {"content_id": "content"},
    ),
    Section(
        "identity", "identities", _IDENTITY,
        f"SELECT b.n AS branch_id, {_plain(_IDENTITY, but=['branch_id'])} FROM identities o JOIN {_BRANCHES} b "
        f"ON b.id = o.branch_id WHERE {_OF_CUBE} AND (o.memory_id IS NULL OR {_NOT_GONE}) AND {_NO_ENTITY_GONE} ORDER BY o.id",
        {"branch_id": "branch"},
    ),
    Section(
        "cursor", "cursors", _CURSOR,
        "SELECT b.n AS branch_id, o.task, o.revision, (SELECT max(v.n) FROM "
        f"{_VERSIONS} v WHERE v.id <= o.version_id) AS version_id FROM cursors o JOIN {_BRANCHES} b ON b.id = o.branch_id "
        "WHERE o.tenant_id = :tenant ORDER BY o.branch_id, o.task",
        {"branch_id": "branch", "version_id": "version"},
        of_cube=False,
    ),
    Section(
        "usage", "usage", _USAGE,
        f"SELECT {_plain(_USAGE)} FROM usage o WHERE {_OF_CUBE} AND {_NOT_GONE} AND :usage ORDER BY o.memory_id",
    ),
    Section(
        "transition", "transitions", _TRANSITION,
        f"SELECT b.n AS branch_id, {_plain(_TRANSITION, but=['branch_id'])} FROM transitions o JOIN {_BRANCHES} b "
        f"ON b.id = o.branch_id WHERE {_OF_CUBE} ORDER BY o.id",
        {"branch_id": "branch"},
    ),
    Section(
        "decision", "decisions", _DECISION,
        f"SELECT {_plain(_DECISION)} FROM decisions o WHERE {_OF_CUBE} AND :decisions "
        "AND (cardinality(CAST(:gone AS uuid[])) = 0 OR NOT (coalesce(o.memory_id = ANY(:gone), false) "
        f"OR {names_memory('o.inputs').replace(':ids', ':gone')})) ORDER BY o.id",
    ),
    Section(
        "receipt", "receipts", _RECEIPT,
        f"SELECT {_plain(_RECEIPT)} FROM receipts o WHERE {_OF_CUBE} AND o.body IS NOT NULL ORDER BY o.id",
        conflict="ON CONFLICT (tenant_id, id) DO NOTHING",
    ),
    Section("mark", "erasure_marks", _MARK, f"SELECT {_plain(_MARK)} FROM erasure_marks o WHERE {_OF_CUBE} ORDER BY o.mark"),
)  # fmt: skip
BY_NAME: Final = {section.name: section for section in SECTIONS}
