"""Signing: the service's secret, and the keys that follow from it.

Everything is derived (HKDF, RFC 5869) from one secret: `MEMOS_SECRET`, or a file in the data directory that is made on
first use. Processes that share neither must be given the secret, or they would sign as different services.
"""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from memos.embedded import default_data_dir
from memos.errors import Misconfigured, StorageFull
from memos.rules.receipts import public_bytes
from memos.settings import Settings

SECRET_FILE = "secret"  # noqa: S105 - a file's name
MASTER_KEY_FILE = "master-key"
PREVIOUS = ".previous"
_SECRET_BYTES = 32
# Shorter secrets can be guessed, and with them everything signed be forged.
_MIN_SECRET = 16


@dataclass(frozen=True, slots=True)
class Keyring:
    """`signer` signs receipts; `tombstones` and `marks` key what is kept of erased versions and texts; the secrets of
    webhooks follow from `webhooks`, and `sessions` seals the cookies of the admin pages."""

    signer: Ed25519PrivateKey
    tombstones: bytes
    marks: bytes
    webhooks: bytes
    sessions: bytes
    retired: tuple[bytes, ...] = ()
    """Public keys of earlier generations, newest first."""

    @property
    def public(self) -> bytes:
        """32 bytes, for anyone."""
        return public_bytes(self.signer.public_key())


def keyring(settings: Settings) -> Keyring:
    """The keys of this service. Raises `Misconfigured` when the secret cannot be read or made."""
    return keys_of(service_secret(settings), settings.signing_generation)


@lru_cache(maxsize=8)
def keys_of(secret: bytes, generation: int = 0) -> Keyring:
    """Only the signature rotates: what keys tombstones and marks must find again what it once hashed."""
    signers = [_signer(secret, number) for number in range(generation, -1, -1)]
    return Keyring(
        signers[0],
        _derived(secret, b"memos receipts: tombstones"),
        _derived(secret, b"memos erasure: marks"),
        _derived(secret, b"memos webhooks: secrets"),
        _derived(secret, b"memos pages: sessions"),
        tuple(public_bytes(signer.public_key()) for signer in signers[1:]),
    )


def _signer(secret: bytes, generation: int) -> Ed25519PrivateKey:
    purpose = b"memos receipts: signature" + (b" %d" % generation if generation else b"")
    return Ed25519PrivateKey.from_private_bytes(_derived(secret, purpose))


def service_secret(settings: Settings) -> bytes:
    """`MEMOS_SECRET`, or the content of the file `secret` in the data directory, which is made when it is not there."""
    given = settings.secret.get_secret_value().encode() if settings.secret else None
    return _given_or_kept(given, "MEMOS_SECRET", settings, SECRET_FILE)


def master_keys(settings: Settings) -> tuple[bytes, ...]:
    """Keys of 32 bytes that wrap the data keys of cubes, the newest first: from `MEMOS_MASTER_KEY` or the file `master-key` in
    the data directory, and the one before it, while there is one.

    It is a secret of its own, so that it can be kept apart from backups: without it no stored cache can be opened.
    """
    given = settings.master_key.get_secret_value().encode() if settings.master_key else None
    newest = _given_or_kept(given, "MEMOS_MASTER_KEY", settings, MASTER_KEY_FILE)
    if settings.previous_master_key:
        before = settings.previous_master_key.get_secret_value().encode()
    else:
        before = _read(_path(settings, MASTER_KEY_FILE + PREVIOUS)) if given is None else b""
    return tuple(_derived(secret, b"memos kv: master key") for secret in (newest, before) if secret)


def renew_master_key(settings: Settings) -> None:
    """Put a new key into the file `master-key`, and the present one into `master-key.previous`. The old one has both names
    before it loses the first."""
    path = _path(settings, MASTER_KEY_FILE)
    if not _read(path):
        _make(path)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".secret-")  # 0600
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_hex(_SECRET_BYTES).encode())
        file.flush()
        os.fsync(file.fileno())
    before = path.with_name(path.name + PREVIOUS)
    before.unlink(missing_ok=True)
    os.link(path, before)
    Path(draft).replace(path)


def address_secret(settings: Settings) -> bytes:
    """32 bytes that key the addresses of caches, so that they say nothing to anybody else."""
    return _derived(service_secret(settings), b"memos kv: addresses")


def _given_or_kept(given: bytes | None, variable: str, settings: Settings, file_name: str) -> bytes:
    if given is not None:
        if len(given) < _MIN_SECRET:
            raise Misconfigured(f"{variable} is too short: give it at least {_MIN_SECRET} characters")
        return given
    path = _path(settings, file_name)
    try:
        return _read(path) or _make(path)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(f"no room to keep the service's secret in {path}: {error.strerror}") from error
        raise Misconfigured(
            f"the service's secret cannot be kept in {path} ({error.strerror}); set {variable} instead"
        ) from error


def _path(settings: Settings, file_name: str) -> Path:
    return (settings.data_dir or default_data_dir()) / file_name


def _read(path: Path) -> bytes:
    """Empty when there is none yet."""
    with suppress(FileNotFoundError):
        content = path.read_bytes().strip()
        if len(content) < _MIN_SECRET:
            raise Misconfigured(f"{path} holds no secret; restore it from a backup, or remove it to begin anew")
        return content
    return b""


def _make(path: Path) -> bytes:
    """Whoever is first wins: the file appears whole or not at all, and is never replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".secret-")  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(_SECRET_BYTES).encode())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        Path(draft).unlink()
    return _read(path)


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=purpose).derive(secret)
