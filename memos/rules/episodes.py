"""Where one topic of a conversation ends and the next begins, and which sessions make up a period.

Level one cuts a session into topics as TextTiling does (Hearst 1997), with embeddings for words: at each gap the turns
before and after are compared, and a gap whose similarity lies in a deep valley between two hills is a boundary. Level
two groups whole sessions into periods of bounded span and count, so that a history of any length has few summaries to
look at. Both depend on order only, so a longer history never changes what was cut before its last piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EpisodePolicy:
    version: str = "episodes-1"
    window: int = 3
    """Turns on each side of a gap that are compared; one chat turn alone is too short to have a topic."""
    depth_sigmas: float = 0.5
    """A boundary's valley is deeper than the mean by this many standard deviations (Hearst's liberal threshold is 1
    below the mean; chats drift, so ours is stricter)."""
    min_turns: int = 4
    max_turns: int = 24
    period_days: int = 30
    period_sessions: int = 8


DEFAULT_POLICY: Final = EpisodePolicy()


@dataclass(frozen=True, slots=True)
class Topic:
    """Turns `first` to `last`, both included, of one session."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SessionSpan:
    """A session as level two sees it."""

    session_id: str
    begins_at: datetime
    ends_at: datetime


def split_topics(vectors: Floats, policy: EpisodePolicy = DEFAULT_POLICY) -> list[Topic]:
    """Cut a session of n turns, given their unit vectors [n, d] in order, into topics that cover it without overlap."""
    count = vectors.shape[0]
    if count == 0:
        return []
    boundaries = [0]
    for gap in _boundaries(vectors, policy):
        if gap - boundaries[-1] >= policy.min_turns and count - gap >= policy.min_turns:
            boundaries.append(gap)
    boundaries = _bounded([*boundaries, count], policy.max_turns)
    return [Topic(first, last - 1) for first, last in pairwise(boundaries)]


def depth_scores(similarities: Floats) -> Floats:
    """How deep each gap lies below the hills on both sides: (left hill - gap) + (right hill - gap), as in TextTiling."""
    depths = np.zeros_like(similarities)
    for index, value in enumerate(similarities):
        left = index
        while left > 0 and similarities[left - 1] >= similarities[left]:
            left -= 1
        right = index
        while right < len(similarities) - 1 and similarities[right + 1] >= similarities[right]:
            right += 1
        depths[index] = (similarities[left] - value) + (similarities[right] - value)
    return depths


def group_periods(sessions: Sequence[SessionSpan], policy: EpisodePolicy = DEFAULT_POLICY) -> list[tuple[str, ...]]:
    """Session ids by period, oldest first. A period closes when the next session would exceed its span or its count."""
    ordered = sorted(sessions, key=lambda session: (session.begins_at, session.session_id))
    periods: list[list[SessionSpan]] = []
    for session in ordered:
        current = periods[-1] if periods else []
        fits = bool(current) and (
            len(current) < policy.period_sessions
            and session.ends_at - current[0].begins_at <= timedelta(days=policy.period_days)
        )
        if fits:
            current.append(session)
        else:
            periods.append([session])
    return [tuple(session.session_id for session in period) for period in periods]


def _boundaries(vectors: Floats, policy: EpisodePolicy) -> list[int]:
    """The indices of turns that start a new topic, in order."""
    count = vectors.shape[0]
    if count < 2 * policy.min_turns:
        return []
    similarities = np.array([_across(vectors, gap, policy.window) for gap in range(1, count)], dtype=np.float32)
    depths = depth_scores(similarities)
    threshold = float(depths.mean() + policy.depth_sigmas * depths.std())
    return [
        gap + 1
        for gap, depth in enumerate(depths)
        if depth > threshold and depth > 0 and depth == depths[max(0, gap - 1) : gap + 2].max()
    ]


def _across(vectors: Floats, gap: int, window: int) -> float:
    """The cosine between the mean of the turns before a gap and the mean of those after it."""
    before = vectors[max(0, gap - window) : gap].mean(axis=0)
    after = vectors[gap : gap + window].mean(axis=0)
    norm = float(np.linalg.norm(before) * np.linalg.norm(after))
    return float(before @ after) / norm if norm > 0 else 0.0


def _bounded(boundaries: list[int], max_turns: int) -> list[int]:
    """Halve what is longer than allowed, so that no summary has to cover too much."""
    bounded = [boundaries[0]]
    for boundary in boundaries[1:]:
        length = boundary - bounded[-1]
        pieces = -(-length // max_turns)
        start = bounded[-1]
        bounded.extend(start + round(length * piece / pieces) for piece in range(1, pieces + 1))
    return bounded
