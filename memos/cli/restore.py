"""`memos restore`: a service from a backup, in an empty place, compared with what was backed up before anybody uses it."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import SecretStr

from memos.cli.backup import BLOBS, DUMP, FORMAT, KEY_FILES, KEYS, MANIFEST, blob_dir, file_sha256
from memos.cli.servers import Servers, owner_url
from memos.embedded.directories import write_private
from memos.embedded.dump_tools import load, major
from memos.errors import Conflict, Invalid, Misconfigured
from memos.settings import Settings
from memos.store import backup as store
from memos.store.backup import Facts
from memos.store.schema import expected_revision, migrate, prepare_roles
from memos.wiring import data_dir, embedder_of

_NO_BROKER = "redis://127.0.0.1:1"
"""Named so that none is started; nobody asks it."""
_MOST_MANIFEST_BYTES = 16 * 2**20


def restore(settings: Settings, file: Path) -> str:
    """Read the backup into the embedded servers of the data directory, or into the empty database that DATABASE_URL names.

    Raises `Conflict` when something is there already, and `Misconfigured` when what came back is not what was backed up.
    """
    home = data_dir(settings)
    # Beside the backup, where there is room for as much again; a container's /tmp is small.
    beside = file.absolute().parent
    with tempfile.TemporaryDirectory(
        prefix=".memos-restore-", dir=beside if os.access(beside, os.W_OK) else None
    ) as scratch:
        manifest = _unpacked(file, Path(scratch))
        facts = Facts(**manifest["facts"])
        model = _fitting_model(settings, manifest, facts)
        keys = _new_keys(Path(scratch) / KEYS, home)
        servers = Servers(_without_broker(settings), home)
        servers.start()
        try:
            url = owner_url(servers.settings())
            store.require_empty(url)
            server = store.server_version(url)
            _require_no_older(server, facts.server)
            login = settings.app_database_url.get_secret_value() if settings.app_database_url else None
            prepare_roles(url, login)
            load(store.libpq_environment(url), Path(scratch) / DUMP, server, manifest.get("dumped_by", facts.server))
            store.own_doors(url, facts.doors)
            _require_same(facts, store.facts(url))
            migrate(url, facts.width, login)
        finally:
            servers.stop()
        for name, path in keys.items():
            write_private(home / name, path.read_text(encoding="utf-8"))
        blobs = _put_blobs(Path(scratch) / BLOBS, blob_dir(settings))
    said = (
        f"Restored {facts.tables['memories']:,} memories in {facts.tables['cubes']:,} cubes and {blobs:,} KV blobs, as of "
        f"{manifest['made_at']}; every table and every revision is as it was. Now run 'memos doctor'."
    )
    if model:
        said += f" {model}"
    named = {name for name in ("secret", "owner.key") if _named(settings, name)}
    if "owner.key" not in keys and "owner.key" not in named:
        said += " The keys in the database work; the owner key is not in the backup: 'memos keys create' makes another."
    if "secret" not in keys and "secret" not in named:
        said += " The service's secret is not in the backup: put it back, or new receipts are signed by another key."
    return said


def _without_broker(settings: Settings) -> Settings:
    """Into a database of its own nothing but that is restored: no broker is started in a data directory that nobody will use."""
    if settings.database_url is None or settings.redis_url is not None:
        return settings
    return settings.model_copy(update={"redis_url": SecretStr(_NO_BROKER)})


def _named(settings: Settings, key: str) -> bool:
    """Whether the settings name a key, so that no file has to."""
    return (settings.secret if key == "secret" else settings.owner_key) is not None


def _require_no_older(server: str, before: str) -> None:
    if major(server) < major(before):
        raise Misconfigured(
            f"the backup is of PostgreSQL {before} and this server is {server}: restore into PostgreSQL {major(before)} or newer"
        )


def _unpacked(file: Path, scratch: Path) -> dict[str, Any]:
    """The parts of a backup in a folder of our own. Raises `Invalid` for what is none, or damaged."""
    try:
        with tarfile.open(file, "r:") as tar:
            for entry in tar:
                first, *rest = PurePosixPath(entry.name).parts
                if not entry.isfile() or first not in {MANIFEST, DUMP, BLOBS, KEYS} or ".." in rest:
                    raise Invalid(f"{file} holds {entry.name!r}, which is no part of a backup")
                if entry.name == MANIFEST and entry.size > _MOST_MANIFEST_BYTES:
                    raise Invalid(f"{file} is no backup")
                _copy(tar, entry, scratch / entry.name)
        manifest = json.loads((scratch / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            raise Invalid(f"{file} is no backup of the format {FORMAT}")
        if file_sha256(scratch / DUMP) != manifest["dump_sha256"]:
            raise Invalid(f"{file} is damaged: the dump is not the one its manifest names")
        Facts(**manifest["facts"])
    except (tarfile.TarError, OSError, ValueError, KeyError, TypeError) as error:
        raise Invalid(f"{file} is no backup, or is damaged: {error}") from error
    return dict(manifest)


def _copy(tar: tarfile.TarFile, entry: tarfile.TarInfo, to: Path) -> None:
    """The bytes alone: owner, mode and times of the backup's machine mean nothing here."""
    to.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(entry)
    assert source is not None  # noqa: S101 - a regular file
    with source, to.open("xb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _fitting_model(settings: Settings, manifest: dict[str, Any], facts: Facts) -> str:
    """A word about the model, '' when it is the same. Raises `Misconfigured` when this program cannot serve the backup."""
    if facts.migration > expected_revision():
        raise Misconfigured(
            f"the backup is of a newer version (migration {facts.migration}, this program knows {expected_revision()}): upgrade "
            "first"
        )
    embedder = embedder_of(settings)
    if embedder.dimensions != facts.width:
        raise Misconfigured(
            f"the backup holds vectors of {facts.width} dimensions by {manifest['model']['name']!r}; set MEMOS_EMBEDDER to it"
        )
    if embedder.fingerprint != manifest["model"]["fingerprint"]:
        return f"The vectors are by {manifest['model']['name']!r}, but {embedder.name!r} is configured: set MEMOS_EMBEDDER."
    return ""


def _new_keys(folder: Path, home: Path) -> dict[str, Path]:
    """Keys of the backup that may be put in place. Raises `Conflict` when another one is there."""
    found = {name: folder / name for name in KEY_FILES if (folder / name).is_file()}
    for name, path in found.items():
        there = home / name
        if there.exists() and there.read_bytes() != path.read_bytes():
            raise Conflict(f"{there} is there and is another than the backup's; move it away first")
    return found


def _put_blobs(source: Path, target: Path) -> int:
    if not source.is_dir():
        return 0
    shutil.copytree(source, target, dirs_exist_ok=True)
    return sum(path.is_file() for path in source.rglob("*"))


def _require_same(expected: Facts, found: Facts) -> None:
    differing = sorted(
        name for name in expected.tables | found.tables if expected.tables.get(name) != found.tables.get(name)
    )
    if differing or expected.chains != found.chains or expected.doors != found.doors:
        what = ", ".join(differing) or ("revision chains" if expected.chains != found.chains else "functions")
        raise Misconfigured(
            f"what was restored differs from what was backed up: {what}. Do not use it; keep the backup."
        )
