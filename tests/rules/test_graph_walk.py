"""Walks are bounded, repeatable, and stay near their seeds."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.graph_walk import communities, neighbourhood, personalised_pagerank

EDGES = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.floats(0.1, 5.0)).filter(lambda edge: edge[0] != edge[1]),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(EDGES, st.dictionaries(st.integers(0, 12), st.floats(0.1, 3.0), min_size=1, max_size=3), st.randoms())
def test_mass_is_one_and_order_does_not_matter(
    edges: list[tuple[int, int, float]], seeds: dict[int, float], random: object
) -> None:
    found = personalised_pagerank(edges, seeds)
    assert sum(found.values()) == pytest.approx(1.0)
    assert set(seeds) <= set(found)
    shuffled = edges[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert personalised_pagerank(shuffled, seeds) == found


@settings(deadline=None, max_examples=30)
@given(EDGES, st.integers(0, 12))
def test_it_agrees_with_networkx(edges: list[tuple[int, int, float]], seed: int) -> None:
    graph = nx.Graph()
    graph.add_node(seed)
    for left, right, weight in edges:
        before = graph.get_edge_data(left, right, {"weight": 0.0})["weight"]
        graph.add_edge(left, right, weight=before + weight)
    expected = nx.pagerank(graph, alpha=0.5, personalization={seed: 1.0}, weight="weight", max_iter=500, tol=1e-12)
    found = personalised_pagerank(edges, {seed: 1.0}, most_steps=100)
    for node, value in found.items():
        assert value == pytest.approx(expected[node], abs=1e-5)


def test_a_neighbourhood_is_bounded_and_near() -> None:
    chain = [(n, n + 1, 1.0) for n in range(100)]
    near = neighbourhood(chain, [50], most_nodes=5)
    assert {node for left, right, _ in near for node in (left, right)} == {48, 49, 50, 51, 52}
    assert personalised_pagerank(chain, {}) == {}
    assert personalised_pagerank([], {"ana": 2.0}) == {"ana": 1.0}


def test_two_circles_of_friends_are_two_communities() -> None:
    one = [(a, b, 1.0) for a in "abcd" for b in "abcd" if a < b]
    two = [(a, b, 1.0) for a in "wxyz" for b in "wxyz" if a < b]
    assert communities([*one, *two, ("d", "w", 0.1)]) == [list("abcd"), list("wxyz")]


@settings(deadline=None, max_examples=30)
@given(EDGES, st.randoms())
def test_communities_hold_every_tied_node_once_in_whatever_order(
    edges: list[tuple[int, int, float]], random: object
) -> None:
    groups = communities(edges)
    nodes = [node for group in groups for node in group]
    assert sorted(nodes) == sorted({node for left, right, _ in edges for node in (left, right)})
    weighted = [(left, right, 1.0) for left, right, _ in edges]
    found = communities(weighted)
    random.shuffle(weighted)  # type: ignore[attr-defined]
    assert communities(weighted) == found
    assert [len(group) for group in groups] == sorted((len(group) for group in groups), reverse=True)
