"""The words and sentence patterns of the synthetic corpus; our own, made for the speed benchmark.

A pattern's slots are filled by corpus.py. Each pattern comes with a question that its sentence answers.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words(
    """Anna Ben Carla Dmitri Elif Farid Greta Hugo Ines Jonas Kemal Lena Marco Nadia Oskar Paula Quentin
    Rosa Sami Tara Umar Vera Wanda Xenia Yusuf Zoe Amal Bruno Chloe Dario Edith Felix Gloria Hanna Ivo
    Julia Karim Laila Mateo Nora Olga Pablo Rana Stefan Theo Ulla Viktor Wim Yara Zeno Aisha Bela Cora
    Dinah Emil Freya Goran Hilda Igor Judith Kofi Luca Mira Nils Odile Piotr Renata Silas Tomas Ursula"""
)

ADJECTIVES = _words(
    """new old small large broken borrowed wooden second red green quiet expensive cheap strange heavy
    light favourite famous forgotten local early late difficult simple bright dark warm cold dusty shiny
    narrow wide silver homemade secret official temporary final annual weekly noisy fragile sturdy
    foreign handmade rented shared spare unusual"""
)

# A topic is also a piece of metadata, so that filters have something real to select.
TOPICS: dict[str, tuple[str, ...]] = {
    "garden": _words("greenhouse hedge tulip compost trellis orchard seedling rake pond lawn rosebush tomato fern"),
    "kitchen": _words("oven recipe casserole kettle sourdough blender spice skillet marinade pantry soup omelette"),
    "travel": _words("itinerary hostel ferry passport suitcase visa layover map cabin harbour train backpack"),
    "work": _words("contract deadline presentation budget invoice meeting proposal promotion audit roadmap client"),
    "music": _words("cello rehearsal concert melody drummer album choir piano audition chord vinyl festival"),
    "health": _words("dentist prescription therapy checkup allergy vaccine migraine clinic surgery diet insomnia"),
    "sport": _words("marathon racket goalkeeper league trophy training coach stadium referee kayak bicycle"),
    "books": _words("novel library manuscript chapter poem biography bookshop essay publisher thriller atlas"),
    "pets": _words("puppy kitten aquarium leash parrot vet kennel hamster collar stable tortoise"),
    "school": _words("homework exam lecture scholarship diploma semester tutor classroom thesis workshop seminar"),
    "house": _words("roof basement plumber wallpaper balcony mortgage fireplace attic carpet boiler staircase"),
    "money": _words("savings loan pension tax insurance refund salary donation auction mortgage subscription"),
    "software": _words("database server deployment compiler backup laptop firewall keyboard migration bug release"),
    "weather": _words("storm drought blizzard forecast flood heatwave fog hail rainbow thunder frost"),
    "film": _words("premiere screenplay director sequel documentary trailer cinema actor costume comedy"),
    "art": _words("sculpture gallery canvas exhibition portrait pottery sketch mural easel ceramics"),
    "family": _words("wedding anniversary reunion nephew grandmother christening twins cousin heirloom godson"),
    "cars": _words("engine gearbox mechanic tyre garage licence windscreen battery trailer van"),
    "science": _words("telescope microscope experiment fossil enzyme comet glacier laboratory magnet isotope"),
    "city": _words("tram mayor bridge market museum fountain district protest cathedral tunnel"),
}

VERBS = _words(
    """bought sold repaired lost found painted borrowed cleaned described photographed returned replaced
    inspected moved tested praised cancelled ordered designed finished postponed recommended measured
    rented"""
)

REACTIONS = (
    "everyone was relieved", "nobody had expected it", "it took the whole afternoon", "the price was fair",
    "we laughed about it for days", "it still needs some work", "I would do it again",
    "the neighbours complained", "it was worth the trouble", "there were two spare parts left",
    "it rained all the time", "I forgot to take pictures", "that was a first for me",
    "the instructions were useless", "it felt like a small victory", "we celebrated with cake",
)  # fmt: skip

# (sentence, the question it answers). {noun} belongs to the topic; {org}, {place} and {person} have long
# tails.
PATTERNS: tuple[tuple[str, str], ...] = (
    (
        "{person} {verb} the {adj} {noun} from {org} in {place}.",
        "What did {person} get from {org}?",
    ),
    (
        "I met {person} at the {noun} in {place} {when}.",
        "Whom did I meet at the {noun} in {place}?",
    ),
    (
        "The {adj} {noun} that {org} delivered {when} was {verb} by {person}.",
        "Who dealt with the {noun} that {org} delivered?",
    ),
    (
        "{person} told me that {org} will open a {noun} in {place} {when}.",
        "Where will {org} open a {noun}?",
    ),
    (
        "We paid {amount} euros for the {adj} {noun} in {place}.",
        "How much did the {adj} {noun} in {place} cost?",
    ),
    (
        "{when} {person} and I {verb} a {noun} near {place}.",
        "What happened with the {noun} near {place}?",
    ),
    (
        "My {noun} is called {org}, after a street in {place}.",
        "Why is the {noun} called {org}?",
    ),
    (
        "{person} no longer works for {org}; now it is all about the {noun} in {place}.",
        "What does {person} do since leaving {org}?",
    ),
    (
        "For the {noun} you need {amount} pieces of {adj} {org} fabric, says {person}.",
        "How many pieces does the {noun} need?",
    ),
    (
        "{org} cancelled the {noun} {when}, so {person} went to {place} instead.",
        "Where did {person} go when {org} cancelled?",
    ),
    (
        "Did you know that {person} grew up in {place} next to a {adj} {noun}?",
        "Where did {person} grow up?",
    ),
    (
        "The {noun} number {amount} of {org} is kept in {place}.",
        "Where is {noun} number {amount} kept?",
    ),
    (
        "{person} asked whether the {adj} {noun} could be {verb} {when}.",
        "What did {person} ask about the {noun}?",
    ),
    (
        "I prefer the {noun} of {org} to the {adj} one that {person} has.",
        "Which {noun} do I prefer?",
    ),
    (
        "{when} there was a {adj} {noun} in {place}, and {person} {verb} it.",
        "Who handled the {noun} in {place}?",
    ),
    (
        "{person} is allergic to the {noun} that they serve at {org}.",
        "What is {person} allergic to?",
    ),
)

DAYS = (
    "last Monday", "last Tuesday", "on Wednesday", "on Thursday", "last Friday", "on Saturday", "on Sunday",
    "two weeks ago", "in spring", "in early June", "in July", "last August", "in autumn", "in November",
    "last winter", "the day before yesterday", "this morning", "right after lunch", "a year ago",
    "before the holidays",
)  # fmt: skip

SYLLABLES = _words(
    """ba be bo bra bri ca co cra da de do dra el fa fen fo ga gel gi gra ha hel hol ka kel ki kra la len
    li lo ma mel mi mor na ne no nu or pa pel po qua ra rel ri ro sa sel si sta ta tel ti tor tra u va
    vel vi vo wa wen xi ya zel zo"""
)

PLACE_ENDINGS = (
    "ville", "berg", "mouth", "stad", "field", "grad", "port", "holm", "dale", "nova",
)  # fmt: skip

ORG_ENDINGS = (
    "& Sons", "Works", "Club", "Institute", "Bakery", "Trading", "Studio", "Labs", "House", "Union",
)  # fmt: skip
