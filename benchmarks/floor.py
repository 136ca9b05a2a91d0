"""The floor: what any service would have to do at least, measured beside it on the same rows.

Embed the query in this process with the service's own embedder, then ask PostgreSQL one HNSW query on the
table the service searches, over a connection of our own. The same connection tells the recall of that index:
its answer against an exact scan of the same rows, with and without a filter.

The SQL below is the only place in the benchmarks that knows the service's tables.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from benchmarks.server import Service
from memos.encoders.embedder import Embedder
from memos.rules.narrowing import few
from memos.rules.routing import PROBES
from memos.store.cubes import BREADTH, WIDE_BREADTH, WIDE_FROM
from memos.store.facets import NUMBER

# Where the present of a cube lives: rows of its main branch in `heads`.
BRANCH_SQL = """
    SELECT tenant_id, id FROM branches WHERE cube_id = %(cube)s AND name = 'main' AND deleted_at IS NULL
"""
COUNT_SQL = """
    SELECT count(*), count(*) FILTER (WHERE indexed) FROM heads
    WHERE tenant_id = %(tenant)s AND branch_id = %(branch)s AND NOT folded
"""
# The HNSW index is partial (`WHERE indexed AND NOT folded`), so only a query that says so can use it.
FLOOR_SQL = """
    SELECT memory_id FROM heads WHERE tenant_id = %(tenant)s AND branch_id = %(branch)s AND indexed AND NOT folded
    ORDER BY embedding <=> %(vector)s LIMIT %(limit)s
"""
# The same without the graph: what a cube that the service scans exactly is compared with.
SCAN_SQL = """
    SELECT memory_id FROM heads WHERE tenant_id = %(tenant)s AND branch_id = %(branch)s AND NOT folded
    ORDER BY embedding <=> %(vector)s LIMIT %(limit)s
"""
# As a search asks: more than are counted, since an index that goes on until a filter is satisfied gives them out of order.
NEAREST_SQL = """
    SELECT memory_id FROM (
        SELECT memory_id, embedding <=> %(vector)s AS distance FROM heads
        WHERE tenant_id = %(tenant)s AND branch_id = %(branch)s AND indexed AND NOT folded
        ORDER BY embedding <=> %(vector)s LIMIT %(channel)s) nearest
    ORDER BY distance LIMIT %(limit)s
"""
# Put in before ORDER BY by the filtered variants; `topic` is metadata of the synthetic corpus.
FILTER_SQL = """
    AND EXISTS (SELECT FROM memory_versions v WHERE v.tenant_id = heads.tenant_id AND v.id = heads.version_id
                AND v.metadata ->> 'topic' = %(topic)s)
"""
# As a search asks with a filter: what lists tell (see memos/store/facets.py). A short list is compared one by one.
LISTED_SQL = f"""
    SELECT facet, (SELECT count(*) FROM facets WHERE tenant_id = %(tenant)s AND branch_id = %(branch)s AND facet = a.facet)
    FROM (SELECT {NUMBER} AS facet FROM (VALUES ('metadata.topic', to_jsonb(CAST(%(topic)s AS text)))) AS f (field, value)) a
"""
NARROWED_SQL = {
    "a list": NEAREST_SQL.replace(
        "AND indexed AND NOT folded",
        "AND NOT folded AND version_id IN (SELECT version_id FROM facets WHERE tenant_id = %(tenant)s "
        "AND branch_id = %(branch)s AND facet = %(facet)s)",
    ),
    "the graph": NEAREST_SQL.replace("ORDER BY embedding", "AND facets && ARRAY[%(facet)s] ORDER BY embedding"),
}
# How the service sets its searches up; an index is only as good as its settings.
SESSION_SQL = ("SET hnsw.iterative_scan = relaxed_order",)
BREADTH_SQL = "SET hnsw.ef_search = {breadth}"
# A sort over all rows of the branch is exact; plain index scans are what HNSW answers through.
EXACT_SQL = ("SET LOCAL enable_indexscan = off", "SET LOCAL enable_indexonlyscan = off")
SETTLE_SQL = "VACUUM (ANALYZE)"

LIMIT = 10
CHANNEL = PROBES["low"].per_channel


class Floor:
    """Floor searches of one cube; as many as wanted share a database connection and an embedder."""

    def __init__(self, connection: psycopg.Connection[Any], embedder: Embedder, tenant: UUID, branch: int) -> None:
        self._connection = connection
        self._embedder = embedder
        self._scope = {"tenant": tenant, "branch": branch}
        self.rows, self.indexed = self._count()
        breadth = WIDE_BREADTH if self.rows >= WIDE_FROM else BREADTH
        connection.execute(BREADTH_SQL.format(breadth=breadth).encode())

    @classmethod
    def of_cube(cls, connection: psycopg.Connection[Any], embedder: Embedder, cube_id: str) -> Self:
        """LookupError when the database does not hold the cube."""
        found = connection.execute(BRANCH_SQL, {"cube": UUID(cube_id)}).fetchone()
        if found is None:
            raise LookupError(f"the database holds no cube {cube_id}: is it the one the service uses?")
        return cls(connection, embedder, *found)

    @property
    def description(self) -> str:
        if self.indexed:
            return f"one HNSW query; {self.indexed} of {self.rows} rows are in the graph"
        return f"one exact scan, because none of the {self.rows} rows is in the graph"

    def search(self, query: str) -> list[str]:
        """What is timed: embed, one query, the ids of the nearest."""
        return self._run(FLOOR_SQL if self.indexed else SCAN_SQL, self._embedder.embed([query])[0])

    def recall(self, query: str, *, topic: str | None = None) -> float:
        """The share of the exact nearest that a search with the smallest budget gets from the index; with `topic`, among
        memories of it, from the list of them or the graph, as a search would choose."""
        vector = self._embedder.embed([query])[0]
        exact_sql, index_sql, facet = SCAN_SQL, NEAREST_SQL if self.indexed else SCAN_SQL, None
        if topic is not None:
            exact_sql = exact_sql.replace("ORDER BY embedding", f"{FILTER_SQL} ORDER BY embedding")
            facet, listed = self._listed(topic)
            index_sql = NARROWED_SQL["a list" if listed <= few(self.rows) or not self.indexed else "the graph"]
        with self._connection.transaction():
            for setting in EXACT_SQL:
                self._connection.execute(setting)
            exact = self._run(exact_sql, vector, topic=topic)
        found = self._run(index_sql, vector, facet=facet)
        return len(set(exact) & set(found)) / len(exact) if exact else 1.0

    def _listed(self, topic: str) -> tuple[int, int]:
        row = self._connection.execute(LISTED_SQL.encode(), {**self._scope, "topic": topic}).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])

    def _run(self, sql: str, vector: NDArray[np.float32], **more: object) -> list[str]:
        parameters = {**self._scope, "vector": HalfVector(vector), "limit": LIMIT, "channel": CHANNEL, **more}
        return [str(row[0]) for row in self._connection.execute(sql.encode(), parameters)]

    def _count(self) -> tuple[int, int]:
        row = self._connection.execute(COUNT_SQL, self._scope).fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)


def connect(database_url: str) -> psycopg.Connection[Any]:
    """A connection set up as the service sets up its own; the role must see every tenant's rows."""
    connection = psycopg.connect(database_url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True)
    register_vector(connection)
    for setting in SESSION_SQL:
        connection.execute(setting.encode())
    return connection


def database_url(service: Service, given: str | None) -> str | None:
    """The one named, or the one of the embedded server that this run started; None when nobody knows."""
    named = given or os.environ.get("MEMOS_BENCH_DATABASE_URL")
    if named or service.data_dir is None:
        return named
    state = service.data_dir / "postgres" / "state.json"
    return embedded_url(state) if state.exists() else None


def embedded_url(state_file: Path) -> str:
    """The owner's login to the embedded PostgreSQL, from what its launcher remembers (see memos/embedded)."""
    state = json.loads(state_file.read_text())
    return f"postgresql://memos:{state['password']}@127.0.0.1:{state['port']}/memos"
