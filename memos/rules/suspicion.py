"""What becomes of one write: the trust it is stamped with, and whether it is set aside before anybody recalls it.

Patterns (`injection`), the class of what is relayed (`trust`) and the standing of the source (`reputation`) decide
together. The stamp only tells apart what ranking should: the parties of a conversation and given documents keep full
trust, pages and the output of tools less, because anybody may have written them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from memos.rules.header import Draft, Kind
from memos.rules.injection import Finding, find_injection
from memos.rules.reputation import Reputation
from memos.rules.trust import DEFAULT_POLICY, TrustClass, TrustPolicy, classify

STAMP: Final[Mapping[TrustClass, float]] = MappingProxyType(
    {
        TrustClass.OPERATOR: 1.0,
        TrustClass.USER: 1.0,
        TrustClass.ASSISTANT: 1.0,
        TrustClass.DOCUMENT: 1.0,
        TrustClass.TOOL: 0.7,
        TrustClass.WEB: 0.6,
    }
)
ANOMALY: Final = "its source has suddenly turned suspicious"
DISTRUST: Final = "its source is not believed"
_MACHINE_ROLES: Final = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class Suspicion:
    """`reasons` name families of patterns or the standing of the source, never what the text says."""

    trust_class: TrustClass
    trust: float
    quarantined: bool
    score: float
    reasons: tuple[str, ...]


def look_at(draft: Draft) -> Finding:
    """Everything of a draft that ends in a prompt: its text, its title and who it says is speaking."""
    parts = [part for part in (draft.title, draft.name, draft.text) if part]
    return find_injection("\n".join(parts))


def class_of(draft: Draft, *, operator: bool) -> TrustClass:
    """What a draft relays. An operator's key is believed as such where it speaks for itself, not where it passes on
    what users, tools and pages said."""
    if draft.kind is Kind.PASSAGE:
        address = (draft.source or "").lower()
        return TrustClass.WEB if address.startswith(("http://", "https://")) else TrustClass.DOCUMENT
    relays = draft.role is None or draft.role.lower() not in _MACHINE_ROLES
    return classify(role=draft.role, origin=draft.origin, operator=operator and not relays)


def judge(
    found: Finding, trust_class: TrustClass, source: Reputation, policy: TrustPolicy = DEFAULT_POLICY
) -> Suspicion:
    """A source that has suddenly turned bad has everything set aside; one that is merely doubted loses trust."""
    reasons = found.reasons
    quarantined = found.score >= policy.quarantine_at[trust_class]
    if trust_class is not TrustClass.OPERATOR and source.distrusted:
        quarantined = True
        reasons = (*reasons, ANOMALY if source.anomalous else DISTRUST)
    doubt = 0.0 if trust_class is TrustClass.OPERATOR else found.score
    factor = 1.0 if trust_class is TrustClass.OPERATOR else source.factor
    trust = round(STAMP[trust_class] * (1.0 - doubt) * factor, 4)
    return Suspicion(trust_class, trust, quarantined, found.score, reasons)
