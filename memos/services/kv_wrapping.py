"""How the keys of cubes' caches are kept: wrapped by the master key, bound to tenant and cube.

The master key can be changed without touching a blob, since only these 32 bytes a cube are under it. Until all of them are
wrapped anew both keys open: the new one comes first, the one before it from `MEMOS_PREVIOUS_MASTER_KEY` or the file
`master-key.previous`. A process that began before the change looks again when its keys do not fit.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from memos.errors import Misconfigured
from memos.services import signing
from memos.settings import Settings
from memos.store import jobs, kv_models
from memos.store.engine import Database

_NONCE_BYTES: Final = 12


class Wrapping:
    """Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._keys: tuple[AESGCM, ...] = ()

    def wrap(self, dek: bytes, tenant_id: UUID, cube_id: UUID) -> bytes:
        """With the master key as it is now: a cube's first cache is rare, and one wrapped with a retired key is lost."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._read()[0].encrypt(nonce, dek, _binding(tenant_id, cube_id))

    def unwrap(self, wrapped: bytes, tenant_id: UUID, cube_id: UUID) -> bytes:
        """Raises `Misconfigured` when no key there is opens it."""
        for looking_again in (False, True):
            for key in self._read() if looking_again else self._keys:
                with suppress(InvalidTag):
                    return _opened(key, wrapped, tenant_id, cube_id)
        raise Misconfigured(
            "the key of this cube's caches cannot be unwrapped: MEMOS_MASTER_KEY (or the file master-key) is not the "
            "one it was made with. Restore it, or delete the cube's caches."
        )

    def is_current(self, wrapped: bytes, tenant_id: UUID, cube_id: UUID) -> bool:
        """Whether the newest key opens it."""
        try:
            _opened(self._read()[0], wrapped, tenant_id, cube_id)
        except InvalidTag:
            return False
        return True

    def _read(self) -> tuple[AESGCM, ...]:
        with self._lock:
            self._keys = tuple(AESGCM(key) for key in signing.master_keys(self._settings))
            return self._keys


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """Cubes whose key was wrapped anew, and those where that was not needed."""

    changed: int
    current: int


def rewrap(database: Database, settings: Settings) -> Rewrapped:
    """Wrap every cube's key with the newest master key. No blob is read; may be repeated, and beside a running service.

    Raises:
        Misconfigured: one of them opens with no key there is; those before it are done.
    """
    wrapping = Wrapping(settings)
    changed = current = 0
    for tenant_id in jobs.tenant_ids(database):
        with database.transaction(tenant_id) as tx:
            for cube_id, wrapped in kv_models.deks(tx):
                if wrapping.is_current(wrapped, tenant_id, cube_id):
                    current += 1
                    continue
                dek = wrapping.unwrap(wrapped, tenant_id, cube_id)
                kv_models.replace_dek(tx, cube_id, wrapped, wrapping.wrap(dek, tenant_id, cube_id))
                changed += 1
    return Rewrapped(changed, current)


def rotate(database: Database, settings: Settings) -> Rewrapped:
    """A new master key for all of them. Where `MEMOS_MASTER_KEY` is set that is the new one, and the one before it has to be in
    `MEMOS_PREVIOUS_MASTER_KEY`; else the file is replaced, and the old one kept beside it. Raises `Misconfigured`."""
    if settings.master_key is None:
        # First, so that nothing depends any more on the key that is about to be forgotten.
        rewrap(database, settings)
        signing.renew_master_key(settings)
    elif settings.previous_master_key is None:
        raise Misconfigured(
            "put a new key into MEMOS_MASTER_KEY and the one before it into MEMOS_PREVIOUS_MASTER_KEY, start the service "
            "with both, and repeat this"
        )
    return rewrap(database, settings)


def _opened(key: AESGCM, wrapped: bytes, tenant_id: UUID, cube_id: UUID) -> bytes:
    return key.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _binding(tenant_id, cube_id))


def _binding(tenant_id: UUID, cube_id: UUID) -> bytes:
    return b"memos kv dek 1" + tenant_id.bytes + cube_id.bytes
