"""The simulated year: the same for the same seed, plausible, and lived by both cubes alike."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from benchmarks import lifecycle
from benchmarks.lifecycle_use import year


def test_a_year_is_a_function_of_its_seed() -> None:
    first, again, other = (
        list(year(seed, days=40, per_day=5, questions=4)) for seed in ("a year", "a year", "another")
    )
    assert first == again
    assert first != other
    assert [n for day in first for n in day.written] == list(range(200))


def test_questions_are_about_what_there_is_and_often_about_the_same() -> None:
    days = list(year("a year", days=200, per_day=10, questions=8))
    assert all(target < (day.number + 1) * 10 for day in days for target in day.asked)
    asked = Counter(target for day in days for target in day.asked)
    assert max(asked.values()) >= 10
    ages = [day.number - target // 10 for day in days[100:] for target in day.asked]
    assert sum(age < 30 for age in ages) > sum(30 <= age < 60 for age in ages) > 0
    assert max(ages) > 90


def test_both_lives_see_the_same_days(tmp_path: Path) -> None:
    """A month on embedded servers, with an embedder that costs nothing."""
    small = ["--days", "30", "--per-day", "2", "--questions", "1", "--decay-every", "15", "--embedder", "fake:64"]
    assert lifecycle.main([*small, "--out", str(tmp_path)]) == 0
    [written] = tmp_path.glob("lifecycle-*.json")
    figures = json.loads(written.read_text())["figures"]
    months = figures["months"]
    assert [m["memories"] for m in months["default"]] == [m["memories"] for m in months["off"]] == [60]
    assert figures["decay_runs"]["budget"]["count"] == 2
