"""What a consolidation may commit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.rules.consolidation import Cited, Proposal, check_run, header_of, judge
from memos.rules.duplicates import Group
from memos.rules.header import Kind, Sensitivity

NOW = datetime(2026, 1, 1, tzinfo=UTC)
A, B, C = (UUID(int=n) for n in (1, 2, 3))
GOOD = Proposal(
    kind=Kind.EPISODE,
    external_id="episode/s1/0",
    title="Dora, 2026-01-01",
    text="Dora: I bought 3 boats in Porto.",
    created_at=NOW,
    cited=[Cited(A, 1)],
    material=["I bought 3 boats in Porto.", "Dora"],
    facts=["Dora bought 3 boats in Porto."],
)


def problems(
    *proposals: Proposal, merges: tuple[Group, ...] = (), lives: frozenset[UUID] = frozenset({A, B})
) -> list[str]:
    return check_run(
        proposals,
        {proposal.external_id: judge(proposal, 0.5) for proposal in proposals},
        merges,
        stands=lambda memory_id, version: (memory_id, version) in {(A, 1), (B, 1)},
        lives=lambda memory_id: memory_id in lives,
    )


def test_what_is_cited_covered_and_grounded_passes() -> None:
    assert problems(GOOD) == []
    assert judge(GOOD, 0.5).coverage == 1.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text": "Dora: I bought 4 boats in Porto."}, "1 of its numbers or names are not in its sources"),
        ({"text": "Dora: I bought 3 boats in Paris."}, "1 of its numbers or names are not in its sources"),
        ({"text": "   "}, "it is empty"),
        ({"text": "Dora and somewhere entirely different things"}, "of its words are in its sources"),
        ({"facts": ["Dora sold a house.", "Dora likes tea."]}, "it covers 0% of the facts, less than 50%"),
        ({"cited": []}, "it cites nothing"),
        ({"cited": [Cited(A, 2), Cited(C, 1)]}, "2 of its sources do not exist as cited"),
    ],
)
def test_each_defect_is_found_and_named_without_quoting(change: dict[str, object], reason: str) -> None:
    found = problems(replace(GOOD, **change))  # type: ignore[arg-type]
    assert any(reason in problem for problem in found), found
    assert all(problem.startswith("episode/s1/0: ") for problem in found)
    assert not any("Paris" in problem for problem in found)


def test_whole_facts_and_steps_need_no_check_of_words() -> None:
    verbatim = replace(GOOD, text="About Zed: 99", verbatim=True)
    assert problems(verbatim) == []
    assert problems(replace(verbatim, text="")) == ["episode/s1/0: it is empty"]


def test_a_merge_must_leave_somebody_alive() -> None:
    fine = Group(A, (B,), (0.99,))
    assert problems(merges=(fine,)) == []
    assert problems(merges=(fine,), lives=frozenset({B}))
    assert problems(merges=(fine, Group(B, (C,), (0.99,)))), "a survivor that is folded itself"
    assert problems(merges=(fine, Group(C, (B,), (0.98,))), lives=frozenset({A, C})), "folded twice"


def test_parts_count_as_citations() -> None:
    assert problems(replace(GOOD, cited=[], parts=["episode/s1/1"])) == []


@given(
    st.lists(
        st.builds(
            Cited,
            st.just(A),
            st.just(1),
            st.floats(0, 1),
            st.sampled_from([s.value for s in Sensitivity]),
            st.none() | st.integers(0, 9).map(lambda days: NOW + timedelta(days=days)),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_result_is_as_weak_secret_and_short_lived_as_its_worst_source(sources: list[Cited]) -> None:
    trust, sensitivity, expires_at = header_of(sources)
    order = ["public", "normal", "personal", "secret"]
    assert trust == min(s.trust for s in sources)
    assert order.index(sensitivity) == max(order.index(s.sensitivity) for s in sources)
    assert expires_at == min((s.expires_at for s in sources if s.expires_at), default=None)
