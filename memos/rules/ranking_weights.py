"""The weights of the ranking, learned by `benchmarks/learn_ranking.py` and pasted from its output.

Data: the public development parts of LoCoMo (3 conversations, 1,463 turns, 354 questions of categories 1 to 4; marked
label errors scored but not learned from) and LongMemEval_S (46 questions, about 490 turns each), embedded with
all-MiniLM-L6-v2. Learned on LoCoMo alone and tried on LongMemEval they find all evidence turns in the top 10 for
87 % of the questions; the other way round recall@10 on LoCoMo is 0.79 (0.80 within LoCoMo, conversation left
out). What a lower standing costs is set by hand: neither data set holds superseded or untrusted memories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

_FEATURES: Final[Mapping[str, float]] = MappingProxyType(
    {
        "dense": 0.4749,
        "dense_share": 2.0074,
        "lexical": 0.1431,
        "context_coverage": 3.4109,
        "context_lexical": 0.8167,
        "dense_before": 0.4919,
        "dense_after": 0.2153,
        "session": 2.4914,
        "speaker": 1.8358,
        "length": 0.4685,
        "asks": -0.3548,
        "answers": 0.4155,
        "opens": 1.6548,
    }
)


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each feature counts, and the logistic curve from their sum to the chance of being an answer.

    `superseded`, `weak` and `untrusted` are what a superseded memory, or one of strength or trust 0, loses. For
    scale: between a question's first and tenth hit lie about 3.
    """

    features: Mapping[str, float] = field(default_factory=lambda: _FEATURES)
    slope: float = 0.8321
    offset: float = -11.4784
    superseded: float = 2.0
    weak: float = 0.5
    untrusted: float = 1.5


LEARNED: Final = Weights()
