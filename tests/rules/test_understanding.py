"""What questions ask for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules.scripts import script_of
from memos.rules.understanding import Asks, understand

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "asks", "spread"),
    [
        ("When did Ana move to Lisbon?", Asks.WHEN, False),
        ("What year did she graduate?", Asks.WHEN, False),
        ("Who drove us home?", Asks.WHO, False),
        ("Where does Ana live now?", Asks.WHERE, False),
        ("How many cats does Tom have?", Asks.COUNT, True),
        ("What instruments does Mira play?", Asks.LIST, True),
        ("What kinds of tea has he tried?", Asks.LIST, True),
        ("Which city have both of them visited?", Asks.WHAT, True),
        ("What does Mira do?", Asks.WHAT, False),
        ("What is his job?", Asks.WHAT, False),
        ("Did Tom sell the boat?", Asks.YES_NO, False),
        ("Can you recommend a film for tonight?", Asks.PREFERENCE, False),
        ("What is Ana's favorite colour?", Asks.PREFERENCE, False),
        ("How do I restart the router?", Asks.HOW_TO, False),
        ("Why did they leave?", Asks.WHY, False),
        ("Give me a summary of our trip", Asks.OVERVIEW, False),
        ("\u6771\u4eac\u306e\u5929\u6c17", Asks.OTHER, False),
        ("", Asks.OTHER, False),
    ],
)
def test_class_and_spread(query: str, asks: Asks, spread: bool) -> None:
    found = understand(query, NOW)
    assert (found.asks, found.spread) == (asks, spread)


def test_times_entities_and_language() -> None:
    found = understand("Where was Ana in May 2023?", NOW)
    assert found.entities == ("Ana",) or "Ana" in found.entities
    assert [(t.begin.year, t.begin.month) for t in found.times] == [(2023, 5)]
    assert (found.language, found.script) == ("en", "latin")
    vague = understand("what happened", NOW)
    assert vague.specificity < found.specificity <= 1.0


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("hello", "latin"),
        ("\u041f\u0440\u0438\u0432\u0435\u0442", "cyrillic"),
        ("\u4f60\u597d", "cjk"),
        ("\u3053\u3093", "cjk"),
        ("\U0001f600 12", "none"),
        ("", "none"),
    ],
)
def test_script(text: str, script: str) -> None:
    assert script_of(text) == script


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=200))
def test_anything_is_read_and_read_equally(query: str) -> None:
    found = understand(query, NOW)
    assert found == understand(query, NOW)
    assert 0.0 <= found.specificity <= 1.0
