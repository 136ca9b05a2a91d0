"""One builder at a time per cube and model, across all processes.

A session's advisory lock, on a connection of its own: it is gone with its holder however that ends, and holds no
transaction open while a model computes for minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import text

from memos.store.engine import Database

_POLL_S = 0.2


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
