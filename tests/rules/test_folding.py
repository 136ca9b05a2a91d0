"""Sources speak for themselves; what was made of them stands back."""

from __future__ import annotations

from uuid import UUID

from memos.rules.folding import Origin, after_sources, folded, missing_sources

TURN, OTHER, FACT, EPISODE, WRITTEN = (UUID(int=n) for n in range(1, 6))


def test_a_derived_fact_is_folded_onto_its_source_and_a_written_one_never() -> None:
    origins = [Origin(TURN, "turn", []), Origin(FACT, "fact", [TURN]), Origin(WRITTEN, "fact", [])]
    assert folded(origins, {"turn", "fact"}) == {FACT}
    assert folded(origins[1:], {"turn", "fact"}) == set()


def test_kinds_that_were_asked_for_stay_behind_the_best_of_their_sources() -> None:
    origins = [Origin(EPISODE, "episode", [TURN, OTHER]), Origin(TURN, "turn", []), Origin(OTHER, "turn", [])]
    assert folded(origins, {"turn"}) == {EPISODE}
    assert folded(origins, {"turn", "episode"}) == set()
    assert after_sources([(o.memory_id, o) for o in origins]) == [TURN, EPISODE, OTHER]
    assert after_sources([(o.memory_id, o) for o in origins[1:]]) == [TURN, OTHER]


def test_only_sources_out_of_sight_are_fetched() -> None:
    origins = [
        Origin(FACT, "fact", [TURN]),
        Origin(EPISODE, "episode", [OTHER, UUID(int=8), UUID(int=9), UUID(int=10)]),
    ]
    assert missing_sources(origins, 100) == [TURN, OTHER, UUID(int=8), UUID(int=9)]
    assert missing_sources([*origins, Origin(TURN, "turn", [])], 2) == [OTHER, UUID(int=8)]
