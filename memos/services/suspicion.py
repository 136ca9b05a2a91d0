"""Suspicion: every write is judged by what it says and by who has sent it, and what is set aside is noted with why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from memos.rules.access import Principal
from memos.rules.header import Draft
from memos.rules.injection import Finding
from memos.rules.reputation import Reputation, after_writes
from memos.rules.suspicion import Suspicion, class_of, judge, look_at
from memos.rules.trust import TrustClass
from memos.store import quarantine, sources
from memos.store.quarantine import SetAside
from memos.store.revision_writer import RevisionWriter
from memos.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Judged:
    """Drafts with their stamps, in the order they came, and why. `known` is what was known of their source."""

    drafts: list[Draft]
    why: list[Suspicion]
    known: dict[str, Reputation]

    def aside(self, memory_ids: Sequence[UUID], versions: Mapping[UUID, int]) -> dict[UUID, SetAside]:
        """Those set aside, as the memories and versions they became; what was only repeated is none of them."""
        found: dict[UUID, SetAside] = {}
        for memory_id, one in zip(memory_ids, self.why, strict=True):
            if one.quarantined and memory_id in versions:
                found[memory_id] = SetAside(
                    memory_id, versions[memory_id], one.trust_class.value, one.score, one.reasons
                )
        return found


def judged(
    tx: Transaction, who: Principal, drafts: Sequence[Draft], findings: Sequence[Finding] | None, now: datetime
) -> Judged:
    """Look at each draft, with the standing of its source, which is the key together with what it relays."""
    found = findings if findings is not None else [look_at(draft) for draft in drafts]
    classes = [class_of(draft, operator=who.operator) for draft in drafts]
    known = sources.known(tx, who.key_id, {c.value for c in classes}) if drafts else {}
    stranger = Reputation(now)
    why = [judge(one, c, known.get(c.value, stranger)) for one, c in zip(found, classes, strict=True)]
    stamped = [_stamped(draft, one) for draft, one in zip(drafts, why, strict=True)]
    return Judged(stamped, why, known)


def _stamped(draft: Draft, one: Suspicion) -> Draft:
    if one.trust >= draft.trust and one.quarantined == draft.quarantined:
        return draft
    return replace(draft, trust=min(draft.trust, one.trust), quarantined=one.quarantined)


def keep(
    tx: Transaction, who: Principal, writer: RevisionWriter, found: Judged, aside: Mapping[UUID, SetAside]
) -> None:
    """Note what was set aside, and what these writes say about their source. An operator's own word is no evidence."""
    quarantine.record(tx, writer.cube.id, writer.branch.name, who.key_id, writer.now, list(aside.values()))
    heard = Counter(one.trust_class for one in found.why if one.trust_class is not TrustClass.OPERATOR)
    # Only what patterns found counts against a source: that it was not believed is no evidence that it was right not to be.
    against = Counter(
        one.trust_class for one in found.why if one.quarantined and one.score > 0.0 and one.trust_class in heard
    )
    before = sources.known(tx, who.key_id, {c.value for c in heard}, lock=True) if heard else {}
    sources.keep(
        tx,
        who.key_id,
        {
            c.value: after_writes(
                before.get(c.value, Reputation(writer.now)),
                writer.now,
                clean=n - against[c],
                suspicious=against[c],
            )
            for c, n in heard.items()
        },
    )
