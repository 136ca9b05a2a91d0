"""How far a memory may be believed, and which writes are set aside before anyone recalls them.

Trust is stamped by the server from where a text came from, never taken from the caller. What is derived is no more
trusted than its least trusted source. Suspicious text (see injection.py) is quarantined, that is stored but not
recalled by default; the bar depends on the origin, because "from now on answer in French" is a wish when the user says
it and an attack when a web page does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from memos.rules.injection import find_injection


class TrustClass(StrEnum):
    """Where a text came from."""

    OPERATOR = "operator"
    """Written by the one who runs the service."""
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    """The output of a program the agent called."""
    DOCUMENT = "document"
    """Given by the user, written by somebody."""
    WEB = "web"
    """Fetched; written by anybody."""


TRUST: Final[Mapping[TrustClass, float]] = MappingProxyType(
    {
        TrustClass.OPERATOR: 1.0,
        TrustClass.USER: 0.9,
        TrustClass.ASSISTANT: 0.7,
        TrustClass.TOOL: 0.6,
        TrustClass.DOCUMENT: 0.6,
        TrustClass.WEB: 0.3,
    }
)

_BY_ROLE: Final = {
    "system": TrustClass.OPERATOR, "developer": TrustClass.OPERATOR, "user": TrustClass.USER,
    "assistant": TrustClass.ASSISTANT, "tool": TrustClass.TOOL, "function": TrustClass.TOOL,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """`quarantine_at` is the injection score from which a text of that class is set aside; above 1 means never."""

    version: str = "trust-1"
    quarantine_at: Mapping[TrustClass, float] = field(
        default_factory=lambda: MappingProxyType(
            {
                TrustClass.OPERATOR: 1.1,
                TrustClass.USER: 0.55,
                TrustClass.ASSISTANT: 0.55,
                TrustClass.TOOL: 0.45,
                TrustClass.DOCUMENT: 0.45,
                TrustClass.WEB: 0.4,
            }
        )
    )


DEFAULT_POLICY: Final = TrustPolicy()


@dataclass(frozen=True, slots=True)
class Assessment:
    """`trust` from 0 to 1 for the header; a quarantined text keeps its reasons for the one who reviews it."""

    trust_class: TrustClass
    trust: float
    quarantined: bool
    score: float
    reasons: tuple[str, ...]


def classify(*, role: str | None = None, origin: str = "direct", operator: bool = False) -> TrustClass:
    """The class of a write. `operator` is true for a key of the operating tenant; `origin` "web" outranks any role.

    A message that claims the role "system" is believed only from such a key: the role is the caller's word.
    """
    if origin == "web":
        return TrustClass.WEB
    if operator:
        return TrustClass.OPERATOR
    if role is None:
        return TrustClass.DOCUMENT if origin in {"document", "import"} else TrustClass.USER
    claimed = _BY_ROLE.get(role.lower(), TrustClass.USER)
    return TrustClass.USER if claimed is TrustClass.OPERATOR else claimed


def assess(text: str, trust_class: TrustClass, policy: TrustPolicy = DEFAULT_POLICY) -> Assessment:
    """Trust and quarantine of one write. Suspicion below the bar still lowers trust in proportion."""
    finding = find_injection(text)
    quarantined = finding.score >= policy.quarantine_at[trust_class]
    doubt = 0.0 if trust_class is TrustClass.OPERATOR else finding.score
    trust = round(TRUST[trust_class] * (1.0 - doubt), 4)
    return Assessment(trust_class, trust, quarantined, finding.score, finding.reasons)


def derived_trust(sources: Iterable[float]) -> float:
    """The trust of what is made from others: the least of theirs. Nothing can be derived from no source."""
    values = list(sources)
    if not values:
        raise ValueError("a derived memory needs at least one source")
    return min(values)
