"""Profiles and procedures: what stays true about the people of a cube, and how things are done there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from memos.rules.consolidation import Proposal
from memos.rules.entities import entity_key
from memos.rules.header import Kind
from memos.rules.procedures import Trace, distil
from memos.rules.profile import Known, build_profile
from memos.rules.traces import Said, find_traces
from memos.services.summaries import cited
from memos.store import claims, derivations, memories
from memos.store.claims import Fact
from memos.store.cubes import View
from memos.store.memories import Usage, Version
from memos.store.transaction import Transaction

# A cube about a crowd has no one subject: those most is known about stand for it.
MOST_SUBJECTS = 8
MIN_FACTS = 2


@dataclass(frozen=True, slots=True)
class People:
    """Whom profiles may be about, by key, and the facts about them."""

    names: Mapping[str, str]
    facts: Sequence[Fact]
    usage: Mapping[UUID, Usage]


def read_people(tx: Transaction, view: View) -> People:
    """Those who speak in a cube, or are its user, with everything stated about them."""
    names = {"user": "user"} | {entity_key(name): name for name in claims.speakers(tx, view)}
    facts = claims.about(tx, view, list(names))
    return People(names, facts, memories.usage(tx, view.cube.id, [fact.row.memory_id for fact in facts]))


def profiles(people: People, count_tokens: Callable[[str], int], now: datetime) -> list[Proposal]:
    """A profile of each subject about whom enough lasts."""
    by_subject: dict[str, list[Fact]] = {}
    for fact in people.facts:
        by_subject.setdefault(_owner(fact, people.names), []).append(fact)
    ranked = sorted(by_subject, key=lambda key: (-len(by_subject[key]), key))[:MOST_SUBJECTS]
    found = []
    for key in ranked:
        facts = {fact.row.memory_id: fact for fact in by_subject[key]}
        profile = build_profile(people.names[key], [_known(f, people.usage) for f in facts.values()], count_tokens, now)
        quoted = [facts[memory_id] for memory_id in profile.fact_ids]
        if len(quoted) < MIN_FACTS:
            continue
        found.append(
            Proposal(
                kind=Kind.PROFILE,
                external_id=f"profile/{key}",
                title=f"About {people.names[key]}",
                text=profile.text,
                created_at=max(fact.row.created_at for fact in quoted),
                cited=[cited(fact.row) for fact in quoted],
                metadata={"subject": people.names[key]},
                verbatim=True,
            )
        )
    return found


def traces_in(turns: Mapping[str, Sequence[Version]]) -> list[Trace]:
    """The runs of how-tos in some sessions, oldest session first."""
    ordered = sorted((session for session in turns.values() if session), key=lambda s: (s[0].created_at, s[0].id))
    return [
        trace
        for session in ordered
        for trace in find_traces([Said(t.memory_id, t.text or "", t.role or "user") for t in session])
    ]


def procedures(turns: Mapping[str, Sequence[Version]]) -> list[Proposal]:
    """What worked at least twice, in steps."""
    rows = {turn.memory_id: turn for session in turns.values() for turn in session}
    return [
        Proposal(
            kind=Kind.PROCEDURE,
            # The first question ever asked about it names it, however it is asked later.
            external_id=f"procedure/{procedure.source_ids[0]}",
            title=procedure.title,
            text=procedure.text,
            created_at=max(rows[source].created_at for source in procedure.source_ids),
            cited=[cited(rows[source]) for source in procedure.source_ids],
            metadata={"successes": procedure.successes, "failures": procedure.failures},
            verbatim=True,
        )
        for procedure in distil(traces_in(turns))
    ]


def read_turns(tx: Transaction, view: View) -> Mapping[str, Sequence[Version]]:
    """Every session in full: how-tos repeat across sessions."""
    names = [size.session_id for size in derivations.sessions(tx, view)]
    return derivations.turns(tx, view, names)


def _owner(fact: Fact, names: Mapping[str, str]) -> str:
    """Whose profile a fact belongs to: "Ana's sister" is part of what is known about Ana."""
    key = entity_key(fact.claim.subject)
    return key if key in names else key.split("'s ", 1)[0]


def _known(fact: Fact, usage: Mapping[UUID, Usage]) -> Known:
    used = usage.get(fact.row.memory_id)
    return Known(
        fact.claim,
        confidence=fact.confidence,
        trust=fact.row.trust,
        confirmations=used.repeats if used else 0,
        recalls=used.recalls if used else 0,
    )
