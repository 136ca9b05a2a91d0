"""KV blobs in PostgreSQL: one thing to run and one thing to back up, at a fraction of the filesystem's speed.

A blob is cut into parts of 1 MiB, stored uncompressed outside their rows, so that a range is read without the rest. Row and
parts are written in one transaction: nothing is ever half there. An open blob is a snapshot, which keeps one connection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

import psycopg
import uuid_utils.compat as uuid_utils
from sqlalchemy.exc import DBAPIError

from memos.errors import NotFound, StorageFull, Unavailable
from memos.store.blobs import READ_BYTES, BlobReader, BlobRef, StoredBlob, checked_owner
from memos.store.engine import Database
from memos.store.transaction import Transaction

PART_BYTES = 2**20


class PostgresBlobs:
    """The blobs of one tenant."""

    def __init__(self, database: Database, tenant_id: UUID) -> None:
        self._database = database
        self._tenant_id = tenant_id

    def put(self, owner: str, parts: Iterable[bytes]) -> BlobRef:
        checked_owner(owner)
        digest, n_bytes, blob_id = hashlib.sha256(), 0, uuid_utils.uuid7()
        with self._writing() as tx:
            for number, part in enumerate(_cut(parts)):
                digest.update(part)
                n_bytes += len(part)
                tx.run(
                    "INSERT INTO kv_blob_parts (tenant_id, blob_id, part, data) VALUES (:tenant, :blob, :part, :data)",
                    blob=blob_id, part=number, data=part,
                )  # fmt: skip
            stored = tx.run(
                "INSERT INTO kv_blobs (tenant_id, owner, sha256, id, n_bytes) "
                "VALUES (:tenant, :owner, :sha256, :id, :n_bytes) ON CONFLICT (tenant_id, owner, sha256) DO NOTHING",
                owner=owner, sha256=digest.digest(), id=blob_id, n_bytes=n_bytes,
            )  # fmt: skip
            if not stored:  # It was there already, with parts of its own.
                tx.run("DELETE FROM kv_blob_parts WHERE tenant_id = :tenant AND blob_id = :blob", blob=blob_id)
        return BlobRef(owner, digest.hexdigest())

    @contextmanager
    def open(self, ref: BlobRef) -> Iterator[BlobReader]:
        with self._database.transaction(self._tenant_id, read_only=True) as tx:
            row = tx.row(
                "SELECT id, n_bytes FROM kv_blobs WHERE tenant_id = :tenant AND owner = :owner AND sha256 = :sha256",
                owner=ref.owner, sha256=bytes.fromhex(ref.sha256),
            )  # fmt: skip
            if row is None:
                raise NotFound("there is no such blob")
            yield _RowReader(tx, row["id"], row["n_bytes"])

    def delete(self, ref: BlobRef) -> bool:
        with self._writing() as tx:
            gone = tx.run(
                "DELETE FROM kv_blobs WHERE tenant_id = :tenant AND owner = :owner AND sha256 = :sha256",
                owner=ref.owner, sha256=bytes.fromhex(ref.sha256),
            )  # fmt: skip
        return bool(gone)

    def listing(self, owner: str | None = None) -> Iterator[StoredBlob]:
        if owner is not None:
            checked_owner(owner)
        with self._database.transaction(self._tenant_id, read_only=True) as tx:
            rows = tx.rows(
                "SELECT owner, sha256, n_bytes, created_at FROM kv_blobs WHERE tenant_id = :tenant "
                "AND owner = coalesce(CAST(:owner AS text), owner)",
                owner=owner,
            )
        for row in rows:
            yield StoredBlob(BlobRef(row["owner"], bytes(row["sha256"]).hex()), row["n_bytes"], row["created_at"])

    def sweep(self, *, older_than: datetime) -> int:  # noqa: ARG002 - an interrupted transaction leaves nothing
        return 0

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        try:
            with self._database.transaction(self._tenant_id) as tx:
                yield tx
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.errors.DiskFull):
                raise StorageFull("the database has no room for KV blobs") from error
            raise Unavailable(f"blob storage failed: {type(error.orig).__name__}") from error


class _RowReader:
    def __init__(self, tx: Transaction, blob_id: UUID, n_bytes: int) -> None:
        self._tx = tx
        self._blob_id = blob_id
        self.n_bytes = n_bytes

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        return b"".join(self.steps(start, end))

    def steps(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        stop = self.n_bytes if end is None else min(end, self.n_bytes)
        at = max(0, start)
        while at < stop:
            piece = self._piece(at, min(at + READ_BYTES, stop))
            at += len(piece)
            yield piece

    def _piece(self, at: int, stop: int) -> bytes:
        first, last = at // PART_BYTES, (stop - 1) // PART_BYTES
        rows = self._tx.tuples(
            "SELECT data FROM kv_blob_parts WHERE tenant_id = :tenant AND blob_id = :blob "
            "AND part BETWEEN :first AND :last ORDER BY part",
            blob=self._blob_id, first=first, last=last,
        )  # fmt: skip
        joined = b"".join(bytes(row[0]) for row in rows)
        if len(joined) < stop - first * PART_BYTES:
            raise Unavailable("a blob became shorter while it was read")
        return joined[at - first * PART_BYTES : stop - first * PART_BYTES]


def _cut(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of exactly 1 MiB, but for the last."""
    held = bytearray()
    for part in parts:
        held += part
        while len(held) >= PART_BYTES:
            yield bytes(held[:PART_BYTES])
            del held[:PART_BYTES]
    if held:
        yield bytes(held)
