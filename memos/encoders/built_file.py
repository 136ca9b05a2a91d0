"""A file that is costly to build: built once, by one process, and never half-written.

    <name>           the content
    <name>.sha256    its hash, written first
    <name>.lock      held while building
    <name>.<pid>.tmp under construction; renamed over <name> when complete and on disk

Readers take no lock: they accept the content when it has the hash beside it. A crash at any line, a damaged
disk or a reader between the two renames shows as a mismatch, and a mismatch is answered by building again
under the lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from memos.errors import Misconfigured


def built_file(path: Path, build: Callable[[Path], None]) -> bytes:
    """Return the verified content of `path`; if there is none, let `build` write it to the path it is given.

    Raises:
        Misconfigured: the folder cannot be written.
    """
    content = _verified_content(path)
    if content is not None:
        return content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f"{path.name}.lock")):
            # Another process may have built it while this one waited for the lock.
            content = _verified_content(path)
            return content if content is not None else _built(path, build)
    except OSError as error:
        raise Misconfigured(f"a model cannot be built in {path.parent}: {error}") from error


def _verified_content(path: Path) -> bytes | None:
    try:
        expected = _hash_path(path).read_text(encoding="ascii").strip()
        content = path.read_bytes()
    except (OSError, UnicodeDecodeError):
        return None
    return content if hashlib.sha256(content).hexdigest() == expected else None


def _built(path: Path, build: Callable[[Path], None]) -> bytes:
    for abandoned in path.parent.glob(f"{path.name}.*.tmp*"):
        abandoned.unlink()
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    hash_draft = _hash_path(draft)
    try:
        build(draft)
        content = draft.read_bytes()
        hash_draft.write_text(hashlib.sha256(content).hexdigest() + "\n", encoding="ascii")
        for source, target in ((hash_draft, _hash_path(path)), (draft, path)):
            _flush(source)
            source.replace(target)
        _flush(path.parent)
    finally:
        draft.unlink(missing_ok=True)
        hash_draft.unlink(missing_ok=True)
    return content


def _hash_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _flush(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; the system drops it when the holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
