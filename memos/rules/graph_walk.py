"""Walks over a small graph of entities and memories: who matters from here (personalised PageRank), and what belongs
together (communities).

The graph is an edge list cut out of the store around a few seeds, so it fits in memory and a walk takes milliseconds. Both
are deterministic: nodes are put in order first, and nothing is drawn at random. Personalised PageRank by power iteration
(Page et al. 1999; Haveliwala 2002); communities by label propagation in a fixed order (Raghavan et al. 2007).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from typing import Final, TypeVar

import numpy as np

Node = TypeVar("Node", bound=Hashable)
Edge = tuple[Node, Node, float]

RETURN: Final = 0.5
"""The chance of going back to a seed at each step: a hit's surroundings matter, the far end of the graph does not."""
MOST_NODES: Final = 2_000
MOST_STEPS: Final = 20
_SETTLED: Final = 1e-6


def neighbourhood(edges: Iterable[Edge[Node]], seeds: Iterable[Node], most_nodes: int = MOST_NODES) -> list[Edge[Node]]:
    """Return the edges among the `most_nodes` nodes nearest to the seeds, by steps; nearer edges and heavier ones first.

    The result does not depend on the order of the edges.
    """
    ordered = sorted(edges, key=lambda edge: (-edge[2], repr(edge[0]), repr(edge[1])))
    beside: dict[Node, list[Node]] = {}
    for left, right, weight in ordered:
        if weight > 0:
            beside.setdefault(left, []).append(right)
            beside.setdefault(right, []).append(left)
    queue = deque(sorted((seed for seed in set(seeds) if seed in beside), key=repr))
    reached: set[Node] = set()
    while queue and len(reached) < most_nodes:
        node = queue.popleft()
        if node not in reached:
            reached.add(node)
            queue.extend(other for other in beside[node] if other not in reached)
    return [edge for edge in ordered if edge[2] > 0 and edge[0] in reached and edge[1] in reached]


def personalised_pagerank(
    edges: Iterable[Edge[Node]],
    seeds: Mapping[Node, float],
    *,
    back: float = RETURN,
    most_nodes: int = MOST_NODES,
    most_steps: int = MOST_STEPS,
) -> dict[Node, float]:
    """Return where a walker is who starts at a seed (by its positive weight), follows edges both ways by their weights,
    and returns to a seed with the chance `back` at each step. The values add up to 1; empty without a seed.

    Bounded by `most_nodes` around the seeds and `most_steps`, so at most about (edges x steps) additions.
    """
    wanted = {seed: weight for seed, weight in seeds.items() if weight > 0}
    near = neighbourhood(edges, wanted, most_nodes)
    nodes = sorted({*wanted, *(node for left, right, _ in near for node in (left, right))}, key=repr)
    if not wanted:
        return {}
    place = {node: at for at, node in enumerate(nodes)}
    start = np.zeros(len(nodes))
    for seed, weight in wanted.items():
        start[place[seed]] = weight
    start /= start.sum()
    left = np.array([place[edge[0]] for edge in near] + [place[edge[1]] for edge in near], dtype=np.intp)
    right = np.array([place[edge[1]] for edge in near] + [place[edge[0]] for edge in near], dtype=np.intp)
    weights = np.array([edge[2] for edge in near] * 2, dtype=np.float64)
    total = np.bincount(left, weights, minlength=len(nodes))
    alone = total == 0
    share = weights / total[left]
    at = start
    for _ in range(most_steps):
        moved = np.bincount(right, share * at[left], minlength=len(nodes))
        # Nobody is stuck: from a node without edges the walker goes home.
        after = back * start + (1.0 - back) * (moved + start * at[alone].sum())
        settled = bool(np.abs(after - at).sum() < _SETTLED)
        at = after
        if settled:
            break
    return {node: float(at[place[node]]) for node in nodes}


def communities(edges: Iterable[Edge[Node]], most_rounds: int = 20) -> list[list[Node]]:
    """Return groups of nodes that are tied to each other more than to others, largest first, each in order."""
    beside: dict[Node, dict[Node, float]] = {}
    for left, right, weight in edges:
        if weight > 0 and left != right:
            for one, other in ((left, right), (right, left)):
                beside.setdefault(one, {})
                beside[one][other] = beside[one].get(other, 0.0) + weight
    nodes = sorted(beside, key=repr)
    label = {node: at for at, node in enumerate(nodes)}
    for _ in range(most_rounds):
        changed = False
        for node in nodes:
            pull: dict[int, float] = {}
            for other, weight in beside[node].items():
                pull[label[other]] = pull.get(label[other], 0.0) + weight
            best = min(pull, key=lambda mark: (-round(pull[mark], 9), mark != label[node], mark))
            changed |= best != label[node]
            label[node] = best
        if not changed:
            break
    groups: dict[int, list[Node]] = {}
    for node in nodes:
        groups.setdefault(label[node], []).append(node)
    return sorted(groups.values(), key=lambda group: (-len(group), repr(group[0])))
