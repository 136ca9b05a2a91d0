"""Made-up facts in chains, and questions that go through one or two of them: other relations and wordings than public files.

Names say nothing and are much alike ("Ida Ekberg", "Felix Ekberg"; "Jordale Bakery", "Jorstad Labs"), so that only the
chain leads to an answer. The same seed gives the same facts and questions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice


def _words(plain: str) -> list[str]:
    return plain.split()


_HEADS = _words("Bra Kel Mor Tan Vel Ost Lin Dar Fen Hol Jor Nim Pel Quin Ros Sel Tor Ul Wen Yar")
_TAILS = _words("wick dale ford mere stad holm by ton vik ger nes lund bury mond rath")
_FIRST = _words(
    "Maren Tobias Ingrid Soren Leona Casper Wilma Anton Freja Hugo Selma Viggo Nora Emil Astrid Oskar Greta Felix "
    "Liv Jonas Petra Magnus Ida Rune"
)
_LAST = _words(
    "Holt Brandt Ekberg Falk Lindqvist Moberg Norling Rask Sandvik Thorne Ulmer Voss Wester Ahlberg Krag Dahl "
    "Nyman Hjort Berger Stolt"
)
_TRADES = ("Mills", "Foundry", "Press", "Shipyard", "Labs", "Bakery")
_CLUBS = ("Rovers", "Choir", "Chess Club", "Sailing Club")
PER_FORM = 24
"""Questions of each form."""

Question = tuple[str, str]
"""A question and its answer."""


@dataclass(frozen=True, slots=True)
class Chains:
    facts: tuple[str, ...]
    chained: tuple[Question, ...]
    plain: tuple[Question, ...]


def chains(seed: int = 7) -> Chains:
    """About 350 facts on people, firms, clubs and towns in random order; questions over two or three, and over one."""
    draw = random.Random(seed)
    names = _distinct(draw, _HEADS, _TAILS, "")
    people = list(islice(_distinct(draw, _FIRST, _LAST, " "), 80))
    provinces, towns = ([next(names) for _ in range(n)] for n in (8, 30))
    firms = [f"{next(names)} {draw.choice(_TRADES)}" for _ in range(30)]
    clubs = [f"{next(names)} {draw.choice(_CLUBS)}" for _ in range(20)]
    lies = {town: draw.choice(provinces) for town in towns}
    seat = {firm: draw.choice(towns) for firm in firms}
    director = {firm: draw.choice(people) for firm in firms}
    meets = {club: draw.choice(towns) for club in clubs}
    firm = {person: draw.choice(firms) for person in people}
    club = {person: draw.choice(clubs) for person in people}
    trainer = {person: draw.choice([other for other in people if other != person]) for person in people}
    facts = [
        *(f"{a} lies in the province of {b}." for a, b in lies.items()),
        *(f"{a} has its headquarters in {b}." for a, b in seat.items()),
        *(f"The director of {a} is {b}." for a, b in director.items()),
        *(f"{a} meets in {b}." for a, b in meets.items()),
        *(f"{a} is employed by {b}." for a, b in firm.items()),
        *(f"{a} is a member of {b}." for a, b in club.items()),
        *(f"{a} was trained by {b}." for a, b in trainer.items()),
    ]
    draw.shuffle(facts)

    def some(of: Sequence[str]) -> list[str]:
        return draw.sample(of, PER_FORM)

    chained = [
        *((f"In which town is the headquarters of the employer of {p}?", seat[firm[p]]) for p in some(people)),
        *((f"Who is the director of the company that employs {p}?", director[firm[p]]) for p in some(people)),
        *((f"Which club is the person who trained {p} a member of?", club[trainer[p]]) for p in some(people)),
        *((f"In which town does the club of {p}'s trainer meet?", meets[club[trainer[p]]]) for p in some(people)),
        *((f"Who trained the director of {f}?", trainer[director[f]]) for f in some(firms)),
        *(
            (f"In which province is the town where {p}'s employer has its headquarters?", lies[seat[firm[p]]])
            for p in some(people)
        ),
    ]
    plain = [
        *((f"Who is the director of {f}?", director[f]) for f in some(firms)),
        *((f"Who trained {p}?", trainer[p]) for p in some(people)),
    ]
    return Chains(tuple(facts), tuple(chained), tuple(plain))


def _distinct(draw: random.Random, heads: Sequence[str], tails: Sequence[str], between: str) -> Iterator[str]:
    """Names put together from two lists, each once, in random order."""
    every = [f"{head}{between}{tail}" for head in heads for tail in tails]
    draw.shuffle(every)
    yield from every
