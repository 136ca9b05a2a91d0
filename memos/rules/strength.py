"""How well a memory is retained: a forgetting curve that each spaced recall flattens.

Retrievability R is the chance of needing no reminder now; stability S is the time, in days, in which R falls from 1 to
0.9. We use the power curve of FSRS (version 4.5, open-spaced-repetition/fsrs4anki, "The Algorithm"):

    R(t, S) = (1 + F t / S) ^ -0.5        F = 19/81, so that R(S, S) = 0.9

and not MemoryBank's exponential (Zhong et al. 2023, after Ebbinghaus), for three reasons. Forgetting measured over many
items is a power function (Rubin & Wenzel 1996; Wixted & Carpenter 2007): a store is a mixture of items of unlike
stability, and mixtures of exponentials have power tails. The exponential is a cliff: with the same S it gives 0.04 at
30 S and 0.00003 at 100 S, where differences of priority or trust can no longer matter; the power curve gives 0.35 and
0.20. And FSRS was fitted on hundreds of millions of recalls, a ground that numbers of our own would lack.

A recall multiplies S by g = 1 + a (e^(c (1 - R)) - 1): the less was left, the more it helps (the spacing effect), and
recalling the same thing ten times in a minute does nothing. FSRS also divides by S^0.1, so that old memories grow
slower. We leave that out: without it g is concave in the time elapsed, from which it follows that an extra recall never
weakens a memory at any later moment, whatever the pattern. The cap on S bounds growth instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

DECAY: Final = 0.5
FACTOR: Final = 19 / 81

GROWTH_RATE: Final = 1.02
"""c above; FSRS-5 and -6 fit 1.02 on average."""
GROWTH_GAIN: Final = 9.3
"""a above, chosen so that a recall at R = 0.9 doubles S. FSRS grows it three- to fourfold, but there a recall is a
tested effort; here it is a search hit, a weaker sign that the memory matters."""

STABILITY_MIN_DAYS: Final = 0.5
STABILITY_MAX_DAYS: Final = 3650.0

INITIAL_STABILITY_DAYS: Final = {
    "turn": 10.0,
    "passage": 20.0,
    "fact": 30.0,
    "episode": 60.0,
    "procedure": 120.0,
    "profile": 180.0,
}
"""The more distilled a memory is, the slower it fades. With the archive threshold of 0.5 a turn nobody ever recalls
leaves the default search after 128 days, a fact after a year."""

_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Retention:
    """What must be remembered of a memory's use to know its strength at any time.

    `last_recalled_at` is the creation time until the first recall; `recalls` counts all of them.
    """

    stability_days: float
    last_recalled_at: datetime
    recalls: int = 0


def initial_retention(kind: str, *, priority: float, created_at: datetime) -> Retention:
    """The retention of a new memory. `priority` runs from 0 to 1; 0.5 is neutral, the ends mean a quarter and fourfold."""
    base = INITIAL_STABILITY_DAYS.get(kind, INITIAL_STABILITY_DAYS["turn"])
    stability = base * 4.0 ** (2.0 * _clamp(priority, 0.0, 1.0) - 1.0)
    return Retention(_clamp(stability, STABILITY_MIN_DAYS, STABILITY_MAX_DAYS), created_at)


def retrievability(retention: Retention, now: datetime) -> float:
    """R in (0, 1]. A recall in the future (clock skew between replicas) counts as just now."""
    elapsed_days = max(0.0, (now - retention.last_recalled_at).total_seconds() / _DAY_S)
    return float((1.0 + FACTOR * elapsed_days / retention.stability_days) ** -DECAY)


def reinforce(retention: Retention, now: datetime) -> Retention:
    """The retention after a recall at `now`. Late-arriving recalls never move `last_recalled_at` back."""
    growth = 1.0 + GROWTH_GAIN * math.expm1(GROWTH_RATE * (1.0 - retrievability(retention, now)))
    return Retention(
        stability_days=min(STABILITY_MAX_DAYS, retention.stability_days * growth),
        last_recalled_at=max(now, retention.last_recalled_at),
        recalls=retention.recalls + 1,
    )


def fades_at(retention: Retention, threshold: float) -> datetime:
    """When R falls to `threshold` (0 < threshold <= 1) if nothing recalls the memory: lets a sweep skip the rest."""
    elapsed_days = retention.stability_days / FACTOR * (threshold ** (-1.0 / DECAY) - 1.0)
    # datetime ends at the year 9999; nothing here needs to look further than a few lifetimes.
    return retention.last_recalled_at + timedelta(days=min(elapsed_days, 400_000.0))


def _clamp(value: float, low: float, high: float) -> float:
    return min(high, max(low, value))
