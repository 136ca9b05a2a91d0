"""Which names mean one entity: decisions with revision ranges, read through a view like everything else.

A decision holds for a name everywhere, or within one memory, which goes before. Undoing one is another decision: the
name means itself again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from memos.store.cubes import Branch, View
from memos.store.memories import lineage_parameters
from memos.store.transaction import Transaction

Key = tuple[UUID, UUID | None]
"""An entity, and the memory within which the decision holds (None: everywhere)."""


@dataclass(frozen=True, slots=True)
class Meanings:
    """What a view has decided, as it was decided: chains are followed by `root`."""

    decided: Mapping[Key, UUID]

    def root(self, entity_id: UUID, memory_id: UUID | None = None) -> UUID:
        """Whom a name means, here or within one memory."""
        if memory_id is not None and (entity_id, memory_id) in self.decided:
            entity_id = self.decided[entity_id, memory_id]
        seen = {entity_id}
        while (following := self.decided.get((entity_id, None), entity_id)) not in seen:
            seen.add(following)
            entity_id = following
        return entity_id

    def names(self, roots: Iterable[UUID]) -> dict[UUID, UUID]:
        """Every entity that means one of these everywhere, with whom it means; they themselves included."""
        wanted = set(roots)
        found = {root: root for root in wanted if self.root(root) == root}
        for entity_id, memory_id in self.decided:
            if memory_id is None and (root := self.root(entity_id)) in wanted:
                found[entity_id] = root
        return found

    def exceptions(self) -> dict[tuple[UUID, UUID], UUID]:
        """Names that mean somebody else within one memory."""
        return {
            (entity_id, memory_id): self.root(entity_id, memory_id)
            for entity_id, memory_id in self.decided
            if memory_id is not None
        }

    @property
    def hidden(self) -> list[UUID]:
        """Entities that mean another, and so are nobody of their own."""
        return [
            entity_id
            for entity_id, memory_id in self.decided
            if memory_id is None and self.root(entity_id) != entity_id
        ]


def meanings(tx: Transaction, view: View) -> Meanings:
    rows = tx.rows(
        "SELECT DISTINCT ON (i.entity_id, i.memory_id) i.entity_id, i.memory_id, i.means_id "
        "FROM unnest(CAST(:branch_ids AS integer[]), CAST(:caps AS integer[])) WITH ORDINALITY AS l (branch_id, cap, depth) "
        "JOIN identities i ON i.tenant_id = :tenant AND i.branch_id = l.branch_id AND i.from_revision <= l.cap "
        "AND (i.to_revision IS NULL OR i.to_revision > l.cap) ORDER BY i.entity_id, i.memory_id, l.depth",
        **lineage_parameters(view.lineage),
    )
    return Meanings({(row["entity_id"], row["memory_id"]): row["means_id"] for row in rows})


def decide(tx: Transaction, branch: Branch, number: int, changes: Mapping[Key, UUID]) -> None:
    """Let these decisions hold on a branch from revision `number` on."""
    if not changes:
        return
    keys = list(changes)
    bound = {
        "branch": branch.id,
        "number": number,
        "entities": [entity_id for entity_id, _ in keys],
        "memories": [memory_id for _, memory_id in keys],
    }
    tx.run(
        "UPDATE identities i SET to_revision = :number FROM unnest(CAST(:entities AS uuid[]), CAST(:memories AS uuid[])) "
        "AS k (entity_id, memory_id) WHERE i.tenant_id = :tenant AND i.branch_id = :branch AND i.to_revision IS NULL "
        "AND i.entity_id = k.entity_id AND i.memory_id IS NOT DISTINCT FROM k.memory_id",
        **bound,
    )
    tx.run(
        "INSERT INTO identities (tenant_id, cube_id, branch_id, entity_id, memory_id, means_id, from_revision) "
        "SELECT :tenant, CAST(:cube AS uuid), :branch, k.entity_id, k.memory_id, k.means_id, :number "
        "FROM unnest(CAST(:entities AS uuid[]), CAST(:memories AS uuid[]), CAST(:means AS uuid[])) "
        "AS k (entity_id, memory_id, means_id)",
        cube=branch.cube_id,
        means=list(changes.values()),
        **bound,
    )


def restore(now: Meanings, then: Meanings) -> dict[Key, UUID]:
    """The decisions that make a branch mean again what it meant then."""
    keys = {*now.decided, *then.decided}
    wanted = {key: then.decided.get(key, key[0]) for key in keys}
    return {key: means for key, means in wanted.items() if now.decided.get(key, key[0]) != means}


def merge(base: Meanings, ours: Meanings, theirs: Meanings, *, prefer_theirs: bool) -> dict[Key, UUID]:
    """Three-way: what only they decided holds; where both did, ours stays unless theirs is preferred."""
    changes = {}
    for key in {*base.decided, *theirs.decided}:
        then, here, there = (side.decided.get(key, key[0]) for side in (base, ours, theirs))
        if there not in (then, here) and (here == then or prefer_theirs):
            changes[key] = there
    return changes
