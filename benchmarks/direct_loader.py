"""Bulk loading through the service's own library instead of HTTP, with vectors made from a pool of real ones.

Rows, indexes and revisions are written by the code that serves requests; only the embedder is replaced. A text gets the
vector of some pool text, turned a little: neighbourhoods stay as real embeddings have them, at none of their cost. A
further version gets the real vector of the memory it changes, turned a little.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from benchmarks.bulk import BulkLoader
from benchmarks.corpus import Memory, edited, memory
from benchmarks.report import Step
from benchmarks.server import Service
from memos.embedded import default_data_dir
from memos.encoders.embedder import Embedder, build_embedder
from memos.rules import lexical
from memos.rules.header import dedup_key
from memos.services import remember
from memos.services.remember import MessageIn, Prepared, utc_now
from memos.settings import Settings
from memos.store import cubes, jobs, memories
from memos.store.engine import Database
from memos.store.revision_writer import Encoded, RevisionWriter
from memos.store.schema import app_url

POOL = 1_000
# Length of the turn: cosine of about 0.87 between a text's vector and the pool vector it comes from.
TURN = 0.57
EDITS_PER_REVISION = 200


def perturbed(service: Service, database_url: str | None) -> BulkLoader:
    """The loader for `--bulk-loader benchmarks.direct_loader:perturbed`."""
    if database_url is None:
        raise ValueError("the direct loader needs --database-url (the owner's), or a service that this run started")
    home = service.data_dir or default_data_dir()
    settings = Settings()
    embedder = build_embedder(settings.embedder, cache_dir=home / "models")
    return DirectLoader(Database(app_url(database_url), settings), PerturbedEmbedder(embedder), service.key)


class PerturbedEmbedder:
    """Vectors of `POOL` real texts, each handed out again and again with a small turn. Deterministic per order of use."""

    name = "perturbed"
    fingerprint = "perturbed"

    def __init__(self, embedder: Embedder) -> None:
        self.dimensions = embedder.dimensions
        self.max_tokens = embedder.max_tokens
        self.real = embedder
        self._pool = embedder.embed([memory("pool", n).content for n in range(POOL)])
        self._dice = np.random.default_rng(7)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.turned(self._pool[self._dice.integers(0, POOL, len(texts))])

    def turned(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors near those given, as of the same texts a little changed."""
        noise = self._dice.normal(0, TURN / np.sqrt(self.dimensions), vectors.shape).astype(np.float32)
        turned = vectors + noise
        return np.asarray(turned / np.linalg.norm(turned, axis=1, keepdims=True), dtype=np.float32)

    def count_tokens(self, text: str) -> int:
        return len(text) // 4

    def token_starts(self, text: str) -> Sequence[int]:
        return range(0, self.count_tokens(text) * 4, 4)


class DirectLoader:
    """Writes as the tenant of the service's key."""

    description = (
        f"by the service's own library without HTTP, with vectors perturbed from {POOL} real ones (the rows, indexes and "
        "revisions are what the API would have written)"
    )

    def __init__(self, database: Database, embedder: PerturbedEmbedder, key: str) -> None:
        self._database = database
        self._embedder = embedder
        self._who = database.authenticate(key)

    def load(self, cube_id: str, memories: Iterable[Memory], step: Step) -> None:
        for session_id, grouped in groupby(memories, key=lambda m: m.session_id):
            session = list(grouped)
            prepared = remember.prepare_messages(
                self._embedder,
                cube_id,
                session_id=session_id,
                messages=[_message(m) for m in session],
                branch=cubes.MAIN,
                now=utc_now(),
            )
            self._write(prepared)
            step(len(session))

    def revise(self, cube_id: str, memories: Iterable[Memory], versions: int, step: Step) -> None:
        numbered = list(memories)
        # An edit stays near what its memory says: one that moved it elsewhere would make every question unsure.
        own = self._embedder.real.embed([m.content for m in numbered])
        for version in range(1, versions + 1):
            for start in range(0, len(numbered), EDITS_PER_REVISION):
                part = slice(start, start + EDITS_PER_REVISION)
                self._edit(cube_id, numbered[part], self._embedder.turned(own[part]), version)
                step(len(numbered[part]))

    def _write(self, prepared: Prepared) -> None:
        with self._database.transaction(self._who.tenant_id) as tx:
            remember.write(tx, self._who, prepared, now=utc_now())

    def _edit(self, cube_id: str, part: Sequence[Memory], vectors: NDArray[np.float32], version: int) -> None:
        texts = [edited(m, version) for m in part]
        with self._database.transaction(self._who.tenant_id) as tx:
            writer = RevisionWriter(tx, cube_id, cubes.MAIN, now=utc_now())
            keys = [_key(m) for m in part]
            ids = memories.by_dedup_key(tx, writer.cube.id, keys)
            rows = memories.get_many(tx, writer.view, ids.values())
            for key, text, vector in zip(keys, texts, vectors, strict=True):
                row = rows[ids[key]]
                encoded = Encoded(vector, lexical.frequencies(text), self._embedder.count_tokens(text))
                writer.change(row, replace(row.draft(), text=text), encoded)
            writer.finish(kind="edit", author=self._who.key_id, reason=f"version {version}")
            # As the API does: without it nobody would move the new vectors into the graph.
            jobs.promise_after_write(tx, writer.cube.id, writer.branch.name, extraction=False)


def _message(m: Memory) -> MessageIn:
    fields = m.message()
    return MessageIn(
        role=fields["role"],
        content=fields["content"],
        name=fields["name"],
        external_id=fields["external_id"],
        created_at=m.created_at,
        metadata=fields["metadata"],
    )


def _key(m: Memory) -> bytes:
    """What the service knows the turn by: its session and external id."""
    message = _message(m)
    draft = remember.turn(message, m.session_id, m.created_at)
    return dedup_key(draft)
