"""The router's decisions: repeatable, ordered by what they cost, and no surer than the scores allow."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from memos.rules import routing
from memos.rules.ranking_weights import LEARNED
from memos.rules.understanding import understand

NOW = datetime(2026, 6, 15, tzinfo=UTC)
SCORES = st.lists(st.floats(0, 20), min_size=1, max_size=60).map(lambda scores: sorted(scores, reverse=True))


@settings(deadline=None, max_examples=100)
@given(SCORES)
def test_confidence_is_a_chance_and_grows_with_the_lead(scores: list[float]) -> None:
    sure = routing.confidence(routing.shape(scores))
    assert 0.0 <= sure <= 1.0
    ahead = [scores[0] + 5.0, *scores[1:]]
    assert routing.confidence(routing.shape(ahead)) >= sure


def test_nothing_found_is_no_confidence_and_no_second_look() -> None:
    made = routing.plan(understand("Where is the key?", NOW), "high", None)
    assert routing.confidence(routing.shape([])) == 0.0
    assert not routing.escalates(made, 0.0, 0, 1_000)


def test_each_budget_looks_as_far_as_it_may() -> None:
    asked = understand("Where is the key?", NOW)
    low, mid, high, auto = (routing.plan(asked, budget, None) for budget in ("low", "mid", "high", "auto"))
    assert low.probe.per_channel < mid.probe.per_channel < high.probe.per_channel
    assert not any(routing.escalates(made, 0.1, 10, 1_000) for made in (low, mid))
    assert routing.escalates(high, 1.0, 10, 10)
    assert (routing.escalates(auto, 0.5, 10, 1_000), routing.escalates(auto, 0.99, 10, 1_000)) == (True, False)
    assert auto.escalation is not None
    assert auto.escalation.neighbours > auto.probe.neighbours


def test_who_has_seen_a_good_part_of_the_cube_does_not_look_further_in_doubt() -> None:
    auto = routing.plan(understand("Where is the key?", NOW), "auto", None)
    assert not routing.escalates(auto, 0.1, 10, 40)


def test_the_class_chooses_granularities_unless_the_caller_did() -> None:
    how = understand("How do I restart the router?", NOW)
    assert "procedure" in routing.plan(how, "auto", None).granularities
    assert "episode" not in routing.plan(how, "auto", None).granularities
    assert routing.plan(how, "auto", ["turn"]).granularities == ("turn",)


def test_answers_spread_over_sessions_lean_less_on_the_session() -> None:
    spread = routing.plan(understand("What instruments does Mira play?", NOW), "auto", None)
    assert spread.weights.features["session"] < LEARNED.features["session"]
    assert {n: w for n, w in spread.weights.features.items() if n != "session"} == {
        n: w for n, w in LEARNED.features.items() if n != "session"
    }


def test_feedback_takes_words_that_are_neither_common_nor_unique() -> None:
    telling = routing.telling_terms(["tea"], [{"tea": 1, "ginger": 1, "lemon": 1}, {"ginger": 2, "biscuit": 1}])
    assert "tea" not in telling
    words = routing.expansion(telling, {"ginger": 5, "lemon": 1, "biscuit": 900}, 1_000)
    assert list(words) == ["ginger"]


def test_the_runner_up_is_the_next_deeper_budget() -> None:
    asked = understand("Where is the key?", NOW)
    names = {
        b: routing.runner_up(routing.plan(asked, b, None), candidates=60, documents=100_000)[0] for b in routing.BUDGETS
    }
    assert names == {"low": "mid", "mid": "high", "high": None}
    assert routing.runner_up(routing.plan(asked, "auto", None), candidates=60, documents=400) == ("high", 800)
