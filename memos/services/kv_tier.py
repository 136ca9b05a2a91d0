"""The activation tier's own parts: the engine it keeps caches for, where they lie, and the keys that seal and address them.

Nothing of it is built before it is asked for: most processes never load a model.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

from memos.encoders.kv_container import CubeCipher
from memos.encoders.kv_engines import AnyEngine, build_engine, short_name
from memos.errors import KVRejected, NotFound, StorageFull
from memos.rules import kv_address
from memos.rules.kv_layout import GroupSpec, KVDtype, KVSpec
from memos.services import signing
from memos.services.kv_wrapping import Wrapping
from memos.settings import Settings
from memos.store import kv_chunks, kv_models
from memos.store.blobs import BlobRef, BlobStore, FilesystemBlobs
from memos.store.engine import Database
from memos.store.kv_models import Model
from memos.store.postgres_blobs import PostgresBlobs
from memos.store.transaction import Transaction

_DEK_BYTES: Final = 32


class Named(Protocol):
    """A row that names a blob of its cube, `n_bytes` long."""

    @property
    def cube_id(self) -> UUID: ...

    @property
    def blob(self) -> bytes: ...

    @property
    def n_bytes(self) -> int: ...


class ActivationTier:
    """Thread-safe. `engine` replaces the configured model, for tests."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        data_dir: Path,
        model_dir: Path,
        engine: AnyEngine | None = None,
    ) -> None:
        self.settings = settings
        self._database = database
        self._root = settings.kv_dir or data_dir / "kv"
        self._model_dir = model_dir
        self._lock = threading.Lock()
        self._engine = engine
        self._wrapping = Wrapping(settings)
        self.model_name = short_name(settings.kv_model) if settings.kv_model else None

    # -- The model

    @property
    def engine(self) -> AnyEngine:
        """Loaded on first use, which takes seconds. Raises `NotFound` when none is configured."""
        with self._lock:
            if self._engine is None:
                if self.settings.kv_model is None:
                    raise NotFound("no such model: this service keeps no caches (MEMOS_KV_MODEL is not set)")
                self._engine = build_engine(
                    self.settings.kv_model, cache_dir=self._model_dir, threads=self.settings.encoder_threads
                )
            return self._engine

    @cached_property
    def model_key(self) -> str:
        return kv_address.model_key(self.engine.identity)

    def serves(self, reference: str | None) -> bool:
        """Whether a caller's word for a model means the configured one; None means whichever there is."""
        if self.settings.kv_model is None and self._engine is None:
            return False
        return reference in (None, self.model_name) or reference == self.model_key

    def register(self, tx: Transaction) -> Model:
        """The configured model as this tenant's row."""
        spec = self.engine.identity.spec
        kv_models.register(tx, self.model_key, self.model_name or "fake", spec_json(spec), spec.bytes_per_token)
        return kv_models.find(tx, self.model_key)

    # -- Addresses

    @cached_property
    def _secret(self) -> bytes:
        return signing.address_secret(self.settings)

    def root(self, tenant_id: UUID, cube_id: UUID, model_key: str) -> bytes:
        return kv_address.tenant_root(self._secret, tenant_id=str(tenant_id), share_scope=str(cube_id), model=model_key)

    def salt(self, tenant_id: UUID, cube_id: UUID) -> str:
        return kv_address.cache_salt(self._secret, tenant_id=str(tenant_id), share_scope=str(cube_id))

    def hint(self, tenant_id: UUID, cube_id: UUID, model: str) -> str:
        return kv_address.prompt_cache_key(
            self._secret, tenant_id=str(tenant_id), share_scope=str(cube_id), model=model
        )

    # -- Room

    def budget(self, tx: Transaction) -> int:
        """How many bytes the tenant's caches may take: its own bound, or the one configured for all."""
        own = kv_models.budget(tx, tx.tenant_id).bytes_max
        return self.settings.kv_budget_bytes if own is None else own

    def refuse_beyond_budget(self, tx: Transaction, n_bytes: int) -> None:
        """Raises `StorageFull` when so many bytes more do not fit."""
        most = self.budget(tx)
        if kv_chunks.bytes_used(tx, None) + n_bytes > most:
            raise StorageFull(f"the tenant's caches may take {most:,} bytes, and this one does not fit any more")

    # -- Blobs and their keys

    def blobs(self, tenant_id: UUID) -> BlobStore:
        """Raises `Unavailable` when the folder cannot be made."""
        if self.settings.kv_blobs == "postgres":
            return PostgresBlobs(self._database, tenant_id)
        return self._files

    @cached_property
    def _files(self) -> FilesystemBlobs:
        return FilesystemBlobs(self._root)

    def cipher(self, tx: Transaction, cube_id: UUID, *, make: bool = False) -> CubeCipher:
        """The cube's cipher. Raises `NotFound` when it has no key (yet, or any more); with `make` it gets one."""
        wrapped = kv_models.wrapped_dek(tx, cube_id)
        if wrapped is None:
            if not make:
                raise NotFound("no such chunk")
            wrapped = kv_models.keep_dek(
                tx, cube_id, self._wrapping.wrap(os.urandom(_DEK_BYTES), tx.tenant_id, cube_id)
            )
        return CubeCipher(self._wrapping.unwrap(wrapped, tx.tenant_id, cube_id))


def ref_of(cube_id: UUID, blob: bytes) -> BlobRef:
    """Blobs are owned by their cube: none is shared between cubes, and a cube's are found by its id."""
    return BlobRef(str(cube_id), blob.hex())


def sealed_bytes(blobs: BlobStore, named: Named) -> bytes:
    """What a row names, still sealed. A length that is not the row's is refused before a byte is read.

    Raises:
        NotFound: there is no such blob.
        KVRejected: it is not what was stored.
    """
    with blobs.open(ref_of(named.cube_id, named.blob)) as blob:
        if blob.n_bytes != named.n_bytes:
            raise KVRejected(f"the blob has {blob.n_bytes} bytes, and had {named.n_bytes} when it was stored")
        return blob.read()


def spec_json(spec: KVSpec) -> dict[str, Any]:
    """A layout as a model's row holds it."""
    return {"dtype": spec.dtype.value, **{group.value: asdict(shape) for group, shape in spec.groups()}}


def spec_of(row: Mapping[str, Any]) -> KVSpec:
    def group(name: str) -> GroupSpec | None:
        found = row.get(name)
        return None if found is None else GroupSpec(**{**found, "layers": tuple(found["layers"])})

    return KVSpec(KVDtype(row["dtype"]), full=group("full"), swa=group("swa"))
