"""Made-up chains: the same each time, and every answer stands in a fact."""

from __future__ import annotations

from benchmarks.graph_chains import PER_FORM, chains


def test_the_same_seed_gives_the_same_chains_and_another_gives_others() -> None:
    assert chains(3) == chains(3)
    assert chains(3) != chains(4)


def test_each_answer_is_in_a_fact_and_not_in_its_question() -> None:
    made = chains()
    assert (len(made.chained), len(made.plain)) == (6 * PER_FORM, 2 * PER_FORM)
    assert len(set(made.facts)) == len(made.facts)
    for question, answer in made.plain:
        assert any(answer in fact and _subject(question) in fact for fact in made.facts)
    for question, answer in made.chained:
        assert answer not in question
        assert any(answer in fact for fact in made.facts)


def _subject(question: str) -> str:
    """The name at the end of a plain question."""
    return " ".join(question.rstrip("?").split()[-2:])
