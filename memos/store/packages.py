"""A cube as rows of a package, and rows of a package as a cube: see `package_sections` for what they are."""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
from pgvector import HalfVector

from memos.store.package_sections import Section
from memos.store.transaction import Transaction
from memos.store.version_rows import INSERT_CONTENTS, fresh_ids

WRITE_TIMEOUT_S: Final = 1_800
"""A large cube takes minutes to read or write whole; no other statement may."""


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Selection:
    """What leaves: the profile's switches, the memories that must not, and the entities only they name."""

    vectors: bool
    usage: bool
    decisions: bool
    gone: Collection[UUID]
    entities: Collection[UUID]
    now: Any


def rows(tx: Transaction, cube_id: UUID, section: Section, selection: Selection) -> Iterator[tuple[UUID | None, str]]:
    """(the memory a row belongs to, the row as JSON), without holding them all."""
    parameters: dict[str, object] = {
        "vectors": selection.vectors, "usage": selection.usage, "decisions": selection.decisions,
        "gone": list(selection.gone), "entities": list(selection.entities), "now": selection.now,
    }  # fmt: skip
    used = {name: value for name, value in parameters.items() if f":{name}" in section.read}
    for row in tx.stream(f"SELECT r.owner, CAST(r.body AS text) AS body FROM ({section.read}) r", cube=cube_id, **used):
        yield row["owner"], row["body"]


def tables(tx: Transaction) -> set[str]:
    """The tables this database has."""
    found = tx.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in found}


def see_everything(tx: Transaction) -> None:
    """A package must hold every version, or its chain would not verify: what may not leave is emptied, not left out. So the
    transaction looks past what its caller may be shown; the profile is what limits the package."""
    tx.run("SELECT set_config('memos.sight', '', true), set_config('memos.clearance', '', true)")


def sensitive(tx: Transaction, cube_id: UUID, labels: Sequence[str]) -> list[UUID]:
    """Memories with a version, on any branch and at any time, that carries one of the labels or an unknown one."""
    found = tx.rows(
        "SELECT DISTINCT memory_id FROM memory_versions WHERE tenant_id = :tenant AND cube_id = :cube AND erased_at IS NULL "
        "AND (sensitivity = ANY(:labels) OR NOT sensitivity = ANY(ARRAY['public', 'normal', 'personal', 'secret']))",
        cube=cube_id,
        labels=list(labels),
    )
    return [row["memory_id"] for row in found]


def content_ids(tx: Transaction, cube_id: UUID, memory_ids: Collection[UUID]) -> list[int]:
    found = tx.rows(
        "SELECT id FROM contents WHERE tenant_id = :tenant AND cube_id = :cube AND memory_id = ANY(:ids)",
        cube=cube_id,
        ids=list(memory_ids),
    )
    return [row["id"] for row in found]


def revision_hashes(tx: Transaction, cube_id: UUID, upto: int) -> Iterator[tuple[int, bytes]]:
    """(number, hash) of a cube's revisions, oldest first."""
    for row in tx.stream(
        "SELECT number, hash FROM revisions WHERE tenant_id = :tenant AND cube_id = :cube AND number <= :upto ORDER BY number",
        cube=cube_id,
        upto=upto,
    ):
        yield int(row["number"]), bytes(row["hash"])


def header(tx: Transaction, cube_id: UUID) -> dict[str, Any]:
    """The cube's own row, as JSON has it."""
    row = tx.row(
        "SELECT to_jsonb(r) AS body FROM (SELECT id, name, description, policy, last_revision, created_at, decayed_at, "
        "promoted_at FROM cubes WHERE tenant_id = :tenant AND id = :cube) r",
        cube=cube_id,
    )
    assert row is not None  # noqa: S101 - the caller has found it in the same snapshot
    return dict(row["body"])


def erased_before(tx: Transaction, cube_id: UUID) -> set[UUID]:
    """Memories that a receipt of this tenant says were erased from the cube, whether or not the cube is still there."""
    found = tx.rows(
        "SELECT DISTINCT CAST(leaf ->> 0 AS uuid) AS id FROM receipts, "
        "jsonb_array_elements(body -> 'tombstones' -> 'leaves') AS leaf "
        "WHERE tenant_id = :tenant AND cube_id = :cube AND body IS NOT NULL",
        cube=cube_id,
    )
    return {row["id"] for row in found}


# ---------------------------------------------------------------- writing


@dataclass(frozen=True, slots=True)
class ContentRow:
    """A text on its way in; `text` of None is an erased one."""

    memory_id: UUID
    text: str | None
    sha256: bytes | None
    embedding: np.ndarray | None
    terms: Mapping[str, int]
    tokens: int
    erased_at: str | None


class Import:
    """Writes one cube, section by section, in one transaction. Holds eight bytes for each text and version."""

    def __init__(self, tx: Transaction, cube: Mapping[str, Any], name: str) -> None:
        self.tx = tx
        self.cube_id = UUID(str(cube["id"]))
        self._ids: dict[str, array[int]] = {kind: array("q") for kind in ("branch", "content", "version")}
        tx.run(f"SET LOCAL statement_timeout = '{WRITE_TIMEOUT_S}s'")
        tx.run(
            "INSERT INTO cubes (tenant_id, id, name, description, policy, last_revision, created_at, decayed_at, promoted_at) "
            "SELECT :tenant, id, :name, coalesce(description, ''), coalesce(policy, '{}'), last_revision, created_at, "
            "decayed_at, promoted_at FROM jsonb_to_record(CAST(:cube AS jsonb)) AS r (id uuid, description text, policy jsonb, "
            "last_revision integer, created_at timestamptz, decayed_at timestamptz, promoted_at timestamptz)",
            name=name,
            cube=json.dumps(dict(cube)),
        )

    def write(self, section: Section, bodies: Sequence[Mapping[str, Any]]) -> None:
        """Rows of a section other than `content`, in the order of the package."""
        if section.name == "branch":
            for body in bodies:
                self._branch(body)
            return
        statement, bound = section.insert(), {}
        if section.name == "version":
            self._ids["version"].extend(fresh_ids(self.tx, "memory_versions", len(bodies)))
            statement = "SELECT memos_import_versions(CAST(:cube AS uuid), CAST(:records AS jsonb))"
            bound = {"cube": self.cube_id}
        self.tx.run(statement, records=json.dumps([self._mapped(section, body) for body in bodies]), **bound)

    def write_contents(self, contents: Sequence[ContentRow]) -> None:
        ids = fresh_ids(self.tx, "contents", len(contents))
        self._ids["content"].extend(ids)
        kept = [
            {
                "tenant": self.tx.tenant_id,
                "id": content_id,
                "cube": self.cube_id,
                "memory": content.memory_id,
                "text": content.text,
                "sha256": content.sha256,
                "embedding": HalfVector(content.embedding),
                "terms": list(content.terms),
                "counts": [min(n, 32_767) for n in content.terms.values()],
                "length": sum(content.terms.values()),
                "tokens": content.tokens,
            }
            for content_id, content in zip(ids, contents, strict=True)
            if content.text is not None and content.embedding is not None
        ]
        gone = [
            {"tenant": self.tx.tenant_id, "id": content_id, "cube": self.cube_id, "memory": content.memory_id,
             "erased_at": content.erased_at}
            for content_id, content in zip(ids, contents, strict=True) if content.text is None
        ]  # fmt: skip
        if kept:
            self.tx.run_many(INSERT_CONTENTS, kept)
        if gone:
            self.tx.run_many(
                "INSERT INTO contents (tenant_id, id, cube_id, memory_id, erased_at) "
                "VALUES (:tenant, :id, :cube, :memory, CAST(:erased_at AS timestamptz))",
                gone,
            )

    def _branch(self, body: Mapping[str, Any]) -> None:
        record = self._numbered(dict(body), {"base_branch_id": "branch"})
        record.pop("id", None)
        self._ids["branch"].append(
            int(
                self.tx.scalar(
                    "INSERT INTO branches (tenant_id, cube_id, name, base_branch_id, fork_revision, head_revision, created_at, "
                    "deleted_at) SELECT :tenant, CAST(:cube AS uuid), name, base_branch_id, fork_revision, head_revision, "
                    "created_at, deleted_at FROM jsonb_to_record(CAST(:record AS jsonb)) AS r (name text, "
                    "base_branch_id integer, fork_revision integer, head_revision integer, created_at timestamptz, "
                    "deleted_at timestamptz) RETURNING id",
                    cube=self.cube_id,
                    record=json.dumps(record),
                )
            )
        )

    def _mapped(self, section: Section, body: Mapping[str, Any]) -> dict[str, Any]:
        owned = {"tenant_id": str(self.tx.tenant_id), "cube_id": str(self.cube_id)}
        return self._numbered({**section.defaults, **body, **owned}, section.mapped)

    def _numbered(self, record: dict[str, Any], mapped: Mapping[str, str]) -> dict[str, Any]:
        """Numbers of the package become ids of this database. Raises `LookupError` for one it does not have."""
        for column, kind in mapped.items():
            number = record.get(column)
            if number is not None:
                if not isinstance(number, int) or number < 0:
                    raise LookupError(column)
                record[column] = self._ids[kind][number]
        return record
