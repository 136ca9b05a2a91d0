"""What a new fact does to the known ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.rules.extraction import Source, extract
from memos.rules.reconcile import (
    Claim,
    Link,
    Outcome,
    Verdict,
    claim_from_json,
    claim_of,
    claim_to_json,
    is_later,
    reconcile,
    reconcile_all,
)

START = datetime(2024, 1, 1, 12, tzinfo=UTC)


def claims(*said: str, speaker: str | None = "Jo", list_id: str | None = None) -> list[Claim]:
    """Each text is said a day after the one before it."""
    ids: Iterator[int] = count(1)
    found: list[Claim] = []
    for day, text in enumerate(said):
        at = START + timedelta(days=day)
        facts = extract(Source(text, at, speaker)).facts
        assert facts, f"no rule reads {text!r}"
        found.extend(claim_of(UUID(int=next(ids)), fact, said_at=at, list_id=list_id) for fact in facts)
    return found


def outcomes(*said: str, speaker: str | None = "Jo") -> list[Outcome]:
    return [verdict.outcome for verdict in reconcile_all(claims(*said, speaker=speaker))]


def current(all_claims: list[Claim], verdicts: list[Verdict]) -> list[str]:
    """The values that hold in the end."""
    closed = {effect.memory_id for verdict in verdicts for effect in verdict.effects if effect.closes_at}
    return [
        claim.value
        for claim, verdict in zip(all_claims, verdicts, strict=True)
        if verdict.outcome is not Outcome.REINFORCE
        and verdict.valid_to is None
        and claim.memory_id not in closed
        and not claim.ended
    ]


@pytest.mark.parametrize(
    ("said", "values"),
    [
        (["I live in Rome.", "I live in Lyon now."], ["Lyon"]),
        (["I live in Rome.", "I moved from Rome to Lyon."], ["Lyon"]),
        (["I live in Rome.", "I moved to Lyon in March."], ["Lyon"]),
        (["I work at Acme.", "I no longer work at Acme."], []),
        (["I work at Acme.", "I quit my job."], []),
        (["My job is teaching.", "I work at Acme.", "I quit my job."], []),
        (["I work at Acme.", "I used to work at Bolt."], ["Acme"]),
        (["I love tea.", "I love coffee."], ["tea", "coffee"]),
        (["I visited Rome.", "I visited Lyon."], ["Rome", "Lyon"]),
        (["My favourite colour is blue.", "My favourite colour is green."], ["green"]),
        (["I have two cats.", "I have three cats."], ["three cats"]),
        (["I have two cats.", "I have three dogs."], ["two cats", "three dogs"]),
        (["I live in Rome.", "I am going to move to Lyon.", "I live in Rome."], ["Rome", "Lyon"]),
        (["I live in Rome.", "I live in Lyon.", "I live in Rome."], ["Rome"]),
    ],
)
def test_what_holds_in_the_end(said: list[str], values: list[str]) -> None:
    found = claims(*said)
    assert current(found, reconcile_all(found)) == values


def test_a_repeat_reinforces() -> None:
    assert outcomes("I live in Lyon.", "I live in Lyon!") == [Outcome.ADD, Outcome.REINFORCE]
    assert outcomes("I love long hikes.", "I really enjoy long hikes.") == [Outcome.ADD, Outcome.REINFORCE]


def test_the_same_event_on_another_day_is_another_event() -> None:
    assert outcomes("I went to the gym.", "I went to the gym.") == [Outcome.ADD, Outcome.ADD]


def test_a_denial_contradicts_and_both_are_flagged() -> None:
    new, old = claims("I like sushi.", "I don't like sushi.")[::-1]
    verdict = reconcile(new, [old])
    assert verdict.outcome is Outcome.CONTRADICT
    (effect,) = verdict.effects
    assert (effect.link, effect.flagged, effect.closes_at) == (Link.CONTRADICTS, True, new.valid_from)
    assert verdict.valid_to is None


def test_a_birthplace_does_not_change() -> None:
    assert outcomes("I was born in Rome.", "I was born in Lyon.") == [Outcome.ADD, Outcome.CONTRADICT]


def test_different_kinds_of_value_do_not_compete() -> None:
    text = ["Acme was founded in the city of Rome.", "Acme was founded in 1946.", "Acme was founded by Bo Li."]
    assert outcomes(*text, speaker=None) == [Outcome.ADD, Outcome.ADD, Outcome.ADD]


NUMBERED = """4. The capital of Ost is Rome.
5. Bo Li is famous for Ark One.
9. The capital of Ost is Lyon.
11. Bo Li is famous for Ark Two."""


def test_the_higher_number_wins_in_any_order_of_arrival() -> None:
    found = claims(NUMBERED, speaker=None, list_id="doc")
    assert current(found, reconcile_all(found)) == ["Lyon", "Ark Two"]
    backwards = found[::-1]
    assert current(backwards, reconcile_all(backwards)) == ["Ark Two", "Lyon"]


def test_a_late_arrival_enters_as_history() -> None:
    old, new = claims("I live in Rome.", "I live in Lyon.")
    verdict = reconcile(old, [new])
    assert verdict.outcome is Outcome.SUPERSEDE
    assert verdict.valid_to == new.valid_from
    assert [effect.link for effect in verdict.effects] == [Link.SUPERSEDED_BY]
    assert all(effect.closes_at is None for effect in verdict.effects)


def test_an_old_date_told_today_ends_nothing() -> None:
    new, old = claims("I work for Acme.", "In 2019 I worked for Bolt.")[::-1]
    assert not is_later(new, old)
    assert reconcile(new, [old]).valid_to is not None


def test_distant_facts_of_one_slot_are_left_alone() -> None:
    old, new = claims("I live in Rome.", "I live in Lyon.")
    assert reconcile(new, [old], {old.memory_id: 0.1}).outcome is Outcome.ADD
    assert reconcile(new, [old], {old.memory_id: 0.7}).outcome is Outcome.SUPERSEDE


def test_free_text_can_only_repeat() -> None:
    old = Claim(UUID(int=1), "Something or other.", START, START)
    same = replace(old, memory_id=UUID(int=2), text="something  or other")
    other = replace(old, memory_id=UUID(int=3), text="Something or another.")
    assert reconcile(same, [old]).outcome is Outcome.REINFORCE
    assert reconcile(other, [old]).outcome is Outcome.ADD
    assert reconcile(other, [old], {old.memory_id: 0.97}).outcome is Outcome.REINFORCE
    assert reconcile(replace(other, text="Something or 3."), [old], {old.memory_id: 0.97}).outcome is Outcome.ADD


def test_a_claim_survives_storage() -> None:
    for claim in claims(NUMBERED, "I no longer work at Acme.", list_id="doc"):
        stored = claim_to_json(claim)
        again = claim_from_json(
            stored,
            memory_id=claim.memory_id,
            text=claim.text,
            said_at=claim.said_at,
            valid_from=claim.valid_from,
            valid_to=claim.valid_to,
        )
        assert again == claim
    bare = claim_from_json({}, memory_id=UUID(int=1), text="x", said_at=START, valid_from=START, valid_to=None)
    assert bare.slot is None


SAYINGS = st.sampled_from(
    [
        "I live in Rome.", "I live in Lyon.", "I moved from Rome to Lyon.", "I no longer live in Rome.", "I love tea.",
        "I don't like tea anymore.", "I hate tea.", "I work at Acme.", "I quit my job.", "I was born in Rome.",
        "I was born in Lyon.", "I have two cats.", "I have three cats.", "I went to Rome.", "My job is teaching.",
        "In 2019 I worked for Bolt.", "I want to live in Oslo.", "3. The capital of Ost is Rome.",
        "7. The capital of Ost is Lyon.",
    ]
)  # fmt: skip


@given(st.lists(SAYINGS, max_size=12))
def test_whatever_is_said_one_valued_slots_end_with_one_value_and_nothing_is_lost(said: list[str]) -> None:
    found = claims(*said, list_id="doc")
    verdicts = reconcile_all(found)
    assert len(verdicts) == len(found)
    known = {claim.memory_id for claim in found}
    closed: set[UUID] = set()
    for claim, verdict in zip(found, verdicts, strict=True):
        assert {effect.memory_id for effect in verdict.effects} <= known - {claim.memory_id}
        assert verdict.valid_to is None or verdict.valid_to >= verdict.valid_from
        for effect in verdict.effects:
            if effect.closes_at is not None:
                target = next(other for other in found if other.memory_id == effect.memory_id)
                assert effect.closes_at >= target.valid_from
                closed.add(effect.memory_id)
    for attribute in ("live in", "job", "capital"):
        live = [
            claim.value
            for claim, verdict in zip(found, verdicts, strict=True)
            if claim.attribute == attribute
            and claim.category.value == "state"
            and verdict.outcome is not Outcome.REINFORCE
            and verdict.valid_to is None
            and claim.memory_id not in closed
            and not claim.ended
        ]
        assert len(live) <= 1
