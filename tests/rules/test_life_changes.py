"""Jobs, homes and people as a conversation tells of them: what starts, what is over, and what only sounds like it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from memos.rules.extraction import Source, extract

NOON = datetime(2024, 5, 20, 12, tzinfo=UTC)


def slots(text: str) -> set[tuple[str, str, bool]]:
    """(slot, value, whether it is over) of every fact."""
    found = extract(Source(text, NOON, "Jo")).facts
    return {(fact.slot[1], fact.value, fact.ended) for fact in found}


def texts(text: str) -> list[str]:
    return [fact.text for fact in extract(Source(text, NOON, "Jo")).facts]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I quit the hospital last month and now I work as a lecturer.", {("work for", "", True), ("job", "lecturer", False)}),
        ("I work at Google as a software engineer.", {("work for", "Google", False), ("job", "software engineer", False)}),
        ("I'm now a senior engineer at Acme Corp.", {("work for", "Acme Corp", False), ("job", "senior engineer", False)}),
        ("I am a nurse.", {("job", "nurse", False)}),
        ("I left Google and joined Meta in June.", {("work for", "Google", True), ("work for", "Meta", False)}),
        ("I joined Acme as a chef.", {("work for", "Acme", False), ("job", "chef", False)}),
        ("I started a new job as a baker at Crumb.", {("work for", "Crumb", False), ("job", "baker", False)}),
        ("I started working at Tesla.", {("work for", "Tesla", False)}),
        ("I was promoted to team lead.", {("job", "team lead", False)}),
        ("I live in Berlin and work at Siemens.", {("live in", "Berlin", False), ("work for", "Siemens", False)}),
        ("My new manager is Kevin.", {("manag", "Kevin", False)}),
        ("I'm no longer vegetarian.", {("is", "vegetarian", True)}),
        ("I can't stand horror movies.", {("like", "horror movies", False)}),
    ],
)  # fmt: skip
def test_a_change_of_life_fills_its_slots(text: str, told: set[tuple[str, str, bool]]) -> None:
    assert told <= slots(text)


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("I have a doctor in Leeds.", "job"),
        ("I'm a good cook.", "job"),
        ("I joined Tom for lunch.", "work for"),
        ("I joined Twitter in 2010.", "work for"),
        ("I left Paris in May.", "work for"),
        ("I am a student at MIT.", "work for"),
    ],
)
def test_what_only_sounds_like_one_fills_none(text: str, slot: str) -> None:
    assert slot not in {name for name, _, _ in slots(text)}


def test_people_and_pets_are_introduced_on_the_way() -> None:
    found = slots("I live in Leeds with my husband Tom and our dog Biscuit.")
    assert found == {("live in", "Leeds", False), ("husband", "Tom", False), ("dog", "Biscuit", False)}
    assert texts("We met my sister Eve.")[0] == "Jo's sister is Eve."


def test_two_verbs_of_one_subject_are_two_facts_and_two_nouns_are_one() -> None:
    assert texts("I sold my Honda and bought a Tesla.") == ["Jo sold their Honda.", "Jo bought a Tesla."]
    assert texts("I love hiking and photography.") == ["Jo loves hiking and photography."]
    assert texts("We adopted a cat and named her Luna.") == ["Jo adopted a cat and named her Luna."]


def test_a_time_is_no_part_of_a_name() -> None:
    told = texts("I joined Flipkart last week as a senior data analyst.")
    assert told[0] == "Jo works for Flipkart."
    assert told[1].startswith("Jo joined Flipkart last week (week of 2024-05-13)")


def test_saying_ones_name_says_nothing_of_it() -> None:
    assert texts("I'm Jo.") == []


def test_what_is_used_no_longer_is_said_in_plain_words() -> None:
    assert texts("I've switched from Android to iPhone.")[0] == "Jo no longer uses Android."
