"""The floor's SQL against the service's real schema: the one place where the benchmarks know its tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from pgvector import HalfVector

from benchmarks.floor import LIMIT, Floor, connect
from memos.encoders.fake_embedder import FakeEmbedder
from memos.store.facets import FACETS

TEXTS = [f"note {number} about {topic}" for number in range(40) for topic in ("tulips", "trams")]


@pytest.fixture
def connection(owner_url: str) -> Iterator[psycopg.Connection[Any]]:
    opened = connect(owner_url)
    yield opened
    opened.close()


def filled_cube(connection: psycopg.Connection[Any], *, indexed: bool) -> tuple[UUID, dict[str, str]]:
    """A cube whose rows stand in the tables that the floor reads; {memory id: text}."""
    embedder = FakeEmbedder(64)
    cube, ids = uuid4(), {str(uuid4()): text for text in TEXTS}
    connection.execute("SET session_replication_role = replica")  # foreign keys are another test's business
    found = connection.execute("SELECT id FROM tenants").fetchone()
    assert found
    branch = connection.execute(
        "INSERT INTO branches (tenant_id, cube_id, name) VALUES (%s, %s, 'main') RETURNING id", (found[0], cube)
    ).fetchone()
    assert branch
    for number, (memory_id, text) in enumerate(ids.items()):
        topic = text.split()[-1]
        version = connection.execute(
            "INSERT INTO memory_versions (tenant_id, cube_id, memory_id, version, branch_id, from_revision, state, kind, "
            "created_at, metadata, commitment) VALUES (%s, %s, %s, 1, %s, 1, 'generated', 'turn', now(), "
            "jsonb_build_object('topic', %s::text), %s) RETURNING id",
            (found[0], cube, memory_id, branch[0], topic, number.to_bytes(32)),
        ).fetchone()
        assert version
        connection.execute(
            "INSERT INTO heads (tenant_id, branch_id, memory_id, version_id, indexed, embedding, kind) "
            "VALUES (%s, %s, %s, %s, %s, %s, 'turn')",
            (found[0], branch[0], memory_id, version[0], indexed, HalfVector(embedder.embed([text])[0])),
        )
    list_facets(connection)
    return cube, ids


def list_facets(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        f"UPDATE heads h SET facets = {FACETS} FROM memory_versions v WHERE v.id = h.version_id AND h.facets IS NULL"
    )
    connection.execute(
        "INSERT INTO facets (tenant_id, branch_id, facet, version_id) SELECT h.tenant_id, h.branch_id, f.facet, h.version_id "
        "FROM heads h CROSS JOIN LATERAL unnest(h.facets) AS f (facet) ON CONFLICT DO NOTHING"
    )


@pytest.mark.parametrize("indexed", [True, False])
def test_the_floor_finds_what_is_nearest(
    connection: psycopg.Connection[Any], indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube, ids = filled_cube(connection, indexed=indexed)
    floor = Floor.of_cube(connection, FakeEmbedder(64), str(cube))
    assert (floor.rows, floor.indexed) == (len(TEXTS), len(TEXTS) if indexed else 0)
    assert ("HNSW" in floor.description) is indexed
    found = floor.search("note 17 about trams")
    assert len(found) == LIMIT
    assert ids[found[0]] == "note 17 about trams"
    assert floor.recall("note 17 about trams") >= 0.9
    assert floor.recall("note 17 about tulips", topic="trams") >= 0.9
    assert floor.recall("note 17 about tulips", topic="nothing") == 1.0
    monkeypatch.setattr("benchmarks.floor.few", lambda _: 10)  # more have the topic than are compared one by one
    assert floor.recall("note 17 about tulips", topic="trams") >= 0.9
    connection.execute("DELETE FROM facets")
    monkeypatch.undo()
    assert floor.recall("note 17 about tulips", topic="trams") == 0.0  # a list that misses some is no recall


def test_a_cube_of_another_database_is_an_error(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(LookupError, match="is it the one the service uses"):
        Floor.of_cube(connection, FakeEmbedder(64), str(uuid4()))
