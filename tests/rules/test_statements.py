"""Grammar shapes read as (subject, attribute, value), and what a slot's cardinality follows from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.rules.attributes import Cardinality, Form, attribute_key, canonical, cardinality, value_type_of
from memos.rules.clauses import plain
from memos.rules.first_person import parse_first_person
from memos.rules.statements import parse_clause, split_definite
from memos.rules.words import verb_base


@pytest.mark.parametrize(
    ("clause", "subject", "attribute", "kind", "value"),
    [
        ("The capital of Freedonia is Sylvania City.", "Freedonia", "capital", "", "Sylvania City"),
        ("Rex was born in the city of Lyon.", "Rex", "born in", "city", "Lyon"),
        ("Ann Lee is married to Tom Hall, Duke of Ost.", "Ann Lee", "married to", "", "Tom Hall, Duke of Ost"),
        ("Rex Ray plays the position of goalkeeper.", "Rex Ray", "play", "position", "goalkeeper"),
        (
            "The headquarters of Acme Corp is located in the city of Bonn.",
            "Acme Corp",
            "headquarters located in",
            "city",
            "Bonn",
        ),
        ("Ann Lee is a citizen of Ost.", "Ann Lee", "citizen of", "", "Ost"),
        ("Ann's cousin is Bo Li.", "Ann", "cousin", "", "Bo Li"),
        ("The firm that built Ark One is Boat Works.", "Ark One", "firm that built", "", "Boat Works"),
        ("The school where Bo Li was taught is Hill High.", "Bo Li", "school where was taught", "", "Hill High"),
        ("The name of the head of the Oslo office is Bo Li.", "Oslo", "name of the head of office", "", "Bo Li"),
        ("Acme was founded by Ann Lee.", "Acme", "founded by", "", "Ann Lee"),
        ("Acme was founded in 1946.", "Acme", "founded in", "time", "1946"),
        ("The Chief Scout of Ost is Bo Li.", "Ost", "chief scout", "", "Bo Li"),
        (
            "The Wheel of Fate was written in the language of Ostish.",
            "The Wheel of Fate",
            "written in",
            "language",
            "Ostish",
        ),
        ("Bo Li died in the city of Ost, O.C..", "Bo Li", "die in", "city", "Ost, O.C."),
        ("water polo is associated with the sport of swimming.", "water polo", "associated with", "sport", "swimming"),
    ],
)
def test_encyclopedic_shapes(clause: str, subject: str, attribute: str, kind: str, value: str) -> None:
    found = parse_clause(plain(clause), numbered=True)
    assert found is not None
    assert (found.subject, found.attribute, found.value_type, found.value) == (subject, attribute, kind, value)


@pytest.mark.parametrize(
    "clause",
    ["It is nice.", "They went home.", "Sounds great.", "Somewhere like this", "By adding salt", "", "Add the flour."],
)
def test_what_is_about_nothing_named(clause: str) -> None:
    assert parse_clause(clause) is None


def first(clause: str) -> tuple[str, str, bool, bool, bool] | None:
    found = parse_first_person(plain(clause), "Jo")
    if not found:
        return None
    statement = found[-1]
    return statement.attribute, statement.value, statement.negated, statement.ended, statement.planned


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("I live in Lyon", ("live in", "Lyon", False, False, False)),
        ("I'm definitely going to bake bread", ("bake", "bread", False, False, True)),
        ("I want to learn Greek", ("learn", "Greek", False, False, True)),
        ("I don't eat meat", ("eat", "meat", True, False, False)),
        ("I no longer work at Acme", ("work at", "Acme", True, True, False)),
        ("I used to live in Rome", ("live in", "Rome", True, True, False)),
        ("I moved from Rome to Lyon", ("live in", "Lyon", False, False, False)),
        ("I quit my job at Acme", ("work for", "Acme", True, True, False)),
        ("I started a new job as a baker last week", ("job", "baker", False, False, False)),
        ("My favourite colour is blue", ("favourite colour", "blue", False, False, False)),
        ("Lost my keys yesterday", ("lose", "my keys yesterday", False, False, False)),
        ("I've been playing chess", ("play", "chess", False, False, False)),
        ("I got married to Tom Hall", ("married to", "Tom Hall", False, False, False)),
        ("I could move to Rome", None),
        ("I think it is fine", None),
        ("I am happy", None),
        ("I love it", None),
        ("Dancing makes me happy", None),
    ],
)
def test_first_person(clause: str, expected: tuple[str, str, bool, bool, bool] | None) -> None:
    assert first(clause) == expected


def test_a_move_ends_one_home_and_starts_another() -> None:
    ended, begun = parse_first_person("I moved from Rome to Lyon", "Jo")
    assert (ended.value, ended.ended, begun.value, begun.ended) == ("Rome", True, "Lyon", False)


def test_somebody_named_is_a_subject_of_their_own() -> None:
    who, what = parse_first_person("my sister Anna lives in Berlin", "Jo")
    assert (who.subject, who.attribute, who.value) == ("Jo", "sister", "Anna")
    assert (what.subject, what.attribute, what.value) == ("Anna", "live in", "Berlin")


@given(st.text(max_size=150))
def test_any_clause_is_read_without_error(clause: str) -> None:
    for found in (parse_clause(plain(clause)), *parse_first_person(plain(clause), "Jo")):
        assert found is None or (found.attribute and (found.value or found.ended))


GRAMMAR = """
    I my we The of is was are not no longer going to have had Anna Lyon's lives lives in city by a 's
    , moved from job
"""


@given(st.lists(st.sampled_from(GRAMMAR.split()), max_size=14).map(" ".join))
def test_any_mixture_of_grammar_words_is_read_without_error(clause: str) -> None:
    parse_clause(clause, numbered=True)
    parse_first_person(clause, "Jo")


def test_definite_phrases() -> None:
    assert split_definite("The chief cook of Acme Inc.") == ("chief cook", "Acme Inc.")
    assert split_definite("Anna's sister") == ("sister", "Anna")
    assert split_definite("The Beatles") is None
    assert split_definite("the top of the hill") == ("top", "hill")


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("went", "go"),
        ("found", "find"),
        ("plays", "play"),
        ("studies", "study"),
        ("running", "run"),
        ("left", "leave"),
        ("table", None),
    ],
)
def test_verbs(word: str, base: str | None) -> None:
    assert verb_base(word) == base


def test_slots_have_one_spelling() -> None:
    assert attribute_key("moved to") == attribute_key("moved to")
    assert canonical("work at") == canonical("employed by") == "work for"
    assert attribute_key("favourite colours") == attribute_key("favourite colour")
    assert attribute_key("founded in", "city") != attribute_key("founded in", value_type_of("1946"))


@pytest.mark.parametrize(
    ("attribute", "form", "kind", "numbered", "expected"),
    [
        ("capital", Form.DEFINITE, "", False, Cardinality.ONE),
        ("hobbies", Form.DEFINITE, "", False, Cardinality.MANY),
        ("type of music that plays", Form.DEFINITE, "", False, Cardinality.ONE),
        ("born in", Form.RELATION, "", False, Cardinality.ONE_EVER),
        ("founded by", Form.RELATION, "", False, Cardinality.ONE_EVER),
        ("founded by", Form.RELATION, "", True, Cardinality.ONE),
        ("famous for", Form.RELATION, "", False, Cardinality.MANY),
        ("famous for", Form.RELATION, "", True, Cardinality.ONE),
        ("interested in", Form.RELATION, "", True, Cardinality.MANY),
        ("live in", Form.VERB, "", False, Cardinality.ONE),
        ("visit", Form.VERB, "", True, Cardinality.MANY),
        ("like", Form.VERB, "", True, Cardinality.MANY),
        ("play", Form.VERB, "position", False, Cardinality.ONE),
    ],
)
def test_how_many_values(attribute: str, form: Form, kind: str, *, numbered: bool, expected: Cardinality) -> None:
    assert cardinality(attribute, form, value_type=kind, numbered=numbered) is expected
