"""Sources speak for themselves; what was made of them stands back."""

from __future__ import annotations

from uuid import UUID

from memos.rules.folding import Origin, after_sources, beside_sources

TURN, OTHER, EPISODE = (UUID(int=n) for n in range(1, 4))


def test_only_kinds_a_question_asks_for_stand_beside_their_sources() -> None:
    assert beside_sources(["turn", "passage", "fact"]) == []
    assert beside_sources(["turn", "fact", "episode", "profile"]) == ["episode", "profile"]


def test_kinds_that_were_asked_for_stay_behind_the_best_of_their_sources() -> None:
    origins = [Origin(EPISODE, "episode", [TURN, OTHER]), Origin(TURN, "turn", []), Origin(OTHER, "turn", [])]
    assert after_sources([(o.memory_id, o) for o in origins]) == [TURN, EPISODE, OTHER]
    assert after_sources([(o.memory_id, o) for o in origins[1:]]) == [TURN, OTHER]
