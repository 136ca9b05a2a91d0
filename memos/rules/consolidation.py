"""What a consolidation may commit: proposals, and the checks that all of them must pass together.

A run only adds, rewords what it wrote itself, and folds near-duplicates into a survivor; it never ends a source. One
failed check refuses the whole run: half a consolidation would be harder to judge, and to undo, than none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from memos.errors import Conflict
from memos.rules.duplicates import Group
from memos.rules.header import Kind, Sensitivity
from memos.rules.summarise import check_summary

SECRECY = (Sensitivity.PUBLIC, Sensitivity.NORMAL, Sensitivity.PERSONAL, Sensitivity.SECRET)


class ConsolidationRefused(Conflict):
    """A check failed; nothing was written. The detail says which, and quotes no memory."""

    code = "consolidation_refused"
    title = "The consolidation failed its checks"


@dataclass(frozen=True, slots=True)
class Cited:
    """A version a proposal was made from, with what decides about the result."""

    memory_id: UUID
    version: int
    trust: float = 1.0
    sensitivity: str = Sensitivity.NORMAL
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A memory that a run wants to exist, under an external id that stays the same from run to run.

    `material` is all it may speak from; `facts` is what is known to have been said there, for coverage. `parts` are the
    external ids of other proposals or their earlier versions that it is made from.
    """

    kind: Kind
    external_id: str
    title: str
    text: str
    created_at: datetime
    valid_from: datetime | None = None
    session_id: str | None = None
    cited: Sequence[Cited] = ()
    parts: Sequence[str] = ()
    material: Sequence[str] = ()
    facts: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    writer: str = "rules-1"
    verbatim: bool = False
    """Made of whole facts and steps, so that the words need no check."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has to say about one proposal; empty reasons mean it passes."""

    external_id: str
    coverage: float
    reasons: tuple[str, ...]


def judge(proposal: Proposal, min_coverage: float) -> Finding:
    """Check the words of one proposal against its material."""
    if proposal.verbatim:
        return Finding(proposal.external_id, 1.0, () if proposal.text.strip() else ("it is empty",))
    check = check_summary(proposal.text, proposal.material, proposal.facts, min_coverage=min_coverage)
    reasons = [reason for reason in check.reasons if not reason.startswith("not in its sources")]
    if check.ungrounded:
        # The words themselves stay out: reasons go to logs and jobs, which hold no memory content.
        reasons.append(f"{len(check.ungrounded)} of its numbers or names are not in its sources")
    return Finding(proposal.external_id, check.coverage, tuple(reasons))


def check_run(
    proposals: Sequence[Proposal],
    findings: Mapping[str, Finding],
    merges: Sequence[Group],
    *,
    stands: Callable[[UUID, int], bool],
    lives: Callable[[UUID], bool],
) -> list[str]:
    """Every reason to refuse a run; empty means commit.

    `findings` has what `judge` said of each proposal, by external id. `stands(memory, version)` says whether that
    version is what the branch shows, `lives(memory)` whether the memory would still be recallable after the run.
    """
    problems = [
        f"{proposal.external_id}: {reason}"
        for proposal in proposals
        for reason in findings[proposal.external_id].reasons
    ]
    for proposal in proposals:
        if not proposal.cited and not proposal.parts:
            problems.append(f"{proposal.external_id}: it cites nothing")
        gone = sum(not stands(cited.memory_id, cited.version) for cited in proposal.cited)
        if gone:
            problems.append(f"{proposal.external_id}: {gone} of its sources do not exist as cited")
    folded = {memory_id for group in merges for memory_id in group.folded_ids}
    problems += [
        f"the survivor {group.survivor_id} of a merge would not survive"
        for group in merges
        if group.survivor_id in folded or not lives(group.survivor_id)
    ]
    if sum(len(group.folded_ids) for group in merges) != len(folded):
        problems.append("a memory would be folded into two survivors")
    return problems


def header_of(sources: Sequence[Cited]) -> tuple[float, str, datetime | None]:
    """(trust, sensitivity, expiry) of what is made from these: the least, the most secret, the earliest."""
    trust = min(source.trust for source in sources)
    sensitivity = max((Sensitivity(source.sensitivity) for source in sources), key=SECRECY.index)
    expiries = [source.expires_at for source in sources if source.expires_at is not None]
    return trust, sensitivity, min(expiries, default=None)
