"""Links between memories that resemble each other: each new version's nearest neighbours among what is recallable now.

Such a link hangs on the version whose text it was found for, like everything that is read from a text, so it is there
whenever that version is shown, and goes when it is erased.
"""

from __future__ import annotations

from collections.abc import Sequence

from memos.store.cubes import Branch
from memos.store.readings import Place
from memos.store.transaction import Transaction


def after(tx: Transaction, branch: Branch, place: Place, most: int) -> list[Place]:
    """The next versions of a branch that are recallable now, as places, in order of writing."""
    rows = tx.tuples(
        "SELECT v.from_revision, v.id FROM memory_versions v JOIN heads h ON h.tenant_id = v.tenant_id "
        "AND h.branch_id = v.branch_id AND h.version_id = v.id "
        "WHERE v.tenant_id = :tenant AND v.branch_id = :branch AND v.to_revision IS NULL "
        "AND v.from_revision >= :revision AND (v.from_revision, v.id) > (:revision, :version) "
        "ORDER BY v.from_revision, v.id LIMIT :most",
        branch=branch.id,
        revision=place.revision,
        version=place.version_id,
        most=most,
    )
    return [Place(*row) for row in rows]


def link(tx: Transaction, branch: Branch, version_ids: Sequence[int], *, neighbours: int, least: float) -> int:
    """Link each of these versions to its `neighbours` nearest memories of cosine `least` or more; how many links."""
    return tx.run(
        "INSERT INTO links (tenant_id, cube_id, memory_id, version, other_id, relation, weight) "
        "SELECT :tenant, v.cube_id, v.memory_id, v.version, n.memory_id, 'similar', least(1 - n.distance, 1) "
        "FROM memory_versions v JOIN heads h ON h.tenant_id = v.tenant_id AND h.branch_id = v.branch_id "
        "AND h.version_id = v.id CROSS JOIN LATERAL ("
        f"SELECT memory_id, distance FROM (({_NEAREST.format(indexed='o.indexed')}) UNION ALL "
        f"({_NEAREST.format(indexed='NOT o.indexed')})) o WHERE o.memory_id <> v.memory_id "
        "AND o.distance <= 1 - CAST(:least AS double precision) ORDER BY distance, memory_id LIMIT :neighbours) n "
        "WHERE v.tenant_id = :tenant AND v.branch_id = :branch AND v.id = ANY(:ids) "
        "ON CONFLICT (tenant_id, cube_id, memory_id, version, other_id, relation) DO UPDATE SET weight = excluded.weight",
        branch=branch.id,
        ids=list(version_ids),
        neighbours=neighbours,
        looked=neighbours + 1,
        least=least,
    )


# The vector graph holds only rows a job has moved in; the others are few and compared one by one.
_NEAREST = (
    "SELECT o.memory_id, o.embedding <=> h.embedding AS distance FROM heads o WHERE o.tenant_id = :tenant "
    "AND o.branch_id = :branch AND {indexed} ORDER BY o.embedding <=> h.embedding LIMIT :looked"
)
