"""What stays true about somebody: the facts a reader should know before anything else.

A profile line must be about the subject, current, and lasting: attributes, relations, preferences, and what was said
more than once. Events and plans enter only when repetition shows that they are habits. Lines are ranked by how sure,
how often confirmed, how trusted and how fresh they are, grouped under headings in a fixed order, and cut to a budget.
Equal facts give an equal profile, so a refresh that changes nothing writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from memos.rules.attributes import Form, canonical
from memos.rules.entities import entity_key
from memos.rules.extraction import Category
from memos.rules.lexical import terms
from memos.rules.reconcile import Claim
from memos.rules.words import word_set


@dataclass(frozen=True, slots=True)
class Known:
    """A stored fact with what its history says about it. `confirmations` counts its reinforcements, `recalls` its use."""

    claim: Claim
    confidence: float = 0.8
    trust: float = 1.0
    confirmations: int = 0
    recalls: int = 0


@dataclass(frozen=True, slots=True)
class ProfilePolicy:
    version: str = "profile-1"
    max_tokens: int = 400
    min_score: float = 0.3
    habit_confirmations: int = 2
    """An event said this often again is a habit."""
    fresh_days: float = 365.0
    """The age at which a state counts half: people move and change jobs; a birthplace does not age."""


@dataclass(frozen=True, slots=True)
class Profile:
    """`fact_ids` are the facts quoted, in the order of the text."""

    text: str
    fact_ids: tuple[UUID, ...]


DEFAULT_POLICY: Final = ProfilePolicy()

_HEADINGS: Final = ("Identity", "Relations", "Work and home", "Preferences", "Habits", "Other")
_HOME: Final = frozenset({"live in", "work for", "job", "study at", "work in", "enrolled in", "located in"})
_IDENTITY: Final = frozenset({"name", "age", "birthday", "born in", "born on", "is", "is a", "citizen of"})
_PEOPLE: Final = word_set(
    """
    married to, engaged to, wife, husband, partner, sister, brother, mother, father, mom, mum, dad, son,
    daughter, child, friend, girlfriend, boyfriend, dog, cat, pet, boss, manager, colleague, roommate,
    cousin, have
    """,
    ",",
)


def build_profile(
    subject: str,
    facts: Sequence[Known],
    count_tokens: Callable[[str], int],
    now: datetime,
    policy: ProfilePolicy = DEFAULT_POLICY,
) -> Profile:
    """The profile of `subject` within the token budget; empty when nothing lasting is known."""
    lines = [
        (score, fact) for fact in facts if (score := profile_score(subject, fact, now, policy)) >= policy.min_score
    ]
    lines.sort(key=lambda line: (-line[0], line[1].claim.memory_id))
    kept: list[Known] = []
    said: set[object] = set()
    for _, fact in lines:
        # What was written twice in other words is one line, whether or not it has been merged yet.
        saying = (fact.claim.slot, fact.claim.negated, frozenset(terms(fact.claim.value)) or fact.claim.value)
        if fact.claim.value and saying in said:
            continue
        said.add(saying)
        if count_tokens(_render([*kept, fact])) > policy.max_tokens:
            continue
        kept.append(fact)
    ordered = [fact for heading in _HEADINGS for fact in _under(heading, kept)]
    return Profile(_render(kept), tuple(fact.claim.memory_id for fact in ordered))


def profile_score(subject: str, fact: Known, now: datetime, policy: ProfilePolicy = DEFAULT_POLICY) -> float:
    """How much a fact belongs into the profile, from 0 (not at all) upwards."""
    claim = fact.claim
    about = entity_key(claim.subject)
    key = entity_key(subject)
    if about != key and not about.startswith(f"{key}'s "):
        return 0.0
    if claim.ended or (claim.valid_to is not None and claim.valid_to <= now) or claim.valid_from > now:
        return 0.0
    passing = claim.category in {Category.EVENT, Category.PLAN}
    if passing and fact.confirmations < policy.habit_confirmations:
        return 0.0
    age_days = max(0.0, (now - claim.said_at).total_seconds() / 86_400.0)
    lasting = claim.form is Form.DEFINITE or canonical(claim.attribute) in _IDENTITY
    freshness = 1.0 if lasting else 0.5 ** (age_days / policy.fresh_days)
    confirmed = 1.0 + 0.3 * min(fact.confirmations, 5) + 0.1 * min(fact.recalls, 5)
    return fact.confidence * fact.trust * freshness * confirmed


def _heading(fact: Known) -> str:
    name = canonical(fact.claim.attribute)
    if fact.claim.category is Category.PREFERENCE:
        return "Preferences"
    if fact.claim.category in {Category.EVENT, Category.PLAN}:
        return "Habits"
    if name in _HOME:
        return "Work and home"
    if name in _PEOPLE:
        return "Relations"
    return "Identity" if name in _IDENTITY or fact.claim.form is Form.DEFINITE else "Other"


def _under(heading: str, facts: Sequence[Known]) -> list[Known]:
    mine = [fact for fact in facts if _heading(fact) == heading]
    return sorted(mine, key=lambda fact: (canonical(fact.claim.attribute), fact.claim.text, fact.claim.memory_id))


def _render(facts: Sequence[Known]) -> str:
    parts = []
    for heading in _HEADINGS:
        lines = [f"- {fact.claim.text}" for fact in _under(heading, facts)]
        if lines:
            parts.append("\n".join([f"{heading}:", *lines]))
    return "\n".join(parts)
