"""One builder at a time per cube and model, and one hand-in per chunk, across all processes.

A builder's is a session's advisory lock, on a connection of its own: it is gone with its holder however that ends, and holds no
transaction open while a model computes for minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import text

from memos.store.engine import Database
from memos.store.transaction import Transaction

_POLL_S = 0.2


def one_at_a_time(tx: Transaction, key: bytes) -> None:
    """Until this transaction ends nobody else hands this chunk in. One who replaces what waits for its check locks the
    object and then the chunk, one who comes first the chunk and then the object: they would wait for each other."""
    tx.scalar(
        "SELECT 1 FROM pg_advisory_xact_lock(hashtextextended(:name, 0))", name=f"kv.chunk {tx.tenant_id} {key.hex()}"
    )


@contextmanager
def building(
    database: Database, tenant_id: UUID, cube_id: UUID, model_key: str, *, waiting: Callable[[], None]
) -> Iterator[None]:
    """Hold the lock. `waiting` is called while somebody else does, and may raise to give up."""
    name = {"name": f"kv.build {tenant_id} {cube_id} {model_key}"}
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.execute(text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"), name).scalar():
            waiting()
            time.sleep(_POLL_S)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), name)
