"""The router: how a question is answered, how sure one may be of the answer, and whether to look again.

A cheap first probe is ranked, and the shape of its scores judged: how likely the best is, how far it leads, how evenly the
rest is spread (their entropy, as MemGAS does, arXiv 2505.19549). A logistic curve over the three says how likely an answer is
among the first ten. Where that is too low and the cube holds much more than was seen, `auto` looks again, further
around the best hits. `high` always looks again, and with the words that the best hits use and the question does not (pseudo
relevance feedback, RM3: Abdul-Jaleel et al. 2004), which was measured to bring nothing on its own (docs/decisions/0017).
Questions whose answer is a list find it scattered over sessions, so for them the session counts less.

Everything here is a function of its arguments, so a decision can be replayed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from memos.rules import lexical
from memos.rules.header import Kind
from memos.rules.ranking_weights import LEARNED, Weights
from memos.rules.routing_weights import ROUTING, RoutingWeights
from memos.rules.understanding import Asks, Understanding

BUDGETS: Final = ("low", "mid", "high")
JUDGED: Final = 50
"""How many of the best scores are judged."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How far to look: rows per channel, postings read per term, neighbours on each side of the best `rim` hits of each
    channel; and up to how many memories a cube is read whole, which then costs no more than choosing some."""

    per_channel: int
    postings: int
    neighbours: int
    rim: int
    whole: int


# Measured on LoCoMo dev: recall@10 is 0.80 for low and 0.82 for mid; high finds no more, at three times the time.
PROBES: Final[Mapping[str, Probe]] = MappingProxyType(
    {
        "low": Probe(per_channel=40, postings=200, neighbours=0, rim=0, whole=100),
        "mid": Probe(per_channel=60, postings=400, neighbours=1, rim=60, whole=300),
        "high": Probe(per_channel=200, postings=1_500, neighbours=2, rim=200, whole=1_000),
    }
)
# Where `auto` is not sure. In a large cube a session is seen in pieces; two turns beside each hit instead of one is worth
# 1.1 points of recall@10 on 24,000 turns, twice the hits of each channel 0.5 (docs/decisions/0017).
AROUND: Final = Probe(per_channel=60, postings=400, neighbours=2, rim=60, whole=300)

MUCH_MORE: Final = 4
"""A cube of this many times what was seen is worth another look."""

_ALWAYS: Final = (Kind.TURN, Kind.PASSAGE, Kind.FACT)
_BY_CLASS: Final[Mapping[Asks, tuple[Kind, ...]]] = MappingProxyType(
    {
        Asks.PREFERENCE: (Kind.PROFILE,),
        Asks.INSTRUCTION: (Kind.PROCEDURE, Kind.PROFILE),
        Asks.HOW_TO: (Kind.PROCEDURE,),
        Asks.OVERVIEW: (Kind.EPISODE, Kind.PROFILE),
    }
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `granularities` are shown; `chosen` tells that the caller chose them, so nothing is folded away.

    `escalation` is the probe of the second look; None: there is none. `always` it is taken, and with words found.
    """

    budget: str
    granularities: tuple[str, ...]
    chosen: bool
    probe: Probe
    escalation: Probe | None
    always: bool
    weights: Weights
    why: str


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of the best scores: log-odds of the first, its lead over the tenth, their entropy from 0 to 1."""

    first: float
    lead: float
    entropy: float


def plan(asked: Understanding, budget: str, kinds: Sequence[str] | None) -> Plan:
    """Decide before anything was read. `kinds` are the caller's granularities, None when the router is to choose."""
    granularities = (
        tuple(kinds) if kinds is not None else tuple(k.value for k in (*_ALWAYS, *_BY_CLASS.get(asked.asks, ())))
    )
    again = {"auto": AROUND, "high": PROBES["high"]}.get(budget)
    return Plan(
        budget=budget,
        granularities=granularities,
        chosen=kinds is not None,
        probe=PROBES["mid" if budget == "auto" else budget],
        escalation=again,
        always=budget == "high",
        weights=_weights(asked),
        why=f"asks {asked.asks.value}" + (", the answer may be spread over sessions" if asked.spread else ""),
    )


def shape(evidence: Sequence[float], weights: Weights = LEARNED) -> Shape | None:
    """Describe scores, given as evidence, best first. None for no scores."""
    if not evidence:
        return None
    best = np.array(evidence[:JUDGED], dtype=np.float64)
    mass = np.exp(weights.slope * (best - best[0]))
    share = mass / mass.sum()
    entropy = float(-(share * np.log(share + 1e-12)).sum() / math.log(JUDGED))
    return Shape(
        first=float(weights.slope * best[0] + weights.offset),
        lead=float(best[0] - best[min(9, len(best) - 1)]),
        entropy=entropy,
    )


def confidence(seen: Shape | None, routing: RoutingWeights = ROUTING) -> float:
    """The chance that an answer is among the first ten; 0 when nothing was found."""
    if seen is None:
        return 0.0
    z = routing.first * seen.first + routing.lead * seen.lead + routing.entropy * seen.entropy + routing.offset
    return round(1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, z)))), 4)


def escalates(made: Plan, sure: float, found: int, documents: int, *, routing: RoutingWeights = ROUTING) -> bool:
    """Whether to look again, having `found` candidates among so many documents. Not if nothing was found, as there is nothing
    to go on; nor in doubt, if a good part of the cube was seen: in cubes of 500 turns it changed no figure."""
    if made.escalation is None or found == 0:
        return False
    return made.always or (sure < routing.enough and documents > MUCH_MORE * found)


def reaches_back(made: Plan, sure: float, *, routing: RoutingWeights = ROUTING) -> bool:
    """Whether to look into the archive as well: where a second look was needed, not only wished for, or nothing was found
    to take one with. How sure the second look left us is not asked, for its own words raised its scores."""
    return made.escalation is not None and sure < routing.enough


RECALLING_PLACES: Final = 3
"""How high in an answer an archived memory must stand to count as recalled. An unsure answer is filled to its end with
whatever is nearest; were all of that brought back, the archive would empty itself into the present."""


def telling_terms(asked: Sequence[str], texts: Iterable[Mapping[str, int]]) -> dict[str, float]:
    """Terms that the best hits use and the question does not, by their frequency in texts of square-root length.

    A text is its terms with how often each occurs. The first half of relevance feedback: how rare each is in the cube is
    not known yet.
    """
    known = frozenset(asked)
    found: dict[str, float] = {}
    for counts in texts:
        length = math.sqrt(max(sum(counts.values()), 1))
        for term in counts:
            if term not in known:
                found[term] = found.get(term, 0.0) + 1.0 / length
    most = sorted(found, key=lambda term: (-round(found[term], 12), term))[:MOST_FEEDBACK_TERMS]
    return {term: found[term] for term in most}


FEEDBACK_HITS: Final = 5
MOST_FEEDBACK_TERMS: Final = 120
EXPANSION_TERMS: Final = 10
_COMMON: Final = 0.1


def expansion(telling: Mapping[str, float], frequencies: Mapping[str, int], documents: int) -> dict[str, float]:
    """The best terms to add, with their idf: neither held by one memory only, which found itself, nor by a tenth of all."""
    rare = {
        term: weight * lexical.idf(frequencies[term], documents)
        for term, weight in telling.items()
        if 2 <= frequencies.get(term, 0) <= max(2.0, _COMMON * documents)
    }
    best = sorted(rare, key=lambda term: (-rare[term], term))[:EXPANSION_TERMS]
    return {term: lexical.idf(frequencies[term], documents) for term in best}


def runner_up(made: Plan, *, candidates: int, documents: int) -> tuple[str | None, int | None]:
    """The next deeper way to ask and about how many candidates it would read; None when this was the deepest."""
    if made.budget == "high":
        return None, None
    name = {"low": "mid", "mid": "high", "auto": "high"}[made.budget]
    probe = PROBES[name]
    per_hit = 1 + 2 * probe.neighbours
    looks = 2 if name == "high" else 1
    reach = documents if documents <= probe.whole else min(documents, 2 * probe.per_channel * per_hit)
    return name, max(candidates, looks * reach)


def _weights(asked: Understanding) -> Weights:
    if not asked.spread:
        return LEARNED
    features = dict(LEARNED.features)
    features["session"] *= ROUTING.spread_session
    return replace(LEARNED, features=MappingProxyType(features))
