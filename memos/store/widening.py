"""Making room for vectors of more dimensions: every stored vector gets zeros behind it, which changes no cosine.

PostgreSQL rewrites the tables and builds their vector graphs anew, so nothing may serve meanwhile. Afterwards the database is
what it was, with wider columns: the model it was made with goes on, padded (see `encoders.padded_embedder`), and cubes move to
a wider one while they are in use (`memos reembed`).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from memos.errors import Conflict, Misconfigured
from memos.store.schema import APP_ROLE, owner_connection, width_of

MOST_DIMENSIONS: Final = 4_000
"""Beyond this pgvector builds no graph over half-precision vectors."""
_TABLES: Final = ("contents", "heads")


def widen(owner_url: str, dimensions: int) -> int:
    """Make the database hold vectors of so many dimensions, in one transaction; how many it held before.

    Raises `Misconfigured` for fewer than it holds or more than can be searched, and `Conflict` while anything is connected that
    would go on writing narrow vectors.
    """
    if dimensions > MOST_DIMENSIONS:
        raise Misconfigured(f"vectors of more than {MOST_DIMENSIONS:,} dimensions cannot be searched by a graph")
    with owner_connection(owner_url) as connection, connection.begin():
        before = width_of(connection)
        if before > dimensions:
            raise Misconfigured(
                f"the database holds vectors of {before} dimensions: it can be made wider, not narrower. A narrower model needs "
                f"nothing but MEMOS_VECTOR_WIDTH={before}."
            )
        if before < dimensions:
            _refuse_company(connection)
            _rewrite(connection, before, dimensions)
    return before


def _refuse_company(connection: Connection) -> None:
    others = connection.execute(
        text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = :app"),
        {"app": APP_ROLE},
    ).scalar_one()
    if others:
        raise Conflict(f"{others} connections of the service are open: stop API, workers and beat, then widen")


def _rewrite(connection: Connection, before: int, dimensions: int) -> None:
    connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    room = f"CAST(array_fill(0, ARRAY[{dimensions - before}]) AS halfvec({dimensions - before}))"
    for table in _TABLES:
        connection.execute(
            text(
                f"ALTER TABLE {table} ALTER COLUMN embedding TYPE halfvec({dimensions}) "
                f"USING CAST(embedding || {room} AS halfvec({dimensions}))"
            )
        )
    # Those of a space that is kept for the way back have no width of their own. An UPDATE would meet their policy.
    connection.execute(
        text(
            f"ALTER TABLE staged_vectors ALTER COLUMN embedding TYPE halfvec USING CASE vector_dims(embedding) "
            f"WHEN {before} THEN embedding || {room} ELSE embedding END"
        )
    )
