from __future__ import annotations

import json
from pathlib import Path

from benchmarks import consolidation
from benchmarks.locomo import Answer, compare
from benchmarks.report import Report


def test_a_small_cube_is_consolidated_and_rolled_back(tmp_path: Path) -> None:
    """On embedded servers, with an embedder that costs nothing."""
    small = ["--memories", "120", "--repeat-every", "10", "--embedder", "fake:64"]
    assert consolidation.main([*small, "--out", str(tmp_path)]) == 0
    [written] = tmp_path.glob("consolidate-*.json")
    told = json.loads(written.read_text())
    figures = told["figures"]
    assert figures["before"]["by_kind"] == figures["rolled_back"]["by_kind"] == {"turn": 120}
    assert figures["after"]["by_kind"]["episode"] == figures["results"][0]["episodes"] > 0
    assert figures["after"]["by_kind"]["turn"] == 120, "no source is lost"
    assert all(cost["seconds"] > 0 for cost in figures["costs"])
    assert all(goal["met"] for goal in told["goals"])


def test_what_consolidation_loses_is_told_question_by_question(tmp_path: Path) -> None:
    def answer(number: int, *ranked: str) -> Answer:
        return Answer("own-1", number, 4, None, frozenset({"D1:1"}), ranked, 10, 20, 1.0)

    report = Report("locomo", settings={}, out_dir=tmp_path)
    compare(report, [answer(1, "D1:1"), answer(2, "D1:1")], [answer(1, "D1:1"), answer(2, "D1:2")])
    [lost] = report.goals
    assert (lost.value, lost.met) == (0.5, False)
    [changed] = report.figures["after_consolidation"]["changed"]
    assert (changed["before"]["question"], changed["after"]["ranked"]) == (2, ["D1:2"])
