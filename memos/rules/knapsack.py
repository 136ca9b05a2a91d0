"""A knapsack with packets: what to take so that value is greatest within a capacity, exactly.

Items come in groups that cost something to open (a heading), and each item in several versions of which at most one is
taken (the whole text, an excerpt). Dynamic programming over the capacity (Kellerer, Pferschy & Pisinger 2004, multiple
choice with set-up costs) gives the optimum, because costs are small whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# A larger capacity is counted in coarser units, rounded so that it is never exceeded: 24 tokens of 100,000 at most.
MOST_UNITS: Final = 4_096
# Sums in another order differ in the last bits; what gains no more than this gains nothing.
_LEAST_GAIN: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Option:
    """One version of an item. `cost` is a positive whole number; a `value` of zero or less is never taken."""

    value: float
    cost: int


@dataclass(frozen=True, slots=True)
class Packet:
    """Items that share the cost of being opened; each is a tuple of options, of which at most one is taken.

    `toll` is the value that opening takes away.
    """

    overhead: int
    items: tuple[tuple[Option, ...], ...]
    toll: float = 0.0


def choose(packets: Sequence[Packet], capacity: int) -> dict[tuple[int, int], int]:
    """Return the option to take of each (packet, item) taken. The total cost never exceeds `capacity`.

    Optimal up to `MOST_UNITS`, and whenever everything fits. Equal inputs give equal choices.
    """
    if capacity <= 0:
        return {}
    if sum(_most(packet) for packet in packets) <= capacity:
        return _unbounded(packets)
    unit = -(-capacity // MOST_UNITS)
    return _optimum(packets, capacity // unit, unit)


def _most(packet: Packet) -> int:
    return packet.overhead + sum(max((o.cost for o in options), default=0) for options in packet.items)


def _unbounded(packets: Sequence[Packet]) -> dict[tuple[int, int], int]:
    """The best option of every item that is worth anything, in every packet that is worth its toll."""
    chosen: dict[tuple[int, int], int] = {}
    for p, packet in enumerate(packets):
        best = {
            i: max(range(len(options)), key=lambda at: (options[at].value, -at))
            for i, options in enumerate(packet.items)
            if any(option.value > 0 for option in options)
        }
        if sum(packet.items[i][at].value for i, at in best.items()) > packet.toll + _LEAST_GAIN:
            chosen |= {(p, i): at for i, at in best.items()}
    return chosen


def _optimum(packets: Sequence[Packet], capacity: int, unit: int) -> dict[tuple[int, int], int]:
    best = np.zeros(capacity + 1)
    opened: list[NDArray[np.bool_]] = []
    taken: list[list[NDArray[np.int16]]] = []
    for packet in packets:
        inside = _shifted(best, -(-packet.overhead // unit)) - packet.toll
        choices: list[NDArray[np.int16]] = []
        for options in packet.items:
            after, choice = inside, np.full(capacity + 1, -1, dtype=np.int16)
            for at, option in enumerate(options):
                if option.value <= 0:
                    continue
                with_it = _shifted(inside, -(-option.cost // unit)) + option.value
                better = with_it > after + _LEAST_GAIN
                after = np.where(better, with_it, after)
                choice[better] = at
            inside = after
            choices.append(choice)
        gains = inside > best + _LEAST_GAIN
        best = np.where(gains, inside, best)
        opened.append(gains)
        taken.append(choices)
    return _followed_back(packets, capacity, unit, opened, taken)


def _followed_back(
    packets: Sequence[Packet],
    capacity: int,
    unit: int,
    opened: Sequence[NDArray[np.bool_]],
    taken: Sequence[Sequence[NDArray[np.int16]]],
) -> dict[tuple[int, int], int]:
    left, chosen = capacity, {}
    for p in range(len(packets) - 1, -1, -1):
        if not opened[p][left]:
            continue
        for i in range(len(packets[p].items) - 1, -1, -1):
            at = int(taken[p][i][left])
            if at >= 0:
                chosen[p, i] = at
                left -= -(-packets[p].items[i][at].cost // unit)
        left -= -(-packets[p].overhead // unit)
    return chosen


def _shifted(values: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """The same values with `by` less capacity to spend; what cannot be paid for is worth less than nothing."""
    if by == 0:
        return values
    moved = np.full_like(values, -np.inf)
    if by < len(values):
        moved[by:] = values[:-by]
    return moved
