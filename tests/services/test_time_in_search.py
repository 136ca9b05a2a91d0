"""Time in search: what was said last stands before what it replaced, and a time in the question finds what was said then."""

from __future__ import annotations

from datetime import timedelta

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from memos.rules.access import Principal
from memos.services import recall
from memos.wiring import App
from tests.services.deriving import DAY, START, Cube

LATER = START + 90 * DAY


@pytest.fixture
def cube(app: App, owner: Principal) -> Cube:
    """Somebody moves twice; each message is read by a job of its own."""
    cube = Cube.make(app, owner)
    cube.say("I live in Leeds.", "What a lovely day, we had tea where the ducks live.", name="Marta")
    cube.extract()
    cube.say("We moved to York.", name="Marta", session="s2", at=LATER)
    cube.extract()
    return cube


def shown(cube: Cube, query: str, **asked: object) -> list[str]:
    return cube.search(query, **({"granularity": "auto"} | asked))


def test_the_new_home_stands_before_the_old_one(cube: Cube) -> None:
    now = shown(cube, "Where does Marta live?")
    assert now.index("We moved to York.") < now.index("I live in Leeds.")
    past = shown(cube, "Where did Marta live before?")
    assert past.index("I live in Leeds.") < past.index("We moved to York.")


def test_the_route_says_so_and_a_stranger_to_the_question_is_not_moved(cube: Cube) -> None:
    def route(query: str) -> tuple[str, list[str]]:
        asked = recall.SearchQuery(query, now=START + 365 * DAY)
        found = recall.search_cubes(cube.app.recall, cube.who, [cube.name], asked, clock=START).route
        return found.reason, found.channels

    reason, channels = route("Where does Marta live?")
    assert "put what replaced a hit before it" in reason
    assert "graph" in channels
    reason, channels = route("Who had tea?")
    assert "replaced" not in reason
    assert "graph" not in channels


def test_a_sure_search_takes_three_statements_and_a_replaced_hit_two_more(
    cube: Cube, spans: InMemorySpanExporter
) -> None:
    def statements(query: str) -> int:
        spans.clear()
        assert shown(cube, query)
        return sum(one.name.startswith("db ") for one in spans.get_finished_spans())

    assert statements("Who had tea?") == 3
    assert statements("Where does Marta live?") == 5


def test_a_line_of_replacements_is_followed_to_its_end(cube: Cube) -> None:
    cube.say("I moved to Oslo.", name="Marta", session="s3", at=LATER + 90 * DAY)
    cube.extract()
    now = shown(cube, "Where does Marta live?")
    assert now.index("I moved to Oslo.") < min(now.index("I live in Leeds."), now.index("We moved to York."))


def test_what_a_filter_keeps_out_does_not_come_back_as_a_heir(cube: Cube) -> None:
    first = {"session_id": {"eq": "s1"}}
    assert "We moved to York." not in shown(cube, "Where does Marta live?", filter=first)


def test_as_of_hears_nothing_that_was_said_later(cube: Cube) -> None:
    then = shown(cube, "Where does Marta live?", as_of=START + timedelta(days=2))
    assert then[0] == "I live in Leeds."
    assert not any("York" in text for text in then)
    assert "We moved to York." in shown(cube, "Where does Marta live?", as_of=LATER + DAY)


def test_what_is_told_of_an_earlier_time_is_known_of_it(cube: Cube) -> None:
    """The message came later; what it says was so before."""
    cube.say("I have been working at Siemens since 2019.", name="Marta", session="s4", at=LATER)
    cube.extract()
    then = shown(cube, "Where does Marta work?", as_of=START)
    assert any("Siemens" in text for text in then)
    assert "I have been working at Siemens since 2019." not in then


@pytest.fixture
def diary(app: App, owner: Principal) -> Cube:
    """A year in five sentences, with nothing in common with the questions but their time."""
    cube = Cube.make(app, owner)
    for place, (month, day, text) in enumerate(
        [(5, 11, "The apple tree is planted."), (6, 20, "The fence is green."), (7, 18, "Sunscreen is in the bag."),
         (8, 1, "The trip to Crete starts."), (2, 3, "Snow fell on the roof.")]
    ):  # fmt: skip
        cube.say(text, session=f"d{place}", at=START.replace(month=month, day=day), name="Ola")
    return cube


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("What happened last May?", "The apple tree is planted."),
        ("What happened in June?", "The fence is green."),
        ("What did Ola do two weeks before the trip?", "Sunscreen is in the bag."),
    ],
)
def test_the_time_a_question_names_finds_what_was_said_then(diary: Cube, question: str, first: str) -> None:
    assert shown(diary, question, now=START.replace(month=9))[0] == first


def test_a_time_lets_nothing_past_a_filter(diary: Cube) -> None:
    others = {"not": {"session_id": {"eq": "d1"}}}
    found = shown(diary, "What happened in June?", now=START.replace(month=9), filter=others)
    assert "The fence is green." not in found
