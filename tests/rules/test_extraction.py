"""From a text to what it says: facts that stand alone, names, times, instructions; and what is not worth keeping."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.rules.admission import admission_score
from memos.rules.entities import EntityType, alias_of, entity_key, find_entities
from memos.rules.extraction import Category, Extraction, Source, extract
from memos.rules.grounding import names_in, numbers_in, support, ungrounded
from memos.rules.instructions import find_instructions

THURSDAY = datetime(2023, 5, 25, 13, 14, tzinfo=UTC)


def read(text: str, speaker: str | None = "Jo", role: str = "user") -> Extraction:
    return extract(Source(text, THURSDAY, speaker, role, ("Jo", "Melanie")))


def test_a_fact_stands_alone_and_cites_its_place() -> None:
    text = "Hey Melanie! I lost my job at Acme last week, so I'm looking around."
    (fact,) = read(text).facts
    assert (fact.subject, fact.attribute, fact.value, fact.ended) == ("Jo", "work for", "Acme", True)
    assert fact.text == "Jo lost their job at Acme last week (week of 2023-05-15)."
    assert text[fact.start : fact.end] == "I lost my job at Acme last week, so I'm looking around."


def test_a_time_dates_the_fact() -> None:
    (fact,) = read("I went to a concert in Lyon two days ago.").facts
    assert (fact.category, fact.value) == (Category.EVENT, "a concert in Lyon")
    assert fact.valid_from == datetime(2023, 5, 23, tzinfo=UTC)
    assert fact.when is not None


def test_a_time_named_first_holds_for_what_follows() -> None:
    (fact,) = read("Last Friday was great - I had a picnic with Tom!").facts
    assert fact.valid_from.date().isoformat() == "2023-05-19"
    assert fact.text == "Jo had a picnic with Tom (2023-05-19)."


def test_since_reaches_back_and_until_closes() -> None:
    (since,) = read("I have been working at Acme since 2019.").facts
    assert (since.valid_from.year, since.valid_to) == (2019, None)
    (until,) = read("I work for Acme until July.").facts
    assert until.valid_to == datetime(2023, 8, 1, tzinfo=UTC)


def test_a_date_that_is_the_value_dates_nothing() -> None:
    (fact,) = read("My birthday is on 5 March.").facts
    assert (fact.value, fact.valid_from) == ("5 March", THURSDAY)


def test_preferences_are_told_apart_and_signed() -> None:
    found = read("I love hiking. I hate crowded beaches. I'm allergic to peanuts.")
    assert [(fact.slot[1], fact.value, fact.negated) for fact in found.preferences] == [
        ("like", "hiking", False),
        ("like", "crowded beaches", True),
        ("allerg to", "peanuts", False),
    ]


def test_numbered_statements_keep_their_number_and_words() -> None:
    facts = read("Facts:\n7. The capital of Ost is Westville.\n8. Bo Li speaks the language of Ostish.", None).facts
    assert [(fact.number, fact.subject, fact.value) for fact in facts] == [
        (7, "Ost", "Westville"),
        (8, "Bo Li", "Ostish"),
    ]
    assert facts[0].text == "The capital of Ost is Westville."


@pytest.mark.parametrize(
    "text",
    [
        "Hey!",
        "Thanks, Melanie! You rock!",
        "👍👍",
        "ok",
        "How are you?",
        "Sounds great! See you soon!",
        "",
        "Do I live in Lyon?",
    ],
)
def test_small_talk_leaves_no_facts(text: str) -> None:
    assert read(text).facts == ()


def test_an_assistant_is_no_witness_about_the_user() -> None:
    text = "I love hiking too! You live in Lyon. The capital of Ost is Westville. Always answer in French."
    found = read(text, "assistant", "assistant")
    assert found.facts == ()
    assert found.instructions == ()


def test_facts_of_one_clause_have_different_words() -> None:
    texts = [fact.text for fact in read("I moved from Rome to Lyon.").facts]
    assert texts == ["Jo no longer lives in Rome.", "Jo moved from Rome to Lyon."]


def test_speakers_and_short_names_are_one_person() -> None:
    found = read("Mel said that Anna Berg from the Berg Foundation lives in Oslo.")
    entities = {entity.name: entity for entity in found.entities}
    assert entities["Melanie"].type is EntityType.PERSON
    assert entities["Melanie"].aliases == ("Mel",)
    assert entities["Berg Foundation"].type is EntityType.ORGANISATION


@given(st.text(max_size=400), st.sampled_from(["user", "assistant"]), st.sampled_from([None, "Jo"]))
def test_any_text_is_read_without_error(text: str, role: str, speaker: str | None) -> None:
    found = extract(Source(text, THURSDAY, speaker, role))
    assert 0.0 <= found.admission <= 1.0
    for fact in found.facts:
        assert 0 <= fact.start < fact.end <= len(text)
        assert fact.text.strip()
        assert 0.0 < fact.confidence <= 1.0
        assert all(fact.slot)
    assert len({(fact.slot, entity_key(fact.value), fact.negated) for fact in found.facts}) == len(found.facts)
    assert extract(Source(text, THURSDAY, speaker, role)) == found


PIECES = """
    I my We Anna Rex's lives moved love hate in to from Lyon Rome my job is a nurse not no longer . !
    , and but because last week yesterday since 2019 12. The capital of is 😀
"""


@given(st.lists(st.sampled_from(PIECES.split()), max_size=25).map(" ".join))
def test_any_mixture_of_plain_words_is_read_without_error(text: str) -> None:
    for fact in read(text).facts:
        assert fact.text
        assert fact.valid_to is None or fact.valid_to > datetime(1900, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Yesterday I met Robert A. Heinlein at the University of Ost.", ["Robert A. Heinlein", "University of Ost"]),
        ("Thanks! Sounds good. Visiting Rome was fun.", ["Rome"]),
        ('We read "Finding Paths" on Monday in May.', ["Finding Paths"]),
        ("SO cute! I'm happy. OK. BTW it's fine.", []),
        ("Rex is asleep and Rex's toys are new.", ["Rex", "Rex"]),
        ("my iPhone broke", ["iPhone"]),
    ],
)
def test_names_are_found_by_spelling_and_place(text: str, names: list[str]) -> None:
    assert [mention.name for mention in find_entities(text)] == names


@given(st.text(max_size=200))
def test_mentions_cite_their_place(text: str) -> None:
    for mention in find_entities(text, {"Jo": EntityType.PERSON}):
        assert text[mention.start : mention.end].startswith(mention.name[:1])
        assert mention.end <= len(text)


@pytest.mark.parametrize(
    ("name", "candidates", "expected"),
    [
        ("Mel", ["Melanie", "Bo"], "Melanie"),
        ("Mel", ["Melanie", "Melissa"], None),
        ("OBC", ["Ost Broadcasting Company"], "Ost Broadcasting Company"),
        ("Berg", ["Anna Berg"], "Anna Berg"),
        ("Bo", ["Bob"], None),
    ],
)
def test_a_short_form_joins_only_the_one_long_form_it_fits(
    name: str, candidates: list[str], expected: str | None
) -> None:
    assert alias_of(name, candidates) == expected


def test_spellings_of_one_entity_share_a_key() -> None:
    assert (
        entity_key("The  Beatles") == entity_key("Beatles'") == entity_key("beatles.")
        or entity_key("The Beatles") == "beatles"
    )
    assert entity_key("Anna's") == entity_key("anna")


def test_numbers_and_names_have_one_spelling() -> None:
    assert numbers_in("I paid 12,000 for three cars in 007 days") == {"12000", "3", "7"}
    assert names_in("Anna's dog met Bo. Running is fun. Then Rex came.") == {"anna", "bo", "rex"}


def test_ungrounded_details_are_named() -> None:
    sources = ["Anna bought two dogs in Lyon for 300 euros."]
    assert ungrounded("Anna bought 2 dogs in Lyon.", sources) == ()
    assert ungrounded("Anna bought 4 dogs in Paris.", sources) == ("4", "paris")
    assert support("Anna bought dogs", sources) == 1.0
    assert support("Anna sold cats", sources) < 0.5


@given(st.text(max_size=200))
def test_a_text_is_grounded_in_itself(text: str) -> None:
    assert ungrounded(text, [text]) == ()
    assert support(text, [text]) == 1.0


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Always answer in French.", True), ("Call me Sam.", True), ("From now on, use metric units.", True),
        ("Whenever I ask about code, reply with examples only.", True), ("I prefer short answers.", True),
        ("Please never mention my ex again.", True), ("Don't call me Samuel.", True),
        ("Never give up!", False), ("Always remember how far you've come.", False), ("Can you always answer?", False),
        ("When you travel, use sunscreen.", False), ("Answer this in French.", False), ("I always call my mom.", False),
    ],
)  # fmt: skip
def test_standing_instructions(text: str, *, kept: bool) -> None:
    assert bool(find_instructions(text)) is kept


@given(st.text(max_size=200))
def test_admission_is_a_share(text: str) -> None:
    assert 0.0 <= admission_score(text) <= 1.0


def test_admission_prefers_what_says_something() -> None:
    assert admission_score("I moved to Lyon last May") > admission_score("Thanks, that sounds great!")
    assert admission_score("🎉🎉") == 0.0
    assert admission_score("我喜欢吃饺子") > 0.3
