"""The load benchmark against a fake service, and the judgement of memory over time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.series import Series, trend


@pytest.mark.parametrize(("per_minute", "judgement"), [(0.0, "flat"), (-3.0, "flat"), (0.2, "flat"), (6.0, "grows")])
def test_growth_is_what_noise_does_not_explain(per_minute: float, judgement: str) -> None:
    dice = random.Random(1)
    line = [(float(t), 200 + per_minute * t / 60 + dice.gauss(0, 0.5)) for t in range(0, 600, 2)]
    found = trend("api", 1, line)
    assert found is not None
    assert found.judgement == judgement
    assert found.slope_mib_per_min == pytest.approx(per_minute, abs=0.2)


def test_a_cache_that_fills_at_first_is_no_growth() -> None:
    line = [(float(t), 300 - 100 * 0.97**t) for t in range(0, 600, 2)]
    found = trend("api", 1, line)
    assert found is not None
    assert found.judgement == "flat"


def test_little_time_says_nothing() -> None:
    assert trend("api", 1, [(float(t), 200.0 + t) for t in range(5)]) is None
    short = trend("api", 1, [(float(t), 200.0 + t) for t in range(60)])
    assert short is not None
    assert short.judgement == "too short"


def test_a_service_elsewhere_has_no_lines() -> None:
    with Series(None, None, every_s=0.01) as series:
        pass
    assert series.trends() == []


def test_load_end_to_end(run_benchmark: Callable[..., dict[str, Any]], fake_api: Any) -> None:
    document = run_benchmark(
        "load",
        "--minutes",
        "0.02",
        "--users",
        "4",
        "--think",
        "0.02",
        "--writes",
        "0.5",
        "--size",
        "20",
        "--cubes",
        "2",
    )
    assert document["figures"]["latency"]["write"]["count"] > 0
    assert document["figures"]["latency"]["all"]["count"] > 10
    assert document["figures"]["errors"] == {}
    assert document["figures"]["acknowledged_messages"] > 0
    assert fake_api.cubes == {}
