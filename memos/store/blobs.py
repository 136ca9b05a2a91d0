"""Where KV blobs lie: a port, and its filesystem implementation (`postgres_blobs` has the other one).

Order makes it safe to crash anywhere: a blob is complete and on disk before its row is inserted, and its row is gone
before it is deleted. So a row never names a missing blob, and what is left over can be found by comparing `listing`
with the rows.

    ROOT/tmp/<random>                      being written
    ROOT/blobs/<owner>/<ab>/<sha256>       complete: written, flushed, renamed, folder flushed

A blob is named by its owner (a tenant or cube id) and the SHA-256 of its bytes. Owners never share a file, even when
their bytes agree: whether somebody else already stored something must not be visible in anything.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from memos.errors import Invalid, NotFound, StorageFull, Unavailable

READ_BYTES: Final = 4 * 2**20
"""Served in steps of 4 MiB a file reaches 1 GB/s over loopback; in starlette's 64 KiB, a third of that."""

_OWNER: Final = re.compile(r"[0-9a-z][0-9a-z-]{0,63}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A blob's name: `sha256` is 64 hexadecimal digits."""

    owner: str
    sha256: str

    def __post_init__(self) -> None:
        checked_owner(self.owner)
        if not _DIGEST.fullmatch(self.sha256):
            raise Invalid(f"{self.sha256!r} does not name a blob")


@dataclass(frozen=True, slots=True)
class StoredBlob:
    ref: BlobRef
    n_bytes: int
    modified_at: datetime


class BlobReader(Protocol):
    """An open blob. Stays readable while open, even if the blob is deleted meanwhile."""

    @property
    def n_bytes(self) -> int: ...

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """Bytes `[start, end)`, fewer at the end of the blob."""

    def steps(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The same bytes in pieces of up to 4 MiB."""


class BlobStore(Protocol):
    """Thread-safe; several processes may use one store."""

    def put(self, owner: str, parts: Iterable[bytes]) -> BlobRef:
        """Store the joined parts durably. Storing the same bytes again is harmless.

        Raises:
            StorageFull: no room; nothing is left behind.
            Unavailable: the storage failed otherwise.
        """

    def open(self, ref: BlobRef) -> AbstractContextManager[BlobReader]:
        """Raises NotFound when there is no such blob."""

    def delete(self, ref: BlobRef) -> bool:
        """Delete for good; whether there was anything to delete."""

    def listing(self, owner: str | None = None) -> Iterator[StoredBlob]:
        """All blobs, or one owner's, in no particular order; for garbage collection and erasure checks."""

    def sweep(self, *, older_than: datetime) -> int:
        """Remove what interrupted writes left behind before `older_than`; how many there were."""


class FilesystemBlobs:
    """Blobs under a folder of their own, readable by this user only."""

    def __init__(self, root: Path) -> None:
        self._blobs, self._tmp = root / "blobs", root / "tmp"
        with _told_in_our_terms(root):
            for folder in (root, self._blobs, self._tmp):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, owner: str, parts: Iterable[bytes]) -> BlobRef:
        checked_owner(owner)
        draft = self._tmp / secrets.token_hex(16)
        try:
            ref = BlobRef(owner, self._write(draft, parts))
            path = self._path(ref)
            with _told_in_our_terms(path):
                self._make_folder(path.parent)
                draft.replace(path)
                _flush_folder(path.parent)
        finally:
            # After the rename there is nothing left to remove; after a failure there may be.
            draft.unlink(missing_ok=True)
        return ref

    @contextmanager
    def open(self, ref: BlobRef) -> Iterator[BlobReader]:
        try:
            file = self._path(ref).open("rb")
        except FileNotFoundError:
            raise NotFound("there is no such blob") from None
        except OSError as error:
            raise Unavailable(f"blob storage cannot be read: {error}") from error
        with file:
            yield _FileReader(file)

    def delete(self, ref: BlobRef) -> bool:
        path = self._path(ref)
        with _told_in_our_terms(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            _flush_folder(path.parent)
        return True

    def listing(self, owner: str | None = None) -> Iterator[StoredBlob]:
        for path in self._blobs.glob(f"{'*' if owner is None else checked_owner(owner)}/*/*"):
            if not _DIGEST.fullmatch(path.name):
                continue  # Not ours, so not ours to report or collect.
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # Deleted while we were looking.
            ref = BlobRef(path.parent.parent.name, path.name)
            yield StoredBlob(ref, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def sweep(self, *, older_than: datetime) -> int:
        removed = 0
        for draft in self._tmp.iterdir():
            try:
                abandoned = draft.stat().st_mtime < older_than.timestamp()
                if abandoned:
                    draft.unlink()
            except FileNotFoundError:
                continue  # Its writer finished or gave up in between.
            removed += abandoned
        return removed

    def _write(self, draft: Path, parts: Iterable[bytes]) -> str:
        """Write and flush; return the digest. What `parts` raises is the sender's trouble and passes unchanged."""
        digest = hashlib.sha256()
        with _told_in_our_terms(draft):
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for part in parts:
                digest.update(part)
                with _told_in_our_terms(draft):
                    file.write(part)
            with _told_in_our_terms(draft):
                file.flush()
                os.fsync(file.fileno())
        return digest.hexdigest()

    def _path(self, ref: BlobRef) -> Path:
        return self._blobs / ref.owner / ref.sha256[:2] / ref.sha256

    def _make_folder(self, folder: Path) -> None:
        """Make the two levels above a blob, each entry on disk before anything is put into it."""
        for level in (folder.parent, folder):
            if not level.is_dir():
                level.mkdir(mode=0o700, exist_ok=True)
                _flush_folder(level.parent)


class _FileReader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.n_bytes = os.fstat(file.fileno()).st_size

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        # As one piece, which joining hands on as it is: a second copy of every blob would show.
        return b"".join(self._pieces(start, end, self.n_bytes))

    def steps(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        return self._pieces(start, end, READ_BYTES)

    def _pieces(self, start: int, end: int | None, most: int) -> Iterator[bytes]:
        stop = self.n_bytes if end is None else min(end, self.n_bytes)
        at = max(0, start)
        while at < stop:
            # Positioned reads, so that two ranges of one open blob can be read in turn.
            piece = os.pread(self._file.fileno(), min(most, stop - at), at)
            if not piece:
                raise Unavailable("a blob became shorter while it was read")
            at += len(piece)
            yield piece


def checked_owner(owner: str) -> str:
    """The owner itself. Names become paths, so nothing else may pass."""
    if not _OWNER.fullmatch(owner):
        raise Invalid(f"{owner!r} is not an owner of blobs")
    return owner


@contextmanager
def _told_in_our_terms(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull(f"no room for KV blobs under {path.parent}: {error.strerror}") from error
        raise Unavailable(f"blob storage failed: {error}") from error


def _flush_folder(folder: Path) -> None:
    """Wait until a folder's entries are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
