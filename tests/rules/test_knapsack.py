"""The knapsack is compared with trying everything."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.knapsack import Option, Packet, choose

OPTIONS = st.lists(
    st.builds(Option, st.floats(-0.2, 1.0).map(lambda v: round(v, 3)), st.integers(1, 9)), min_size=1, max_size=2
)
PACKETS = st.lists(
    st.builds(
        Packet,
        st.integers(0, 4),
        st.lists(OPTIONS.map(tuple), min_size=1, max_size=2).map(tuple),
        st.floats(0, 0.3).map(lambda v: round(v, 3)),
    ),
    max_size=3,
)


def weigh(packets: list[Packet], chosen: dict[tuple[int, int], int]) -> tuple[float, int]:
    """Value and cost of a choice."""
    opened = {p for p, _ in chosen}
    value = sum(packets[p].items[i][at].value for (p, i), at in chosen.items()) - sum(packets[p].toll for p in opened)
    cost = sum(packets[p].items[i][at].cost for (p, i), at in chosen.items()) + sum(packets[p].overhead for p in opened)
    return value, cost


def best_of_all(packets: list[Packet], capacity: int) -> float:
    places = [(p, i) for p, packet in enumerate(packets) for i in range(len(packet.items))]
    best = 0.0
    for picks in product(*[range(-1, len(packets[p].items[i])) for p, i in places]):
        value, cost = weigh(packets, {place: at for place, at in zip(places, picks, strict=True) if at >= 0})
        best = max(best, value) if cost <= capacity else best
    return best


@settings(deadline=None, max_examples=150)
@given(PACKETS, st.integers(0, 40))
def test_no_choice_is_better_and_none_is_over_capacity(packets: list[Packet], capacity: int) -> None:
    value, cost = weigh(packets, chosen := choose(packets, capacity))
    assert cost <= capacity
    assert abs(value - best_of_all(packets, capacity)) < 1e-9
    assert choose(packets, capacity) == chosen


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.integers(1, 3_000)), min_size=30, max_size=40), st.integers(5_000, 20_000)
)
def test_coarse_units_never_exceed_a_large_capacity(items: list[tuple[float, int]], capacity: int) -> None:
    packets = [Packet(3, tuple((Option(value, cost),) for value, cost in items))]
    assert weigh(packets, choose(packets, capacity))[1] <= capacity
