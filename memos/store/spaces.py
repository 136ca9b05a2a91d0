"""Embedding spaces as rows: where the vectors of a cube live, what is staged beside them, and how they change places.

A cube without an active row is in the space of the configured model. Vectors that are read stand in `contents` and `heads`;
those of a space being filled, or kept for a rollback, stand in `staged_vectors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
import uuid_utils.compat as uuid_utils
from pgvector import HalfVector

from memos.errors import NotFound, Unavailable
from memos.rules.packages import Model
from memos.store.transaction import Transaction


class SpaceChanged(Unavailable):
    """The cube changed its model between the embedding of a text and its writing. Nothing was written; the same again will be."""

    code = "space_changed"
    title = "The cube has just changed its embedding model"


@dataclass(frozen=True, slots=True)
class Space:
    """One embedding space of one cube. `filling` and `ready` are on their way in; `kept` was active before."""

    id: UUID
    cube_id: UUID
    model: str
    fingerprint: str
    dimensions: int
    state: str
    created_at: datetime
    changed_at: datetime


_COLUMNS = ", ".join(Space.__dataclass_fields__)


def active(tx: Transaction, cube_id: UUID) -> Space | None:
    """The space a cube's vectors live in; None while that is the configured model's and always was."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM embedding_spaces WHERE tenant_id = :tenant AND cube_id = :cube AND state = 'active'",
        cube=cube_id,
    )
    return None if row is None else Space(**row)


def find(tx: Transaction, cube_id: UUID, space_id: UUID) -> Space:
    row = tx.row(
        f"SELECT {_COLUMNS} FROM embedding_spaces WHERE tenant_id = :tenant AND cube_id = :cube AND id = :id",
        cube=cube_id,
        id=space_id,
    )
    if row is None:
        raise NotFound("this cube has no such embedding space")
    return Space(**row)


def of_cube(tx: Transaction, cube_id: UUID) -> list[tuple[Space, int]]:
    """The spaces of a cube, oldest first, and how many vectors each has staged."""
    rows = tx.rows(
        f"SELECT {_COLUMNS}, (SELECT count(*) FROM staged_vectors v WHERE v.tenant_id = :tenant AND v.space_id = s.id) AS staged "
        "FROM embedding_spaces s WHERE tenant_id = :tenant AND cube_id = :cube ORDER BY created_at, id",
        cube=cube_id,
    )
    return [(Space(**{name: row[name] for name in Space.__dataclass_fields__}), row["staged"]) for row in rows]


def fingerprint_of(tx: Transaction, cube_id: UUID) -> str | None:
    """The active space's, if one was ever chosen."""
    found: str | None = tx.scalar(
        "SELECT fingerprint FROM embedding_spaces WHERE tenant_id = :tenant AND cube_id = :cube AND state = 'active'",
        cube=cube_id,
    )
    return found


def model_for(tx: Transaction, reference: str) -> tuple[str, str] | None:
    """(fingerprint, model) of the active space of a cube, by id or name."""
    row = tx.row(
        "SELECT s.fingerprint, s.model FROM embedding_spaces s JOIN cubes c ON c.tenant_id = s.tenant_id AND c.id = s.cube_id "
        "WHERE s.tenant_id = :tenant AND s.state = 'active' AND (CAST(c.id AS text) = lower(:reference) OR c.name = :reference) "
        "ORDER BY c.name = :reference LIMIT 1",
        reference=reference,
    )
    return None if row is None else (row["fingerprint"], row["model"])


def begin(tx: Transaction, cube_id: UUID, home: Model, target: Model, now: datetime) -> Space:
    """The space a cube is to move to, made unless it is there; the one it is in is written down, for the way back."""
    _insert(tx, cube_id, home, "active", now, only_if="NOT EXISTS (SELECT 1 FROM embedding_spaces WHERE "
            "tenant_id = :tenant AND cube_id = :cube AND state = 'active')")  # fmt: skip
    _insert(tx, cube_id, target, "filling", now)
    row = tx.row(
        f"SELECT {_COLUMNS} FROM embedding_spaces WHERE tenant_id = :tenant AND cube_id = :cube AND fingerprint = :fingerprint",
        cube=cube_id,
        fingerprint=target.fingerprint,
    )
    assert row is not None  # noqa: S101 - inserted above, or there before
    return Space(**row)


def _insert(tx: Transaction, cube_id: UUID, model: Model, state: str, now: datetime, only_if: str = "true") -> None:
    tx.run(
        "INSERT INTO embedding_spaces (tenant_id, id, cube_id, model, fingerprint, dimensions, state, created_at, changed_at) "
        f"SELECT :tenant, :id, :cube, :model, :fingerprint, :dimensions, :state, :now, :now WHERE {only_if} "
        "ON CONFLICT (tenant_id, cube_id, fingerprint) DO NOTHING",
        id=uuid_utils.uuid7(),
        cube=cube_id,
        model=model.name,
        fingerprint=model.fingerprint,
        dimensions=model.dimensions,
        state=state,
        now=now,
    )


# ---------------------------------------------------------------- filling


@dataclass(frozen=True, slots=True)
class Unstaged:
    """A text that a space has no vector of yet, with what its vector is made from."""

    content_id: int
    text: str
    title: str | None
    speaker: str | None


def unstaged(tx: Transaction, space: Space, after: int, most: int) -> list[Unstaged]:
    """Texts of the cube without a vector in the space, by ascending id."""
    rows = tx.rows(
        "SELECT c.id AS content_id, c.text, v.title, coalesce(v.name, v.role) AS speaker FROM contents c "
        "LEFT JOIN LATERAL (SELECT f.title, f.name, f.role FROM memory_versions f WHERE f.tenant_id = :tenant "
        "  AND f.content_id = c.id ORDER BY f.id LIMIT 1) v ON true "
        "WHERE c.tenant_id = :tenant AND c.cube_id = :cube AND c.erased_at IS NULL AND c.id > :after AND NOT EXISTS "
        "(SELECT 1 FROM staged_vectors s WHERE s.tenant_id = :tenant AND s.space_id = :space AND s.content_id = c.id) "
        "ORDER BY c.id LIMIT :most",
        cube=space.cube_id,
        space=space.id,
        after=after,
        most=most,
    )
    return [Unstaged(**row) for row in rows]


def remaining(tx: Transaction, space: Space) -> int:
    return int(
        tx.scalar(
            "SELECT count(*) FROM contents c WHERE c.tenant_id = :tenant AND c.cube_id = :cube AND c.erased_at IS NULL "
            "AND NOT EXISTS (SELECT 1 FROM staged_vectors s WHERE s.tenant_id = :tenant AND s.space_id = :space "
            "AND s.content_id = c.id)",
            cube=space.cube_id,
            space=space.id,
        )
    )


def texts(tx: Transaction, cube_id: UUID) -> int:
    """Texts of a cube that have a vector."""
    return int(
        tx.scalar(
            "SELECT count(*) FROM contents WHERE tenant_id = :tenant AND cube_id = :cube AND erased_at IS NULL",
            cube=cube_id,
        )
    )


def stage(tx: Transaction, space: Space, content_ids: Sequence[int], vectors: np.ndarray) -> None:
    """Keep vectors (float32 [n, width]) of texts; of those erased meanwhile nothing is kept."""
    tx.run_many(
        "INSERT INTO staged_vectors (tenant_id, space_id, content_id, cube_id, embedding) "
        "SELECT :tenant, :space, c.id, c.cube_id, :embedding FROM contents c "
        "WHERE c.tenant_id = :tenant AND c.id = :content AND c.erased_at IS NULL "
        "ON CONFLICT (tenant_id, space_id, content_id) DO NOTHING",
        [
            {"tenant": tx.tenant_id, "space": space.id, "content": content_id, "embedding": HalfVector(vector)}
            for content_id, vector in zip(content_ids, vectors, strict=True)
        ],
    )


def set_state(tx: Transaction, space: Space, state: str, now: datetime) -> None:
    tx.run(
        "UPDATE embedding_spaces SET state = :state, changed_at = :now WHERE tenant_id = :tenant AND id = :id",
        state=state,
        now=now,
        id=space.id,
    )


# ---------------------------------------------------------------- changing places


def swap(tx: Transaction, space: Space, now: datetime) -> int:
    """Put the space's vectors where they are read, and the present ones aside; how many texts moved. The caller holds the cube's
    row and has seen that nothing is missing: until this commits every reader sees the one space, afterwards the other."""
    before = active(tx, space.cube_id)
    if before is None or before.id == space.id:
        return 0
    tx.run("SET LOCAL statement_timeout = '1800s'")
    tx.run(
        "INSERT INTO staged_vectors (tenant_id, space_id, content_id, cube_id, embedding) "
        "SELECT tenant_id, :old, id, cube_id, embedding FROM contents WHERE tenant_id = :tenant AND cube_id = :cube "
        "AND embedding IS NOT NULL ON CONFLICT (tenant_id, space_id, content_id) DO UPDATE SET embedding = excluded.embedding",
        old=before.id,
        cube=space.cube_id,
    )
    moved = tx.run(
        "UPDATE contents c SET embedding = s.embedding FROM staged_vectors s WHERE c.tenant_id = :tenant AND c.cube_id = :cube "
        "AND c.erased_at IS NULL AND s.tenant_id = :tenant AND s.space_id = :space AND s.content_id = c.id",
        space=space.id,
        cube=space.cube_id,
    )
    # Out of the vector graph: moving a large cube's rows within it would hold up its writers for minutes. A job moves them back.
    tx.run(
        "UPDATE heads h SET embedding = c.embedding, indexed = false FROM memory_versions v, contents c "
        "WHERE h.tenant_id = :tenant AND h.branch_id IN (SELECT id FROM branches WHERE tenant_id = :tenant AND cube_id = :cube) "
        "AND v.tenant_id = :tenant AND v.id = h.version_id AND c.tenant_id = :tenant AND c.id = v.content_id",
        cube=space.cube_id,
    )
    tx.run("DELETE FROM staged_vectors WHERE tenant_id = :tenant AND space_id = :space", space=space.id)
    set_state(tx, before, "kept", now)
    set_state(tx, space, "active", now)
    return moved


def drop(tx: Transaction, space: Space) -> None:
    """Forget a space that is not active, with its vectors."""
    tx.run("DELETE FROM staged_vectors WHERE tenant_id = :tenant AND space_id = :space", space=space.id)
    tx.run(
        "DELETE FROM embedding_spaces WHERE tenant_id = :tenant AND id = :space AND state <> 'active'", space=space.id
    )
