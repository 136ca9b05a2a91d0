"""How far a source is believed, from what its writes came to: a Beta distribution of each source, long and lately.

A source is a key together with what it relays (the user's words, a tool's output, a page). Every write is evidence: a
clean one a little of it for the source, one that is set aside more against it, a reviewer's word most of all. Evidence
halves with time, over a month for the long memory and within hours for the recent one, so that nobody is damned for
ever, and so that a source that turns bad *suddenly* shows: its recent mean falls away from its long one while there is
enough recent evidence to mean something. Until that passes, everything it writes is set aside, also what no pattern
finds. The model is the plain Beta-Bernoulli reputation of Josang and Ismail (2002) with exponential forgetting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

PRIOR_GOOD: Final = 4.0
PRIOR_BAD: Final = 0.5
"""A stranger is believed nearly as much as anybody: mean 0.89."""
LONG_HALF_LIFE: Final = timedelta(days=30)
RECENT_HALF_LIFE: Final = timedelta(hours=6)
MOST_EVIDENCE: Final = 200.0
"""More praise than this would make a source immune to what it does next."""
CLEAN: Final = 0.2
SUSPICIOUS: Final = 1.0
RELEASED: Final = 1.0
REJECTED: Final = 3.0

FALL: Final = 0.3
"""How far the recent mean must lie below the long one to be an anomaly."""
MIN_RECENT: Final = 3.5
"""Recent evidence against a source below which nothing is concluded: three suspicious writes are not enough, four are."""
DISTRUSTED_BELOW: Final = 0.4


@dataclass(frozen=True, slots=True)
class Reputation:
    """Evidence beside the priors, as of `updated_at`."""

    updated_at: datetime
    good: float = 0.0
    bad: float = 0.0
    recent_good: float = 0.0
    recent_bad: float = 0.0

    @property
    def mean(self) -> float:
        """The expected share of the source's writes that are fine, above 0 and below 1."""
        return (PRIOR_GOOD + self.good) / (PRIOR_GOOD + PRIOR_BAD + self.good + self.bad)

    @property
    def recent_mean(self) -> float:
        return (PRIOR_GOOD + self.recent_good) / (PRIOR_GOOD + PRIOR_BAD + self.recent_good + self.recent_bad)

    @property
    def anomalous(self) -> bool:
        """Whether the source has suddenly turned worse than it used to be."""
        return self.recent_bad >= MIN_RECENT and self.recent_mean <= self.expected - FALL

    @property
    def expected(self) -> float:
        """What the source was like before lately."""
        good, bad = max(0.0, self.good - self.recent_good), max(0.0, self.bad - self.recent_bad)
        return (PRIOR_GOOD + good) / (PRIOR_GOOD + PRIOR_BAD + good + bad)

    @property
    def distrusted(self) -> bool:
        """Whether nothing of this source is to be recalled before somebody has looked at it."""
        return self.anomalous or self.mean < DISTRUSTED_BELOW

    @property
    def factor(self) -> float:
        """What the trust of its writes is multiplied by: 1 for everybody who has not done worse than a stranger."""
        stranger = PRIOR_GOOD / (PRIOR_GOOD + PRIOR_BAD)
        return round(min(1.0, self.mean / stranger), 4)


def aged(known: Reputation, now: datetime) -> Reputation:
    """The same evidence, as much of it as is left now. A clock that went back ages nothing."""
    passed = max(timedelta(0), now - known.updated_at)
    long, recent = (0.5 ** (passed / half) for half in (LONG_HALF_LIFE, RECENT_HALF_LIFE))
    return Reputation(
        max(now, known.updated_at),
        known.good * long,
        known.bad * long,
        known.recent_good * recent,
        known.recent_bad * recent,
    )


def after_writes(known: Reputation, now: datetime, *, clean: int, suspicious: int) -> Reputation:
    return _with(aged(known, now), CLEAN * clean, SUSPICIOUS * suspicious)


def after_review(known: Reputation, now: datetime, *, released: bool) -> Reputation:
    """A release takes back what the write had counted against the source; a rejection confirms it."""
    fresh = aged(known, now)
    if not released:
        return _with(fresh, 0.0, REJECTED)
    taken = replace(fresh, bad=max(0.0, fresh.bad - SUSPICIOUS), recent_bad=max(0.0, fresh.recent_bad - SUSPICIOUS))
    return _with(taken, RELEASED, 0.0)


def _with(known: Reputation, good: float, bad: float) -> Reputation:
    return replace(
        known,
        good=min(MOST_EVIDENCE, known.good + good),
        bad=min(MOST_EVIDENCE, known.bad + bad),
        recent_good=min(MOST_EVIDENCE, known.recent_good + good),
        recent_bad=min(MOST_EVIDENCE, known.recent_bad + bad),
    )
