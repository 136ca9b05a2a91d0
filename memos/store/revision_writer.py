"""Writing one revision: collect changes, then write them, the chain and the indexes of the present in one go.

Whoever begins a revision holds the cube's row until the transaction ends, so numbers have no gaps and every parent is
known. All callers (writes, edits, rollback, merge, the workers' jobs) go through here; nothing else writes versions.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import numpy as np
import uuid_utils.compat as uuid_utils
from pgvector import HalfVector

from memos.errors import NotFound
from memos.rules.header import Draft, sha256
from memos.rules.lifecycle import State
from memos.rules.versioning import (
    GENESIS,
    SALT_BYTES,
    Closed,
    Opened,
    changes_digest,
    commitment,
    fingerprint,
    revision_hash,
)
from memos.store import cubes, events, jobs, marks, memories, present, provenance, quotas, revisions, spaces
from memos.store.cubes import Branch, Cube, View
from memos.store.memories import Version
from memos.store.provenance import Link, Origins
from memos.store.search_archive import shelve
from memos.store.transaction import Transaction
from memos.store.version_rows import INSERT_CONTENTS, INSERT_VERSIONS, Seal, fresh_ids, record

TOMBSTONE = "tombstone"
MANY = 1_000
"""From so many changed memories on, whatever changed them (a rollback, a merge), the vector graph has work."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What is computed from a text outside the transaction. The vector is float32 of the embedder's width; `space` is the
    embedder's fingerprint."""

    embedding: np.ndarray
    terms: dict[str, int]
    tokens: int
    space: str = ""


@dataclass(slots=True)
class _Change:
    memory_id: UUID
    before: Version | None
    draft: Draft | None
    encoded: Encoded | None
    content_id: int | None
    text_sha256: bytes
    fresh: bool
    stated: int | None = None
    links: tuple[Link, ...] | None = None
    version_id: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class Revised:
    """What a revision came to. `number` is the branch's head, unchanged when there was nothing to write."""

    number: int
    written: bool
    versions: dict[UUID, int]


class RevisionWriter:
    """Collects the changes of one revision of one branch. `finish` writes them; without it nothing happens."""

    def __init__(self, tx: Transaction, cube_ref: str, branch_name: str, *, now: datetime) -> None:
        self.tx = tx
        self.cube: Cube = cubes.find(tx, cube_ref, lock=True)
        # Clocks of several processes differ a little; along one history time only goes forward.
        self.now = max(now, revisions.last_written_at(tx, self.cube) or now)
        self.branch: Branch = cubes.find_branch(tx, self.cube.id, branch_name)
        self._changes: dict[UUID, _Change] = {}

    @property
    def view(self) -> View:
        """The branch as it is before this revision."""
        return cubes.view(self.tx, str(self.cube.id), self.branch.name)

    def add(
        self,
        draft: Draft,
        encoded: Encoded,
        memory_id: UUID | None = None,
        *,
        new_id: UUID | None = None,
        links: Sequence[Link] = (),
    ) -> UUID:
        """A memory this branch does not show yet. `memory_id` brings back one known elsewhere or earlier; `new_id` is
        the id of one nobody knows, for callers that must name it before it is written."""
        chosen = memory_id or new_id or uuid_utils.uuid7()
        self._changes[chosen] = _Change(
            chosen, None, draft, encoded, None, sha256(draft.text), memory_id is None, links=tuple(links)
        )
        return chosen

    def change(
        self, before: Version, draft: Draft, encoded: Encoded | None = None, links: Sequence[Link] | None = None
    ) -> None:
        """A new version. Without `encoded` the text is that of `before`, and so are its sources unless the draft names
        its own, and its links unless some are given."""
        self._changes[before.memory_id] = _Change(
            before.memory_id,
            before,
            draft,
            encoded,
            None if encoded else before.content_id,
            sha256(draft.text),
            fresh=False,
            stated=None if encoded else before.version,
            links=None if links is None else tuple(links),
        )

    def restate(self, before: Version | None, earlier: Version, action: str) -> None:
        """Write an earlier or another branch's state again, sharing its content."""
        draft = replace(earlier.draft(), action=action)
        self._changes[earlier.memory_id] = _Change(
            earlier.memory_id,
            before,
            draft,
            None,
            earlier.content_id,
            sha256(draft.text),
            fresh=False,
            stated=earlier.version,
        )

    def remove(self, before: Version) -> None:
        """Make the branch not show the memory; its history stays."""
        self._changes[before.memory_id] = _Change(before.memory_id, before, None, None, None, b"", fresh=False)

    def __len__(self) -> int:
        return len(self._changes)

    def finish(
        self,
        *,
        kind: str,
        author: UUID | None,
        reason: str,
        merged_from: int | None = None,
        even_if_empty: bool = False,
    ) -> Revised:
        """Write everything, or nothing when there is nothing to write (`even_if_empty` still makes a revision)."""
        if not self._changes and not even_if_empty:
            return Revised(self.branch.head_revision, written=False, versions={})
        changes = list(self._changes.values())
        number = self.cube.last_revision + 1
        self._number(changes)
        closed = self._close(changes, number)
        opened = self._open(changes, number)
        self._insert_revision(number, opened, closed, changes, kind, author, reason, merged_from)
        self.tx.run(
            "UPDATE cubes SET last_revision = :number WHERE tenant_id = :tenant AND id = :cube",
            number=number,
            cube=self.cube.id,
        )
        entering = [
            c.version_id for c in changes if c.draft and c.draft.state in present.RECALLABLE and not c.draft.quarantined
        ]
        present.apply(
            self.tx,
            self.branch,
            number,
            leave=[c.before for c in changes if c.before and c.before.branch_id == self.branch.id],
            enter=entering,
            new={c.memory_id for c in changes if c.fresh},
        )
        if len(entering) >= MANY:
            jobs.promise_index(self.tx, self.cube.id, self.branch.name)
        self._shelve(changes)
        fresh = [c for c in changes if c.draft and c.encoded]
        quotas.charge(
            self.tx,
            author,
            memories=sum(c.fresh for c in changes if c.draft),
            size_bytes=sum(len(c.draft.text.encode()) for c in fresh if c.draft),
        )
        events.emit(
            self.tx, "revision.committed", cube_id=self.cube.id, revision=number, branch=self.branch.name, revision_kind=kind,
            author=None if author is None else str(author), changes=len(changes),
        )  # fmt: skip
        return Revised(number, written=True, versions={c.memory_id: c.version for c in changes if c.draft})

    # ------------------------------------------------------------ steps of finish, in order

    def _number(self, changes: Sequence[_Change]) -> None:
        """Give every change its version number and ids; removals that must hide an inherited row become tombstones."""
        hidden = self._inherited([c.memory_id for c in changes if c.draft is None])
        for change in changes:
            if change.draft is None and change.memory_id in hidden:
                below = hidden[change.memory_id]
                change.draft = replace(below.draft(), text="", action=TOMBSTONE)
        writing = [c for c in changes if c.draft]
        fresh = [c for c in writing if c.fresh]
        if fresh:
            self.tx.run(
                "INSERT INTO memories (tenant_id, cube_id, id, last_version, created_at) "
                "SELECT :tenant, :cube, id, 1, :now FROM unnest(CAST(:ids AS uuid[])) AS id",
                cube=self.cube.id,
                ids=[c.memory_id for c in fresh],
                now=self.now,
            )
        numbers = {c.memory_id: 1 for c in fresh}
        if known := [c.memory_id for c in writing if not c.fresh]:
            rows = self.tx.rows(
                "UPDATE memories SET last_version = last_version + 1 WHERE tenant_id = :tenant AND cube_id = :cube "
                "AND id = ANY(:ids) AND erased_at IS NULL RETURNING id, last_version",
                cube=self.cube.id,
                ids=known,
            )
            numbers |= {row["id"]: row["last_version"] for row in rows}
        if len(numbers) != len(writing):
            raise NotFound("no such memory")
        ids = fresh_ids(self.tx, "memory_versions", len(writing))
        for change, version_id in zip(writing, ids, strict=True):
            change.version_id, change.version = version_id, numbers[change.memory_id]

    def _inherited(self, memory_ids: list[UUID]) -> dict[UUID, Version]:
        """What the base branches would show of these memories if this branch said nothing."""
        if not memory_ids or not (below := self.view.lineage[1:]):
            return {}
        return memories.get_many(self.tx, replace(self.view, lineage=below, at=-1), memory_ids)

    def _open(self, changes: Sequence[_Change], number: int) -> list[Opened]:
        writing = [c for c in changes if c.draft]
        self._insert_contents([c for c in writing if c.encoded])
        records, opened, origins = [], [], []
        for change in writing:
            draft = change.draft
            assert draft is not None  # noqa: S101 - selected above
            tombstone = draft.action == TOMBSTONE
            mark = fingerprint(draft, change.text_sha256)
            salt = secrets.token_bytes(SALT_BYTES)
            seal = Seal(mark, salt, commitment(salt, mark, draft.created_at, draft.ordinal))
            opened.append(Opened(change.memory_id, change.version, seal.commitment))
            records.append(
                record(
                    draft,
                    version_id=change.version_id,
                    memory_id=change.memory_id,
                    version=change.version,
                    content_id=None if tombstone else change.content_id,
                    tombstone=tombstone,
                    previous_id=change.before.id if change.before else None,
                    seal=seal,
                )
            )
            if not tombstone:
                origins.append(
                    Origins(change.memory_id, change.version, draft.sources, change.links, stated=change.stated)
                )
        marks.refuse_sources(self.tx, self.cube.id, {s.memory_id for o in origins for s in o.sources})
        if records:
            self.tx.run(INSERT_VERSIONS, cube=self.cube.id, branch=self.branch.id, number=number, now=self.now,
                        records=json.dumps(records))  # fmt: skip
        provenance.write(self.tx, self.cube.id, origins)
        return opened

    def _insert_contents(self, changes: Sequence[_Change]) -> None:
        if not changes:
            return
        marks.refuse(self.tx, self.cube, [c.draft.text for c in changes if c.draft])
        self._refuse_other_space([c.encoded for c in changes if c.encoded])
        rows = []
        for change, content_id in zip(changes, fresh_ids(self.tx, "contents", len(changes)), strict=True):
            change.content_id = content_id
            assert change.draft is not None and change.encoded is not None  # noqa: S101, PT018 - selected by the caller
            encoded = change.encoded
            rows.append(
                {
                    "tenant": self.tx.tenant_id,
                    "id": content_id,
                    "cube": self.cube.id,
                    "memory": change.memory_id,
                    "text": change.draft.text,
                    "sha256": change.text_sha256,
                    "embedding": HalfVector(encoded.embedding),
                    "terms": list(encoded.terms),
                    "counts": [min(n, 32_767) for n in encoded.terms.values()],
                    "length": sum(encoded.terms.values()),
                    "tokens": encoded.tokens,
                }
            )
        self.tx.run_many(INSERT_CONTENTS, rows)

    def _refuse_other_space(self, encoded: Sequence[Encoded]) -> None:
        """Vectors of two models must never stand side by side, and the cube may have moved since these were made."""
        there = spaces.fingerprint_of(self.tx, self.cube.id)
        if there is not None and any(one.space != there for one in encoded):
            raise spaces.SpaceChanged("the cube has just changed its embedding model; send the same again")

    def _close(self, changes: Sequence[_Change], number: int) -> list[Closed]:
        ending = {c.before.id: (c.memory_id, c.before.version) for c in changes if c.before and self._owns(c.before)}
        hidden = [c.memory_id for c in changes if not c.fresh and not (c.before and self._owns(c.before))]
        ending |= self._tombstones(hidden)
        if ending:
            self.tx.run(
                "UPDATE memory_versions SET to_revision = :number WHERE tenant_id = :tenant AND id = ANY(:ids) "
                "AND to_revision IS NULL",
                number=number,
                ids=list(ending),
            )
        return [Closed(memory_id, version) for memory_id, version in ending.values()]

    def _owns(self, version: Version) -> bool:
        return version.branch_id == self.branch.id

    def _tombstones(self, memory_ids: list[UUID]) -> dict[int, tuple[UUID, int]]:
        """Rows by which this branch hides these memories: they end when the memory is shown again."""
        if self.branch.base_branch_id is None or not memory_ids:
            return {}
        rows = self.tx.rows(
            "SELECT id, memory_id, version FROM memory_versions WHERE tenant_id = :tenant AND branch_id = :branch "
            "AND memory_id = ANY(:ids) AND to_revision IS NULL AND tombstone",
            branch=self.branch.id,
            ids=memory_ids,
        )
        return {row["id"]: (row["memory_id"], row["version"]) for row in rows}

    def _insert_revision(
        self,
        number: int,
        opened: Sequence[Opened],
        closed: Sequence[Closed],
        changes: Sequence[_Change],
        kind: str,
        author: UUID | None,
        reason: str,
        merged_from: int | None,
    ) -> None:
        parent = self.branch.head_revision or None
        parent_hash = GENESIS
        if parent:
            parent_hash = bytes.fromhex(revisions.revision(self.tx, self.cube.id, parent).hash)
        digest = changes_digest(opened, closed)
        written = [c for c in changes if c.draft and c.draft.action != TOMBSTONE]
        self.tx.run(
            "INSERT INTO revisions (tenant_id, cube_id, number, branch_id, parent, merged_from, kind, author, reason, "
            "created_at, added, changed, removed, changes, hash) VALUES (:tenant, :cube, :number, :branch, :parent, "
            ":merged_from, :kind, :author, :reason, :now, :added, :changed, :removed, :changes, :hash)",
            cube=self.cube.id,
            number=number,
            branch=self.branch.id,
            parent=parent,
            merged_from=merged_from,
            kind=kind,
            author=author,
            reason=reason,
            now=self.now,
            added=sum(c.before is None for c in written),
            changed=sum(c.before is not None for c in written),
            removed=len(changes) - len(written),
            changes=digest,
            hash=revision_hash(
                parent_hash=parent_hash,
                number=number,
                branch=self.branch.name,
                kind=kind,
                merged_from=merged_from,
                author=author,
                reason=reason,
                created_at=self.now,
                changes=digest,
            ),
        )

    def _shelve(self, changes: Sequence[_Change]) -> None:
        """Move texts into the archive's vector graph, and out of it what came back."""
        for archived in (True, False):
            moved = [
                c.content_id
                for c in changes
                if c.draft
                and c.content_id is not None
                and (c.draft.state == State.ARCHIVED) is archived
                and (archived or (c.before is not None and c.before.state == State.ARCHIVED))
            ]
            shelve(self.tx, moved, archived=archived)
