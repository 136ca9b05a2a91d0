"""The weights of the ranking, learned by `benchmarks/learn_ranking.py` and pasted from its output.

Data: the public development parts of LoCoMo (3 conversations, 1,463 turns, 354 questions of categories 1 to 4; marked
label errors scored but not learned from) and LongMemEval_S (46 questions, about 490 turns each), embedded with
all-MiniLM-L6-v2; the candidates of the first look, weighed by the plan; questions with n evidence turns count their root.
With one LoCoMo conversation left out recall@10 there is 0.816 (multi-hop 0.52); learned on LoCoMo alone and tried on
LongMemEval all evidence is in the top 10 for 87 % of the questions; the other way round recall@10 on LoCoMo is 0.78.
What a lower standing costs is set by hand: neither data set holds superseded or untrusted memories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

_FEATURES: Final[Mapping[str, float]] = MappingProxyType(
    {
        "dense": 0.5899,
        "dense_share": 1.4724,
        "lexical": 0.2117,
        "context_coverage": 3.3374,
        "context_lexical": 0.5556,
        "dense_before": 0.3458,
        "dense_after": 0.2155,
        "session": 2.4765,
        "speaker": 1.8037,
        "length": 0.4247,
        "asks": -0.3326,
        "answers": 0.3718,
        "opens": 1.4745,
    }
)


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each feature counts, and the logistic curve from their sum to the chance of being an answer.

    `superseded`, `weak` and `untrusted` are what a superseded memory, or one of strength or trust 0, loses. For
    scale: between a question's first and tenth hit lie about 3.
    """

    features: Mapping[str, float] = field(default_factory=lambda: _FEATURES)
    slope: float = 0.7302
    offset: float = -9.7238
    superseded: float = 2.0
    weak: float = 0.5
    untrusted: float = 1.5


LEARNED: Final = Weights()
