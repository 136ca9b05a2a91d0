"""The router's numbers, learned by `benchmarks/learn_routing.py` and pasted from its output.

Data: the questions of LoCoMo dev (354, categories 1 to 4) and LongMemEval_S dev (46). The target is whether any evidence
turn is among the first ten. With one conversation left out, the curve's area under ROC is 0.775; the most certain four of
its five bins are right within 0.02, the least certain says 0.79 where 0.69 was found. `spread_session` and `feedback`
were chosen on LoCoMo alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class RoutingWeights:
    """The curve from the shape of the scores to the confidence, and what to do with it.

    Below `enough` a question is asked again: 4 % of LoCoMo's (15 % below 0.85, which finds 0.4 points of recall@10 more at
    twice the time). `feedback` is the weight, in units of evidence, of the words found then;
    `spread_session` what remains of the session's weight for questions whose answer is spread over sessions.
    """

    first: float = 0.0356
    lead: float = 0.2571
    entropy: float = -1.9491
    offset: float = 2.6968
    enough: float = 0.78
    feedback: float = 1.0
    spread_session: float = 0.4


ROUTING: Final = RoutingWeights()
WEIGHTS_VERSION: Final = "ranking-1/routing-2"
