"""Parts of a ranking are told apart from answers that explain themselves."""

from __future__ import annotations

from typing import Any

from benchmarks.ablate_parts import PARTS, resorted
from benchmarks.client import Hit


def hit(name: str, **why: float) -> Hit:
    return Hit(name, "turn", name, 0.0, "generated", (), why)


def order(hits: list[Hit], *without: str) -> list[str]:
    return [one.memory_id for one in resorted(hits, frozenset(without))]


def test_leaving_a_part_out_changes_the_order_it_made() -> None:
    hits = [hit("a", dense=1.0, session=2.0), hit("b", dense=2.0, session=0.0, cosine=9.0)]
    assert order(hits) == ["a", "b"]
    assert order(hits, "session") == ["b", "a"]
    assert order(hits, "dense", "session") == ["a", "b"]


def test_results_without_reasons_stay_as_they_are() -> None:
    silent: Any = [Hit("x", "turn", "x", 0.0, "generated", ()), Hit("y", "turn", "y", 0.0, "generated", ())]
    assert [one.memory_id for one in resorted(silent, frozenset())] == ["x", "y"]


def test_the_parts_cover_what_the_ranking_names() -> None:
    from memos.rules.ranking_features import FEATURES

    covered = frozenset().union(*PARTS.values())
    assert set(FEATURES) <= covered
