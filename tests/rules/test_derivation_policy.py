"""What a cube may say about extraction and consolidation."""

from __future__ import annotations

from typing import Any

import pytest

from memos.errors import Invalid
from memos.rules.derivation_policy import ConsolidationPolicy, ExtractionPolicy, check


def test_what_is_not_said_is_the_default() -> None:
    assert ExtractionPolicy.of({}) == ExtractionPolicy()
    assert ConsolidationPolicy.of({"consolidation": {}}) == ConsolidationPolicy()


def test_what_is_said_holds() -> None:
    policy = {"extraction": {"enabled": False, "admission": 0.7}, "consolidation": {"merge": False, "min_coverage": 1}}
    check(policy)
    assert ExtractionPolicy.of(policy) == ExtractionPolicy(enabled=False, admission=0.7)
    assert ConsolidationPolicy.of(policy) == ConsolidationPolicy(merge=False, min_coverage=1)


@pytest.mark.parametrize(
    "policy",
    [
        {"extraction": {"enable": True}},
        {"extraction": {"admission": 1.5}},
        {"extraction": {"admission": True}},
        {"extraction": {"enabled": 1}},
        {"consolidation": {"min_coverage": "all"}},
        {"consolidation": []},
    ],
)
def test_nonsense_is_refused_where_it_is_set_and_ignored_where_it_is_met(policy: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="policy"):
        check(policy)
    assert ExtractionPolicy.of(policy) == ExtractionPolicy()
    assert ConsolidationPolicy.of(policy) == ConsolidationPolicy()
