"""Candidates from the archive: what a decay run put away and nobody has recalled since.

Only what faded is there to be found. What somebody archived on purpose, what a summary lost its sources by, what is set
aside, and what is no longer valid stay where they are: the revision that put a memory away tells which it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from pgvector import HalfVector

from memos.rules.pool import Pool
from memos.store import memories
from memos.store.columns import COLUMNS, pool_of
from memos.store.cubes import View
from memos.store.filters import compile_filter
from memos.store.memories import SHOWN, Version, visible
from memos.store.request import Request, condition_of, counts
from memos.store.retention import MADE_BY_WORKERS
from memos.store.transaction import Transaction

MOST: Final = 40
"""Candidates of one look, the nearest first."""

FADED: Final = f"""v.state = 'archived' AND NOT v.quarantined AND {SHOWN} AND EXISTS (SELECT 1 FROM revisions r
    WHERE r.tenant_id = v.tenant_id AND r.cube_id = v.cube_id AND r.number = v.from_revision
    AND r.kind = ANY(CAST(:by_workers AS text[])))"""
"""Of a version `v`: whether it was put away for having faded, and for nothing else."""

_WANTED = "v.id AS version_id, v.kind, v.session_id, v.ordinal, v.name, v.role, v.trust, false AS folded"
_SAID = "c.embedding, c.asks, c.terms, c.counts, c.length"

# The vector graph is walked until enough of what it leads to is this branch's and fits (iterative scan).
_NOW = f"""
SELECT {{columns}} FROM (SELECT v.*, {_SAID} FROM contents c CROSS JOIN LATERAL (
        SELECT {_WANTED} FROM memory_versions v WHERE v.tenant_id = :tenant AND v.content_id = c.id
            AND v.branch_id = :branch_id AND v.to_revision IS NULL AND {FADED} AND {{condition}} LIMIT 1) v
    WHERE c.tenant_id = :tenant AND c.cube_id = :cube AND c.archived ORDER BY c.embedding <=> :query LIMIT :most) h
"""
_THEN = f"""
SELECT {{columns}} FROM (SELECT {_WANTED}, {_SAID} FROM {{visible}} v
    JOIN contents c ON c.tenant_id = :tenant AND c.id = v.content_id
    WHERE {FADED} AND {{condition}} ORDER BY c.embedding <=> :query, v.id LIMIT :most) h
"""


def archived(tx: Transaction, view: View, request: Request) -> Pool:
    """The nearest that a view's archive holds and that fit the request. One round trip.

    What was derived is left out unless its kind is asked for: its sources are here or at hand, and speak for themselves.
    """
    condition, parameters = condition_of(request)
    each = condition.format(row="v")
    if request.kinds is None:
        each += " AND v.origin = 'direct'"
    if request.filter is not None:
        compiled, bound = compile_filter(request.filter)
        each += f" AND {compiled}"
        parameters |= bound
    parameters |= {
        "query": HalfVector(request.embedding),
        "most": MOST,
        "named": sorted(request.named),
        "role": request.role,
        "by_workers": list(MADE_BY_WORKERS),
    }
    columns = COLUMNS.format(counts=counts(request.terms, parameters))
    source, bound = visible(view)
    parameters |= bound
    if view.present:
        statement = _NOW.format(columns=columns, condition=each)
        parameters["cube"] = view.cube.id
    else:
        statement = _THEN.format(columns=columns, condition=each, visible=source)
    return pool_of(tx.columns(statement, **parameters), len(request.terms))


def faded(tx: Transaction, view: View, memory_ids: Sequence[UUID]) -> list[Version]:
    """Those of these memories that lie in a view's archive for having faded, as they are, in order of writing."""
    rows = tx.rows(
        f"SELECT v.memory_id FROM memory_versions v WHERE v.tenant_id = :tenant AND v.id = ANY(:ids) AND {FADED}",
        ids=[row.id for row in memories.get_many(tx, view, memory_ids).values()],
        by_workers=list(MADE_BY_WORKERS),
    )
    shown = memories.get_many(tx, view, [row["memory_id"] for row in rows])
    return [shown[memory_id] for memory_id in sorted(shown)]


def shelve(tx: Transaction, content_ids: Sequence[int], *, archived: bool) -> None:
    """Move texts into the archive's vector graph, or out of it."""
    if content_ids:
        tx.run(
            "UPDATE contents SET archived = :archived WHERE tenant_id = :tenant AND id = ANY(:ids) "
            "AND archived <> :archived AND embedding IS NOT NULL",
            archived=archived,
            ids=list(content_ids),
        )
