"""`memos backup`: everything of one service in one tar file, taken while it runs.

backup.json      what is in it, and what must be the same after a restore
database.dump    the database, as one snapshot saw it (pg_dump's custom format)
kv/...           KV blobs, if there are any: caches, which may be newer than the snapshot
keys/...         the owner key and the secrets, when asked: who holds these holds everything
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memos.cli.load import program_version
from memos.cli.servers import owned
from memos.embedded.dump_tools import dump
from memos.errors import Invalid
from memos.rules.header import instant
from memos.services.remember import utc_now
from memos.settings import Settings
from memos.store import backup as store
from memos.wiring import data_dir, embedder_of

FORMAT = "memos.backup/1"
MANIFEST, DUMP, BLOBS, KEYS = "backup.json", "database.dump", "kv", "keys"
KEY_FILES = ("owner.key", "secret", "master-key", "master-key.previous")


def backup(settings: Settings, file: Path, *, with_keys: bool) -> str:
    """Write the file, which appears whole or not at all; what was done, for a person."""
    if file.exists():
        raise Invalid(f"{file} exists; name another file")
    home = data_dir(settings)
    with owned(settings) as (named, url):
        embedder = embedder_of(named)
        with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".backup-") as scratch:
            dumped = Path(scratch) / DUMP
            with store.snapshot(url) as (snapshot, facts):
                dumped_by = dump(store.libpq_environment(url), dumped, snapshot, facts.server)
            manifest: dict[str, Any] = {
                "format": FORMAT,
                "made_at": instant(utc_now()),
                "program": program_version(),
                "model": {"name": embedder.name, "fingerprint": embedder.fingerprint},
                "dumped_by": dumped_by,
                "dump_sha256": file_sha256(dumped),
                "facts": asdict(facts),
            }
            draft = Path(scratch) / "draft.tar"
            keys = [name for name in KEY_FILES if with_keys and (home / name).is_file()]
            blobs = _packed(draft, manifest, dumped, home, blob_dir(settings), keys)
            # A link, not a rename: whoever made a file of this name meanwhile keeps it.
            os.link(draft, file)
    if keys:
        said = f"with the keys ({', '.join(keys)}): guard it"
    elif with_keys:
        said = (
            f"without keys: {home} holds none, so keep what sets MEMOS_SECRET and MEMOS_MASTER_KEY (your .env) with it"
        )
    else:
        said = "without the keys: keep owner.key and secret apart"
    return (
        f"{file}: {file.stat().st_size:,} bytes, {facts.tables['memories']:,} memories in {facts.tables['cubes']:,} cubes, "
        f"{blobs:,} KV blobs, {said}."
    )


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def blob_dir(settings: Settings) -> Path:
    """Where KV blobs lie as files: `MEMOS_KV_DIR`, or a folder of the data directory."""
    return settings.kv_dir or data_dir(settings) / BLOBS


def _packed(
    draft: Path, manifest: dict[str, Any], dumped: Path, home: Path, blob_folder: Path, keys: Sequence[str]
) -> int:
    """Write the tar file, for its owner alone; how many blobs are in it."""
    blobs = 0
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w") as tar:
        text = json.dumps(manifest, indent=2).encode()
        entry = tarfile.TarInfo(MANIFEST)
        entry.size, entry.mode = len(text), 0o600
        tar.addfile(entry, io.BytesIO(text))
        tar.add(dumped, DUMP, filter=_ours)
        for path in _blobs(blob_folder):
            try:
                tar.add(path, f"{BLOBS}/{path.relative_to(blob_folder)}", filter=_ours)
                blobs += 1
            except FileNotFoundError:
                continue  # evicted meanwhile, as caches are
        for name in keys:
            tar.add(home / name, f"{KEYS}/{name}", filter=_ours)
        raw.flush()
        os.fsync(descriptor)
    return blobs


def _blobs(folder: Path) -> Iterator[Path]:
    """Complete blobs; what is still being written is no blob yet."""
    if (folder / "blobs").is_dir():
        yield from (path for path in sorted((folder / "blobs").rglob("*")) if path.is_file())


def _ours(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o600
    return entry
