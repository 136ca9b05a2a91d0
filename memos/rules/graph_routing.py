"""When a question is worth a walk over the graph, from where the walk begins, and how much what it finds may count.

A question that goes through somebody ("the spouse of the author of ...") is answered by two memories, of which the second
shares no word with it: neither meaning nor words find it, the entity between them does. Over conversations, where
everything hangs on the two who talk, walking was measured to bring nothing (docs/graph.md), so it is kept for questions of
that form whose best hits are facts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from memos.rules.entities import entity_key
from memos.rules.header import Kind

SEED_HITS: Final = 5
"""How many of the best hits the walk begins from: the answer's first step is among them, the noise mostly not."""
GRAPH_EVIDENCE: Final = 4.0
"""What the walk's best new memory gains, in units of ranking evidence. Higher finds more behind names that say nothing, and
pushes out more of what words find (docs/graph.md)."""
_TIE_WEIGHTS: Final[Mapping[str, float]] = {"next": 0.5, "similar": 0.5, "merged": 0.5}
_OTHERS: Final = 1.0

# Two relations in a row: "the mother of the author of", "Ana's boss's dog", "the sport associated with ... of".
_LINK: Final = re.compile(
    r"(?:'|\u2019)s\b|\b(?:of|by|for|in|to|from|with|at) (?:(?:the|a|an|his|her|their|my|our)\b|(?=[A-Z\d\"]))"
    r"|\b(?:whose|who|whom|that|which|where)\b"
)
_QUESTION_WORD: Final = re.compile(
    r"^\W*(?:(?:in|on|at|to|from|for|of|with|by) )?(?:who|whose|whom|which|where|what)\b", re.IGNORECASE
)


def is_chained(question: str) -> bool:
    """Whether a question names its subject by way of another: two relations or more, one hanging on the other."""
    body = _QUESTION_WORD.sub("", question[:2_000])
    return len(_LINK.findall(body)) >= 2


def may_walk(question: str, budget: str) -> bool:
    """Whether a walk comes into question at all, before anything is known of the hits."""
    return budget != "low" and (budget == "high" or is_chained(question))


def walks(question: str, kinds: Sequence[str], budget: str) -> bool:
    """Whether to walk, given the kinds of the best hits: half of those that seed it are facts, and the question is
    chained or everything was to be tried."""
    seeds = list(kinds[:SEED_HITS])
    facts = sum(kind == Kind.FACT for kind in seeds)
    return facts * 2 >= len(seeds) > 0 and may_walk(question, budget)


def tie_weight(relation: str, weight: float) -> float:
    """How readily a walk follows an edge. What only stands beside or resembles says less than what is named."""
    return weight * _TIE_WEIGHTS.get(relation, _OTHERS)


def question_keys(names: Sequence[str]) -> list[str]:
    """The keys under which the entities of a question are stored, each once, in order."""
    return list(dict.fromkeys(key for key in map(entity_key, names) if key))


def evidence_of(shares: Mapping[int, float], known: frozenset[int]) -> dict[int, float]:
    """Ranking evidence by version for memories that a walk newly found: a share of the best of them. What is `known` by
    other ways, such as the hits it began from, gains nothing."""
    fresh = {version: share for version, share in shares.items() if version not in known and share > 0}
    best = max(fresh.values(), default=0.0)
    return {version: GRAPH_EVIDENCE * share / best for version, share in fresh.items()}
