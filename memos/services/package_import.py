"""Import: a package becomes a cube again, whole or not at all.

Three passes. The file is read and its signature checked, touching nothing; texts whose vectors are missing or of another
model are embedded into a temporary file, outside any transaction; then everything is written in one transaction, at whose end
every hash is computed anew from what the database now holds. What this tenant once erased stays erased, whatever an older
package says.
"""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, BinaryIO
from uuid import UUID

import numpy as np
import uuid_utils.compat as uuid_utils
from numpy.typing import NDArray
from sqlalchemy.exc import DataError, IntegrityError

from memos.encoders.embedder import Embedder
from memos.errors import Conflict, NotFound
from memos.rules import lexical, receipts
from memos.rules.access import Principal, Scope
from memos.rules.embedding_text import Described, own_text
from memos.rules.header import sha256
from memos.rules.packages import BadPackage, Manifest, Reader, Row, Trust, history_digest
from memos.services import doctor_truth
from memos.services.findings import Verdict
from memos.services.signing import Keyring
from memos.store import audit, cubes, erasure, jobs, packages, verify_indexes
from memos.store import receipts as receipt_rows
from memos.store.engine import Database
from memos.store.package_sections import BY_NAME, SECTIONS
from memos.store.packages import ContentRow, Import
from memos.store.transaction import Transaction

_BATCH = 500
_EMBEDDED_AT_ONCE = 64
_ORDER = {section.name: place for place, section in enumerate(SECTIONS)}

Opened = Callable[[], AbstractContextManager[BinaryIO]]
"""Opens the package at its beginning; called once a pass."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to. `outcome` is `known` when the cube was here already with the same history."""

    cube_id: UUID
    name: str
    outcome: str
    revision: int
    signed_by: str
    counts: dict[str, int]
    embedded: int
    kept_erased: int
    marks_skipped: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is known before anything is written."""

    opened: Opened
    manifest: Manifest
    name: str
    embedder: Embedder
    keys: Keyring
    vectors: BinaryIO | None


def check(opened: Opened, trust: Trust) -> Manifest:
    """Read a package to its end without keeping anything. Raises `BadPackage` when it does not hold."""
    with opened() as file:
        reader = Reader(file)
        place = 0
        for row in reader.rows():
            if _ORDER.get(row.section, -1) < place:
                raise BadPackage(f"line {row.number}: a section {row.section!r} does not belong here")
            place = _ORDER[row.section]
    assert reader.manifest is not None  # noqa: S101 - rows() ends with it or raises
    trust.require(reader.manifest.public)
    return reader.manifest


def import_package(
    database: Database,
    embedder: Embedder,
    keys: Keyring,
    who: Principal,
    opened: Opened,
    *,
    now: datetime,
    name: str | None = None,
    trust: Trust | None = None,
) -> Imported:
    """Make the cube of a package. Packages of this service are trusted, others as `trust` says.

    Raises `BadPackage`, and `Conflict` when the cube is here with another history or its name is taken.
    """
    who.require(Scope.ADMIN)
    who.require_unbound()
    trust = trust or Trust()
    manifest = check(opened, Trust(trust.keys | {keys.public}, trust.anybody))
    cube_id = _uuid(manifest.header["cube"]["id"])
    with database.transaction(who.tenant_id, read_only=True) as tx:
        if (known := _known(tx, cube_id, manifest)) is not None:
            return known
    with tempfile.TemporaryFile() as vectors:
        reembed = not (manifest.profile.vectors and manifest.model.fingerprint == embedder.fingerprint)
        embedded = _embed(opened, embedder, vectors) if reembed else 0
        vectors.seek(0)
        plan = _Plan(opened, manifest, name or manifest.header["cube"]["name"], embedder, keys,
                     vectors if reembed else None)  # fmt: skip
        try:
            with database.transaction(who.tenant_id) as tx:
                return _written(tx, who, plan, cube_id, embedded, now)
        except (DataError, IntegrityError) as error:
            reason = str(error.orig).partition("\n")[0]
            raise BadPackage(f"the package holds rows that do not fit together: {reason}") from error


def _known(tx: Transaction, cube_id: UUID, manifest: Manifest) -> Imported | None:
    try:
        cube = cubes.find(tx, str(cube_id))
    except NotFound:
        return None
    if cube.id != cube_id:
        return None
    last = int(manifest.header["cube"]["last_revision"])
    if history_digest(packages.revision_hashes(tx, cube_id, last)).hex() != manifest.history:
        raise Conflict(
            f"the cube {cube.name!r} ({cube_id}) is here with another history (at revision {cube.last_revision}; the package "
            f"ends at {last}); delete it first, or import into another tenant"
        )
    signer = receipts.key_id(manifest.public)
    return Imported(cube_id, cube.name, "known", cube.last_revision, signer, manifest.counts, 0, 0, 0)


def _embed(opened: Opened, embedder: Embedder, vectors: BinaryIO) -> int:
    """Write a half-precision vector for every text, in the order of the package; how many."""
    made = 0

    def flush(batch: list[str]) -> None:
        vectors.write(embedder.embed(batch).astype("<f2").tobytes())
        batch.clear()

    batch: list[str] = []
    with opened() as file:
        for row in Reader(file).rows():
            if row.section == "content" and row.body.get("text") is not None:
                batch.append(own_text(_described(row.body)))
                made += 1
                if len(batch) == _EMBEDDED_AT_ONCE:
                    flush(batch)
    if batch:
        flush(batch)
    return made


def _described(body: dict[str, Any]) -> Described:
    return Described(str(body["text"]), body.get("speaker"), None, body.get("title"))


# ---------------------------------------------------------------- the transaction


def _written(tx: Transaction, who: Principal, plan: _Plan, cube_id: UUID, embedded: int, now: datetime) -> Imported:
    taken = tx.scalar("SELECT 1 FROM cubes WHERE tenant_id = :tenant AND name = :name", name=plan.name)
    if taken:
        raise Conflict(f"a cube named {plan.name!r} exists already; give the imported one another name")
    erased_before = packages.erased_before(tx, cube_id)
    writing = Import(tx, plan.manifest.header["cube"], plan.name)
    skipped = _rows(tx, plan, writing)
    returned = sorted(erasure.known(tx, cube_id, erased_before))
    if returned:
        erasure.wipe(tx, cube_id, returned, uuid_utils.uuid7(), now)
    _require_whole(tx, plan, cube_id)
    for branch in cubes.list_branches(tx, cube_id):
        if branch.base_branch_id is None:
            verify_indexes.rebuild(tx, branch)
        jobs.promise(tx, "index", cube_id=cube_id, payload={"branch": branch.name})
    last = int(plan.manifest.header["cube"]["last_revision"])
    signer = receipts.key_id(plan.manifest.public)
    audit.record(tx, who.key_id, "cube.import", now, cube_id=cube_id,
                 detail={"revision": last, "signed_by": signer, "kept_erased": len(returned)})  # fmt: skip
    return Imported(
        cube_id, plan.name, "imported", last, signer, plan.manifest.counts, embedded, len(returned), skipped
    )


def _rows(tx: Transaction, plan: _Plan, writing: Import) -> int:
    """Write every section; how many erasure marks were left out because another secret made them."""
    skipped = 0
    there = packages.tables(tx)
    at_home = plan.manifest.public == plan.keys.public and plan.manifest.header.get("tenant_id") == str(tx.tenant_id)
    ours = receipts.key_id(plan.keys.marks)
    with plan.opened() as file:
        reader = Reader(file)
        for name, rows in groupby(reader.rows(), key=lambda row: row.section):
            section = BY_NAME[name]
            if section.table not in there or (section.native and not at_home):
                # Grants name keys and tenants: elsewhere they would let in strangers.
                for _ in rows:
                    continue
                continue
            for batch in _batches(rows):
                bodies = [row.body for row in batch]
                if name == "content":
                    writing.write_contents([_content(plan, row) for row in batch])
                    continue
                if name == "mark":
                    kept = [body for body in bodies if body.get("key_id") == f"\\x{ours}"]
                    skipped += len(bodies) - len(kept)
                    bodies = kept
                elif name == "receipt":
                    _require_receipts(tx, plan, bodies)
                try:
                    writing.write(section, bodies)
                except LookupError:
                    raise BadPackage(f"a row near line {batch[0].number} names another one that is not there") from None
        if reader.manifest is None or reader.manifest.sha256 != plan.manifest.sha256:
            raise BadPackage("the package changed while it was read")
    return skipped


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _content(plan: _Plan, row: Row) -> ContentRow:
    body = row.body
    try:
        memory_id, text = UUID(str(body["memory_id"])), body.get("text")
        if text is None:
            return ContentRow(memory_id, None, None, None, {}, 0, body["erased_at"])
        described = _described(body)
        return ContentRow(
            memory_id=memory_id,
            text=described.text,
            sha256=sha256(described.text),
            embedding=_vector(plan, body),
            terms=lexical.frequencies(f"{described.title}\n{described.text}" if described.title else described.text),
            tokens=int(body["tokens"]) if plan.vectors is None else plan.embedder.count_tokens(described.text),
            erased_at=None,
        )
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise BadPackage(f"line {row.number} is no text of a package") from None


def _vector(plan: _Plan, body: dict[str, Any]) -> NDArray[np.float32]:
    dimensions = plan.embedder.dimensions
    if plan.vectors is not None:
        return np.frombuffer(plan.vectors.read(2 * dimensions), dtype="<f2").astype(np.float32)
    # As PostgreSQL sends a halfvec: the width, two unused bytes, then the halves, the larger byte first.
    raw = base64.b64decode(body["vector"], validate=True)
    vector = np.frombuffer(raw[4:], dtype=">f2").astype(np.float32)
    if vector.shape != (dimensions,) or not np.isfinite(vector).all():
        raise ValueError("no vector of this model")
    return vector


def _require_receipts(tx: Transaction, plan: _Plan, bodies: list[dict[str, Any]]) -> None:
    """Receipts of strangers must not come in with a package: each must be signed by us, by whom we know, or by its maker."""
    public = dict.fromkeys([plan.keys.public, plan.manifest.public, *receipt_rows.signers(tx)])
    keys = {"keys": [receipts.key_json(key) for key in public]}
    for body in bodies:
        receipts.verify(body.get("body") or {}, keys)


def _require_whole(tx: Transaction, plan: _Plan, cube_id: UUID) -> None:
    """Compute the chain and every state anew from what is stored. Raises `BadPackage` at the first thing that is not so."""
    cube = cubes.find(tx, str(cube_id))
    for finding in doctor_truth.examine_history(tx, cube):
        if finding.verdict is not Verdict.OK:
            raise BadPackage(f"the history does not hold: {finding.detail}")
    digest = history_digest(packages.revision_hashes(tx, cube_id, cube.last_revision))
    if digest.hex() != plan.manifest.history:
        raise BadPackage("the revisions are not those the manifest was signed for")


def _uuid(value: object) -> UUID:
    try:
        return UUID(str(value))
    except ValueError:
        raise BadPackage("the first line names no cube") from None
