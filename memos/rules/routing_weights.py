"""The router's numbers, learned by `benchmarks/learn_routing.py` and pasted from its output.

Data: the questions of LoCoMo dev (354, categories 1 to 4) and LongMemEval_S dev (46). The target is whether any evidence
turn is among the first ten. With one conversation left out, the curve's area under ROC is 0.778; the most certain four of
its five bins are right within 0.02, the least certain says 0.79 where 0.69 was found. `spread_session` and `feedback`
were chosen on LoCoMo alone; ranked by weights learned with it, 0.2 to 0.6 give the same within 0.2 points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class RoutingWeights:
    """The curve from the shape of the scores to the confidence, and what to do with it.

    Below `enough` a search of a large cube looks again: for 35 % of the questions of LoCoMo and LongMemEval in one cube, where
    all that looking again gains but an eighth lies below it. `feedback` is the weight, in units of
    evidence, of the words found then; `spread_session` what remains of the session's weight for questions whose answer is
    spread over sessions.
    """

    first: float = 0.0672
    lead: float = 0.2892
    entropy: float = -2.2820
    offset: float = 3.1296
    enough: float = 0.8
    feedback: float = 1.0
    spread_session: float = 0.4


ROUTING: Final = RoutingWeights()
WEIGHTS_VERSION: Final = "ranking-2/routing-3"
