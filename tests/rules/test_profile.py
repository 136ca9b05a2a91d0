"""A profile holds what is current and lasting about its subject, within its budget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from memos.rules.extraction import Source, extract
from memos.rules.profile import Known, ProfilePolicy, build_profile, profile_score
from memos.rules.reconcile import claim_of

SAID = datetime(2024, 1, 1, tzinfo=UTC)
NOW = SAID + timedelta(days=10)


def known(number: int, text: str, **changes: float) -> Known:
    fact = extract(Source(text, SAID, "Jo")).facts[-1]
    return Known(claim_of(UUID(int=number), fact, said_at=SAID), confidence=fact.confidence, **changes)  # type: ignore[arg-type]


def words(text: str) -> int:
    return len(text.split())


LINES = [
    "I live in Lyon.", "My job is teaching.", "My sister Anna lives in Berlin.", "I love hiking.", "I went to Rome.",
    "I'm allergic to peanuts.", "I want to learn Greek.", "My birthday is on 5 March.", "I no longer work at Acme.",
]  # fmt: skip


def test_events_and_plans_wait_for_repetition() -> None:
    event = known(1, "I went to the gym.")
    assert profile_score("Jo", event, NOW) == 0.0
    assert profile_score("Jo", known(1, "I went to the gym.", confirmations=3), NOW) > 0.5


def test_a_profile_is_grouped_and_speaks_of_its_subject_only() -> None:
    facts = [known(number, text) for number, text in enumerate(LINES)]
    profile = build_profile("Jo", facts, words, NOW)
    assert profile.text == (
        "Identity:\n- Jo's birthday is on 5 March.\n"
        "Work and home:\n- Jo's job is teaching.\n- Jo lives in Lyon.\n"
        "Preferences:\n- Jo is allergic to peanuts.\n- Jo loves hiking."
    )
    assert build_profile("Anna", facts, words, NOW).text == "Work and home:\n- Jo's sister Anna lives in Berlin."


def test_what_is_over_or_old_or_distrusted_is_left_out() -> None:
    home = known(1, "I live in Lyon.")
    assert profile_score("Jo", home, NOW + timedelta(days=3000)) < 0.01
    assert profile_score("Jo", known(1, "I live in Lyon.", trust=0.1), NOW) < 0.1
    assert build_profile("Jo", [], words, NOW).text == ""


@given(st.permutations(range(len(LINES))), st.integers(0, 60))
def test_a_profile_fits_and_does_not_depend_on_order(order: list[int], cap: int) -> None:
    facts = [known(number, LINES[number]) for number in order]
    policy = ProfilePolicy(max_tokens=cap)
    profile = build_profile("Jo", facts, words, NOW, policy)
    assert words(profile.text) <= cap
    assert profile == build_profile("Jo", facts[::-1], words, NOW, policy)
    assert len(profile.fact_ids) == profile.text.count("\n- ")


def test_what_was_said_twice_in_other_words_is_one_line() -> None:
    facts = [known(1, "I love green tea."), known(2, "I really like green tea!"), known(3, "I hate green tea.")]
    profile = build_profile("Jo", facts, words, NOW)
    assert profile.text.count("green tea") == 2  # liked and hated are two sayings
