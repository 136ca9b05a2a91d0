"""Committing a consolidation: decide against the branch as it is now, check everything, write one revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import uuid_utils.compat as uuid_utils

from memos.rules.consolidation import Cited, ConsolidationRefused, Finding, Proposal, check_run, header_of
from memos.rules.duplicates import DEFAULT_POLICY as DUPLICATES
from memos.rules.duplicates import Group
from memos.rules.header import Draft, Source, dedup_key
from memos.rules.lifecycle import Action, State
from memos.store import derivations, memories, provenance
from memos.store.cubes import View
from memos.store.decisions import Decision
from memos.store.memories import Version
from memos.store.provenance import Link, Relation
from memos.store.revision_writer import Encoded, RevisionWriter
from memos.store.transaction import Transaction

RECALLABLE = frozenset({State.GENERATED, State.ACTIVATED, State.FROZEN})
OURS = frozenset({State.GENERATED, State.ACTIVATED})
"""States in which a run may reword what an earlier one wrote."""
POLICY = "consolidate-1"
_MOST_REASONS = 5


@dataclass(frozen=True, slots=True)
class Writing:
    """A proposal and the memory it becomes. `row` is how it stands now; `known` tells an id other branches know."""

    proposal: Proposal
    memory_id: UUID
    version: int
    row: Version | None
    known: bool


@dataclass(slots=True)
class Plan:
    """What a run will do to the branch as it is now. `put_off` is what has changed meanwhile: the next run's work."""

    writings: list[Writing] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    folded: dict[UUID, Version] = field(default_factory=dict)
    retire: list[Version] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    sources: dict[UUID, list[Cited]] = field(default_factory=dict)
    unchanged: int = 0
    put_off: int = 0


def draft_of(proposal: Proposal) -> Draft:
    """The memory a proposal would be, without what its sources decide (trust, secrecy, expiry)."""
    draft = Draft(
        kind=proposal.kind,
        text=proposal.text,
        created_at=proposal.created_at,
        external_id=proposal.external_id,
        session_id=proposal.session_id,
        title=proposal.title,
        valid_from=proposal.valid_from,
        origin="derived",
        metadata={**proposal.metadata, "writer": proposal.writer},
    )
    return replace(draft, dedup_key=dedup_key(draft))


def plan(
    tx: Transaction,
    view: View,
    proposals: Sequence[Proposal],
    findings: Mapping[str, Finding],
    groups: Sequence[Group],
    retire: Sequence[UUID],
) -> Plan:
    """Decide what to write, and check all of it. `findings` is what was found of each proposal's words."""
    made = Plan()
    _place(tx, view, proposals, made)
    _fold(tx, view, groups, made)
    rows = memories.get_many(tx, view, retire) if retire else {}
    made.retire = [row for row in rows.values() if row.state in OURS]
    folded = {memory_id for group in made.groups for memory_id in group.folded_ids}
    ids = {c.memory_id for w in made.writings for c in w.proposal.cited} | {g.survivor_id for g in made.groups}
    shown = derivations.shown(tx, view, ids) if ids else {}
    made.problems = check_run(
        [writing.proposal for writing in made.writings],
        findings,
        made.groups,
        stands=lambda memory_id, version: memory_id in shown and shown[memory_id][0] == version,
        lives=lambda memory_id: memory_id in shown and shown[memory_id][1] in RECALLABLE and memory_id not in folded,
    )
    return made


def write(writer: RevisionWriter, made: Plan, encoded: Mapping[str, Encoded]) -> None:
    """Put a plan that passed its checks into a revision."""
    if made.problems:
        more = len(made.problems) - _MOST_REASONS
        reasons = [*made.problems[:_MOST_REASONS], *([f"and {more} more"] if more > 0 else [])]
        raise ConsolidationRefused("; ".join(reasons))
    for writing in made.writings:
        draft = _draft(writing, made.sources[writing.memory_id])
        if writing.row is None:
            known = writing.memory_id if writing.known else None
            writer.add(draft, encoded[writing.proposal.external_id], known, new_id=writing.memory_id)
        else:
            after = replace(draft, state=writing.row.state, tags=tuple(writing.row.tags), priority=writing.row.priority)
            writer.change(writing.row, after, encoded[writing.proposal.external_id])
    kept = _links(writer, made)
    for group in made.groups:
        for memory_id in group.folded_ids:
            row = made.folded[memory_id]
            after = replace(row.draft(), state=State.MERGED, action=Action.MERGE, merged_into=group.survivor_id)
            writer.change(row, after, links=[*kept.get(memory_id, ()), Link(group.survivor_id, Relation.SIMILAR)])
    for row in made.retire:
        writer.change(row, replace(row.draft(), state=State.ARCHIVED, action=Action.ARCHIVE))


def decisions_of(made: Plan) -> list[Decision]:
    """Why each memory was written, folded or put away."""
    written = [
        Decision(
            memory_id=writing.memory_id,
            outcome="add" if writing.row is None else "reword",
            score=None,
            inputs={"sources": len(made.sources[writing.memory_id]), "facts": len(writing.proposal.facts)},
            reason=f"{writing.proposal.kind.value} by {writing.proposal.writer}",
            policy_version=POLICY,
            applied=True,
        )
        for writing in made.writings
    ]
    folded = [
        Decision(
            memory_id=memory_id,
            outcome="merge",
            score=cosine,
            inputs={"survivor": str(group.survivor_id)},
            reason="says the same as its survivor",
            policy_version=DUPLICATES.version,
            applied=True,
        )
        for group in made.groups
        for memory_id, cosine in zip(group.folded_ids, group.cosines, strict=True)
    ]
    retired = [
        Decision(
            memory_id=row.memory_id, outcome="archive", score=None, inputs={}, reason="nothing says it any more",
            policy_version=POLICY, applied=True,
        )
        for row in made.retire
    ]  # fmt: skip
    return [*written, *folded, *retired]


# ---------------------------------------------------------------- proposals


def _place(tx: Transaction, view: View, proposals: Sequence[Proposal], made: Plan) -> None:
    """Find each proposal's memory and version number; leave out what stands already, or is no longer ours to write."""
    keys = {dedup_key(draft_of(proposal)): proposal.external_id for proposal in proposals}
    ids = {keys[key]: memory_id for key, memory_id in memories.by_dedup_key(tx, view.cube.id, keys).items()}
    rows = memories.get_many(tx, view, ids.values()) if ids else {}
    origins = provenance.sources_of(tx, view, rows) if rows else {}
    last = derivations.last_versions(tx, view.cube.id, ids.values()) if ids else {}
    shown = derivations.shown(tx, view, {c.memory_id for p in proposals for c in p.cited})
    placed: dict[str, tuple[UUID, int, Sequence[Cited]]] = {}
    standing = _standing_parts(tx, view, proposals)
    for proposal in proposals:
        memory_id = ids.get(proposal.external_id)
        row = rows.get(memory_id) if memory_id is not None else None
        if row is not None and (row.state not in OURS or not origins.get(row.memory_id)):
            made.unchanged += 1  # frozen, put away, or reworded by somebody: theirs now
            continue
        if any(shown.get(c.memory_id, (0, ""))[0] != c.version for c in proposal.cited):
            made.put_off += 1
            continue
        sources = _sources(proposal, placed, standing)
        if sources is None:
            made.put_off += 1
            continue
        chosen = memory_id or uuid_utils.uuid7()
        if row is not None and _same(row, proposal):
            made.unchanged += 1
            placed[proposal.external_id] = (row.memory_id, row.version, sources)
            continue
        writing = Writing(proposal, chosen, last.get(chosen, 0) + 1, row, known=memory_id is not None)
        made.writings.append(writing)
        made.sources[chosen] = sources
        placed[proposal.external_id] = (chosen, writing.version, sources)


def _standing_parts(tx: Transaction, view: View, proposals: Sequence[Proposal]) -> dict[str, Cited]:
    """Episodes that periods are made of and this run does not write."""
    wanted = {part for proposal in proposals for part in proposal.parts}
    if not wanted:
        return {}
    made = {row.external_id: row.memory_id for row in derivations.made(tx, view, ["episode"])}
    rows = memories.get_many(tx, view, [made[name] for name in wanted if name in made])
    return {
        row.external_id: Cited(row.memory_id, row.version, row.trust, row.sensitivity, row.expires_at)
        for row in rows.values()
        if row.external_id is not None
    }


def _sources(
    proposal: Proposal, placed: Mapping[str, tuple[UUID, int, Sequence[Cited]]], standing: Mapping[str, Cited]
) -> list[Cited] | None:
    """What a proposal cites, parts included; None when a part is missing."""
    sources = list(proposal.cited)
    for part in proposal.parts:
        if part in placed:
            memory_id, version, below = placed[part]
            sources.append(Cited(memory_id, version, *header_of(below)))
        elif part in standing:
            sources.append(standing[part])
        else:
            return None
    return sources or None


def _same(row: Version, proposal: Proposal) -> bool:
    return (row.text, row.title, row.created_at) == (proposal.text, proposal.title, proposal.created_at)


def _draft(writing: Writing, sources: Sequence[Cited]) -> Draft:
    trust, sensitivity, expires_at = header_of(sources)
    return replace(
        draft_of(writing.proposal),
        trust=trust,
        sensitivity=sensitivity,
        expires_at=expires_at,
        sources=tuple(Source(source.memory_id, source.version) for source in sources),
    )


# ---------------------------------------------------------------- merges


def _fold(tx: Transaction, view: View, groups: Sequence[Group], made: Plan) -> None:
    """Keep of each group what can still be folded: live, current, and beside a survivor that lives."""
    ids = {memory_id for group in groups for memory_id in (group.survivor_id, *group.folded_ids)}
    rows = memories.get_many(tx, view, ids) if ids else {}
    for group in groups:
        survivor = rows.get(group.survivor_id)
        if survivor is None or survivor.state not in RECALLABLE or survivor.valid_to is not None:
            made.put_off += 1
            continue
        pairs = [
            (memory_id, cosine)
            for memory_id, cosine in zip(group.folded_ids, group.cosines, strict=True)
            if (row := rows.get(memory_id)) is not None and row.state in OURS and row.valid_to is None
        ]
        if pairs:
            made.groups.append(Group(group.survivor_id, tuple(m for m, _ in pairs), tuple(c for _, c in pairs)))
            made.folded |= {memory_id: rows[memory_id] for memory_id, _ in pairs}


def _links(writer: RevisionWriter, made: Plan) -> dict[UUID, list[Link]]:
    """What the folded memories are linked to already."""
    kept: dict[UUID, list[Link]] = {}
    if made.folded:
        for link in provenance.links_of(writer.tx, writer.view, made.folded):
            kept.setdefault(link.memory_id, []).append(Link(link.other_id, link.relation))
    return kept
