"""What a new fact does to those already known: repeat, replace, contradict, or stand beside them.

Facts compete only within a slot, the same subject and attribute. Then:

    the same value, equally signed            reinforce
    "no longer", "quit", "used to"            closes the value it names, or all when it names none
    the same value, denied                    contradict: the newest is current, both linked and flagged
    another value, one at a time              supersede: the later closes the earlier
    another value, one for good (birthplace)  contradict
    another value, many allowed               add

Later means: the higher number within one numbered list; else the later date where both are dated; else what was said
later; else what arrives later. A fact that arrives late but is older than what is known enters as already superseded.
Nothing is ever deleted: a superseded fact keeps its text and gets an end of validity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from memos.rules.attributes import Cardinality, Form, attribute_key, canonical, cardinality
from memos.rules.entities import entity_key
from memos.rules.extraction import Category, ExtractedFact
from memos.rules.grounding import names_in, numbers_in
from memos.rules.lexical import terms
from memos.rules.negation import is_negated


@dataclass(frozen=True, slots=True)
class Claim:
    """A fact as reconciliation sees it, stored or about to be.

    Without an attribute (free text no rule could read) it has no slot and can only repeat another. `list_id` names the
    document or session its `number` counts in. `dated` is true when the text itself named the time of `valid_from`.
    """

    memory_id: UUID
    text: str
    said_at: datetime
    valid_from: datetime
    subject: str = ""
    attribute: str = ""
    value: str = ""
    value_type: str = ""
    form: Form = Form.PROPERTY
    category: Category = Category.STATE
    negated: bool = False
    ended: bool = False
    past: bool = False
    valid_to: datetime | None = None
    number: int | None = None
    list_id: str | None = None
    dated: bool = False

    @property
    def slot(self) -> tuple[str, str] | None:
        if not self.attribute:
            return None
        return entity_key(self.subject), attribute_key(self.attribute, self.value_type)


class Outcome(StrEnum):
    ADD = "add"
    REINFORCE = "reinforce"
    SUPERSEDE = "supersede"
    CONTRADICT = "contradict"


class Link(StrEnum):
    """How the new fact relates to a known one, as an edge from the new to the known."""

    SAME = "same"
    SUPERSEDES = "supersedes"
    SUPERSEDED_BY = "superseded-by"
    CONTRADICTS = "contradicts"


@dataclass(frozen=True, slots=True)
class Effect:
    """What happens to one known fact. `closes_at` ends its validity; `flagged` asks a person to look."""

    memory_id: UUID
    link: Link
    closes_at: datetime | None = None
    flagged: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """`valid_from` and `valid_to` are those the new fact is to be stored with; a set `valid_to` means not current."""

    outcome: Outcome
    effects: tuple[Effect, ...]
    valid_from: datetime
    valid_to: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class ReconcilePolicy:
    version: str = "reconcile-1"
    same_text_cosine: float = 0.95
    """At or above it two facts of equal numbers, names and sign are one, even when no rule can read them."""
    conflict_cosine: float = 0.4
    """Facts of one slot further apart than this talk about different things, unless a list numbers them."""
    same_value_overlap: float = 0.75


_COUNTING: Final = frozenset({"have", "own", "is", "weigh", "earn", "cost"})
"""Verbs of having: their object is a state, not one event among others."""
DEFAULT_POLICY: Final = ReconcilePolicy()


def reconcile(
    new: Claim,
    known: Sequence[Claim],
    cosines: Mapping[UUID, float] | None = None,
    policy: ReconcilePolicy = DEFAULT_POLICY,
) -> Verdict:
    """Decide about one new fact. `known` may hold anything; only claims of its slot, or of its very text, matter.

    `cosines` maps known ids to their similarity with the new fact; unknown similarities decide nothing.
    """
    near = cosines or {}
    rivals = [claim for claim in known if _comparable(new, claim, near, policy)]
    repeated = [claim for claim in rivals if _repeats(new, claim, near, policy)]
    if repeated:
        best = max(repeated, key=lambda claim: (claim.valid_to is None, claim.said_at, claim.memory_id))
        return _verdict(Outcome.REINFORCE, [Effect(best.memory_id, Link.SAME)], new, "said before")
    current = [claim for claim in rivals if _holds(claim, new.said_at) and not claim.ended]
    if new.slot is None or new.category is Category.PLAN:
        return _verdict(Outcome.ADD, [], new, "nothing known about it")
    if new.ended:
        return _ending(new, current, policy)
    denied = [claim for claim in current if claim.negated != new.negated and _same_value(new, claim, policy)]
    if denied:
        return _contradiction(new, denied, "the opposite was said before")
    others = [claim for claim in current if claim.negated == new.negated and _rivals(new, claim)]
    if not others or new.negated:
        return _verdict(Outcome.ADD, [], new, "nothing known in its slot")
    numbered = new.number is not None
    counted = [claim for claim in others if _recounts(new, claim)]
    if counted:
        return _succession(new, counted)
    kind = cardinality(new.attribute, new.form, value_type=new.value_type, numbered=numbered)
    if kind is Cardinality.MANY or new.category is Category.EVENT:
        return _verdict(Outcome.ADD, [], new, "its attribute has many values")
    if kind is Cardinality.ONE_EVER and not (new.dated and all(claim.dated for claim in others)):
        return _contradiction(new, others, "this attribute never changes, yet it was given another value")
    return _succession(new, others)


def reconcile_all(
    new: Iterable[Claim], known: Iterable[Claim] = (), policy: ReconcilePolicy = DEFAULT_POLICY
) -> list[Verdict]:
    """Reconcile many facts in order, each against what is known and those before it, as their verdicts leave them."""
    by_slot: dict[tuple[str, str] | None, dict[UUID, Claim]] = {}
    for claim in known:
        by_slot.setdefault(claim.slot, {})[claim.memory_id] = claim
    verdicts: list[Verdict] = []
    for claim in new:
        rivals = by_slot.setdefault(claim.slot, {})
        verdict = reconcile(claim, list(rivals.values()), policy=policy)
        for effect in verdict.effects:
            if effect.closes_at is not None:
                rivals[effect.memory_id] = replace(rivals[effect.memory_id], valid_to=effect.closes_at)
        if verdict.outcome is not Outcome.REINFORCE:
            rivals[claim.memory_id] = replace(claim, valid_from=verdict.valid_from, valid_to=verdict.valid_to)
        verdicts.append(verdict)
    return verdicts


def claim_of(memory_id: UUID, fact: ExtractedFact, *, said_at: datetime, list_id: str | None = None) -> Claim:
    """The claim an extracted fact makes."""
    return Claim(
        memory_id=memory_id,
        text=fact.text,
        said_at=said_at,
        valid_from=fact.valid_from,
        subject=fact.subject,
        attribute=fact.attribute,
        value=fact.value,
        value_type=fact.value_type,
        form=fact.form,
        category=fact.category,
        negated=fact.negated,
        ended=fact.ended,
        past=fact.past,
        valid_to=fact.valid_to,
        number=fact.number,
        list_id=list_id,
        dated=fact.when is not None,
    )


def claim_to_json(claim: Claim) -> dict[str, Any]:
    """What must be stored beside a fact's text to rebuild its claim: the slot and its signs, without ids and times."""
    return {
        "subject": claim.subject,
        "attribute": claim.attribute,
        "value": claim.value,
        "value_type": claim.value_type,
        "form": claim.form.value,
        "category": claim.category.value,
        "negated": claim.negated,
        "ended": claim.ended,
        "past": claim.past,
        "number": claim.number,
        "list_id": claim.list_id,
        "dated": claim.dated,
    }


def claim_from_json(
    stored: Mapping[str, Any],
    *,
    memory_id: UUID,
    text: str,
    said_at: datetime,
    valid_from: datetime,
    valid_to: datetime | None,
) -> Claim:
    """The inverse of `claim_to_json`; absent fields mean free text without a slot."""
    return Claim(
        memory_id=memory_id,
        text=text,
        said_at=said_at,
        valid_from=valid_from,
        valid_to=valid_to,
        subject=str(stored.get("subject", "")),
        attribute=str(stored.get("attribute", "")),
        value=str(stored.get("value", "")),
        value_type=str(stored.get("value_type", "")),
        form=Form(stored.get("form", Form.PROPERTY.value)),
        category=Category(stored.get("category", Category.STATE.value)),
        negated=bool(stored.get("negated", False)),
        ended=bool(stored.get("ended", False)),
        past=bool(stored.get("past", False)),
        number=stored.get("number"),
        list_id=stored.get("list_id"),
        dated=bool(stored.get("dated", False)),
    )


def is_later(new: Claim, old: Claim) -> bool:
    """Whether the new claim takes precedence over the old one; on a full tie the one that arrives later does."""
    if new.number is not None and old.number is not None and new.list_id == old.list_id:
        return new.number >= old.number
    if new.dated and old.dated and new.valid_from != old.valid_from:
        return new.valid_from > old.valid_from
    if new.dated and new.past and new.valid_from < old.valid_from:
        # "In 2019 I worked at ..." told today does not end the job of 2022; "I moved here last week" does.
        return False
    return new.said_at >= old.said_at


def _comparable(new: Claim, claim: Claim, cosines: Mapping[UUID, float], policy: ReconcilePolicy) -> bool:
    cosine = cosines.get(claim.memory_id)
    if cosine is not None and cosine >= policy.same_text_cosine:
        return True
    if new.slot is None or claim.slot != new.slot:
        return new.slot is None and claim.slot is None and _folded(new.text) == _folded(claim.text)
    if (new.category is Category.PLAN) != (claim.category is Category.PLAN):
        return False
    return cosine is None or cosine >= policy.conflict_cosine or new.number is not None


def _holds(claim: Claim, moment: datetime) -> bool:
    """Whether a claim is still valid: it has no end, or one announced for later ("until July")."""
    return claim.valid_to is None or claim.valid_to > moment


def _repeats(new: Claim, claim: Claim, cosines: Mapping[UUID, float], policy: ReconcilePolicy) -> bool:
    if new.slot is None or claim.slot is None or new.slot != claim.slot:
        cosine = cosines.get(claim.memory_id, 0.0)
        return _folded(new.text) == _folded(claim.text) or (
            cosine >= policy.same_text_cosine and _same_details(new.text, claim.text)
        )
    if new.negated != claim.negated or new.ended != claim.ended or not _same_value(new, claim, policy):
        return False
    if new.category is Category.EVENT:
        # Going to the gym on two days is two events.
        return new.valid_from.date() == claim.valid_from.date()
    # What was superseded and is now said again is news, unless this is only an old message arriving late.
    return claim.valid_to is None or not is_later(new, claim) or new.said_at < claim.valid_to


def _ending(new: Claim, current: Sequence[Claim], policy: ReconcilePolicy) -> Verdict:
    """A former state is over. It is stored with its own end, so that it is history from the start."""
    closed = [
        claim
        for claim in current
        if not claim.negated and (not new.value or _same_value(new, claim, policy)) and claim.said_at <= new.said_at
    ]
    effects = [Effect(claim.memory_id, Link.SUPERSEDES, _closing(new, claim)) for claim in closed]
    if effects:
        return _verdict(Outcome.SUPERSEDE, effects, new, "says that it is over")
    return replace(_verdict(Outcome.ADD, [], new, "says that something unknown is over"), valid_to=new.valid_to)


def _contradiction(new: Claim, rivals: Sequence[Claim], reason: str) -> Verdict:
    return _ranked(Outcome.CONTRADICT, Link.CONTRADICTS, new, rivals, reason, flagged=True)


def _succession(new: Claim, rivals: Sequence[Claim]) -> Verdict:
    name = canonical(new.attribute)
    return _ranked(Outcome.SUPERSEDE, Link.SUPERSEDES, new, rivals, f"a later value of '{name}'", flagged=False)


def _ranked(
    outcome: Outcome, link: Link, new: Claim, rivals: Sequence[Claim], reason: str, *, flagged: bool
) -> Verdict:
    """Close what the new claim outranks; enter it as already closed when something known outranks it."""
    older = [claim for claim in rivals if is_later(new, claim)]
    newer = [claim for claim in rivals if not is_later(new, claim)]
    effects = [Effect(claim.memory_id, link, _closing(new, claim), flagged) for claim in older]
    if not newer:
        return _verdict(outcome, effects, new, reason)
    backward = Link.CONTRADICTS if flagged else Link.SUPERSEDED_BY
    effects += [Effect(claim.memory_id, backward, None, flagged) for claim in newer]
    until = max(new.valid_from, min(claim.valid_from for claim in newer))
    return Verdict(outcome, tuple(effects), new.valid_from, until, f"{reason}, but a newer one is known")


def _closing(new: Claim, old: Claim) -> datetime:
    """Never before its own beginning; two values of one moment leave the older one an empty window."""
    return max(new.valid_from, old.valid_from)


def _verdict(outcome: Outcome, effects: Sequence[Effect], new: Claim, reason: str) -> Verdict:
    ordered = tuple(sorted(effects, key=lambda effect: effect.memory_id))
    return Verdict(outcome, ordered, new.valid_from, new.valid_to, reason)


def _same_value(new: Claim, old: Claim, policy: ReconcilePolicy) -> bool:
    first, second = entity_key(new.value), entity_key(old.value)
    if first == second:
        return True
    mine, theirs = set(terms(new.value)), set(terms(old.value))
    if not mine or not theirs or names_in(f"x {new.value}") != names_in(f"x {old.value}"):
        return False
    if numbers_in(new.value) != numbers_in(old.value):
        return False
    return len(mine & theirs) >= policy.same_value_overlap * len(mine | theirs)


def _rivals(new: Claim, old: Claim) -> bool:
    """Whether two values can exclude each other: "a small flat" and "Lyon" are both where one lives.

    Grammar shapes that name a change ("moved to the suburbs") or a definite slot leave no such doubt.
    """
    if new.form is not Form.VERB or new.value_type:
        return True
    return bool(names_in(f"x {new.value}")) == bool(names_in(f"x {old.value}"))


def _recounts(new: Claim, old: Claim) -> bool:
    """ "I have three cats" after "I have two cats": the same things, counted again."""
    if canonical(new.attribute) not in _COUNTING:
        return False
    mine, theirs = numbers_in(new.value), numbers_in(old.value)
    if len(mine) != 1 or len(theirs) != 1 or mine == theirs:
        return False
    left = _uncounted(new.value)
    # "I am 34" counts years without naming them.
    return left == _uncounted(old.value) and (bool(left) or canonical(new.attribute) == "is")


def _uncounted(value: str) -> frozenset[str]:
    return frozenset(term for term in terms(value) if not numbers_in(term))


def _same_details(first: str, second: str) -> bool:
    return (
        numbers_in(first) == numbers_in(second)
        and names_in(first) == names_in(second)
        and is_negated(first) == is_negated(second)
    )


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".!")
