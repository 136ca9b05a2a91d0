"""Derived memories beside their sources, past states, and filters in every channel."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from memos.rules.access import Principal
from memos.rules.header import Draft, Kind, Source, dedup_key
from memos.services import administer, remember
from memos.services.encode import encode
from memos.services.recall import SearchQuery, search_cubes
from memos.services.views import SearchAnswer
from memos.store.revision_writer import RevisionWriter
from memos.wiring import App

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
THINGS = ["kettle", "ladder", "mirror", "needle", "paddle", "ribbon", "saddle", "teapot", "violin", "wallet"]


def said(n: int) -> str:
    return f"On day {n} I repaired the {THINGS[n % 10]} with {THINGS[(n // 10) % 10]} parts from shop {n % 7}."


@pytest.fixture(scope="module")
def turns(app: App, owner: Principal) -> list[UUID]:
    """A cube of 130 turns, too many for `low` to read whole, with two facts drawn from each of the first thirty."""
    with app.database.transaction(owner.tenant_id) as tx:
        administer.create_cube(tx, owner, name="workshop", description="", policy={}, now=NOW)
    ids: list[UUID] = []
    for session in range(13):
        messages = [
            remember.MessageIn("user", said(n), name="Ana", created_at=NOW + timedelta(days=n))
            for n in range(session * 10, session * 10 + 10)
        ]
        prepared = remember.prepare_messages(
            app.embedder, "workshop", session_id=f"s{session}", messages=messages, branch="main", now=NOW
        )
        with app.database.transaction(owner.tenant_id) as tx:
            ids += [memory.id for memory in remember.write(tx, owner, prepared, now=NOW).memories]
    return ids


@pytest.fixture(scope="module")
def plain(app: App, owner: Principal, turns: list[UUID]) -> dict[tuple[int, str], list[UUID]]:
    """What was found before anything was derived."""
    return {
        (n, budget): [h.memory_id for h in ask(app, owner, n, budget).items]
        for n in range(0, 30, 5)
        for budget in BUDGETS
    }


@pytest.fixture(scope="module")
def derived(app: App, owner: Principal, turns: list[UUID], plain: dict[tuple[int, str], list[UUID]]) -> list[UUID]:
    drafts = [
        Draft(kind=Kind.FACT, text=text, created_at=NOW, origin="extracted", sources=(Source(turns[n], 1),))
        for n in range(30)
        for text in (
            f"Ana repaired the {THINGS[n % 10]} on day {n}.",
            f"Ana used {THINGS[(n // 10) % 10]} parts on day {n}.",
        )
    ]
    encoded = encode(app.embedder, drafts)
    with app.database.transaction(owner.tenant_id) as tx:
        writer = RevisionWriter(tx, "workshop", "main", now=NOW)
        ids = [
            writer.add(replace(draft, dedup_key=dedup_key(draft)), code)
            for draft, code in zip(drafts, encoded, strict=True)
        ]
        writer.finish(kind="extract", author=owner.key_id, reason="test")
    return ids


BUDGETS = ("low", "auto", "high")


def ask(app: App, owner: Principal, n: int, budget: str, **options: object) -> SearchAnswer:
    query = f"Who repaired the {THINGS[n % 10]} on day {n}?"
    asked = SearchQuery(query, budget=budget, **options)  # type: ignore[arg-type]
    return search_cubes(app.recall, owner, ["workshop"], asked, clock=NOW)


@pytest.mark.parametrize("budget", BUDGETS)
def test_derived_facts_never_displace_their_sources(
    app: App,
    owner: Principal,
    turns: list[UUID],
    plain: dict[tuple[int, str], list[UUID]],
    derived: list[UUID],
    budget: str,
) -> None:
    for n in range(0, 30, 5):
        hits = ask(app, owner, n, budget).items
        assert {hit.kind for hit in hits} == {"turn"}
        places = [hit.memory_id for hit in hits]
        if turns[n] in plain[n, budget]:
            assert turns[n] in places


def test_facts_that_were_asked_for_come_with_their_sources(
    app: App, owner: Principal, turns: list[UUID], derived: list[UUID]
) -> None:
    hits = ask(app, owner, 5, "auto", granularity="fact").items
    assert {hit.kind for hit in hits} == {"fact"}
    assert turns[5] in {source for hit in hits for source in hit.sources}


def test_a_fact_whose_source_may_not_be_shown_stands_for_itself(
    app: App, owner: Principal, derived: list[UUID]
) -> None:
    hits = ask(app, owner, 5, "auto", filter={"kind": {"eq": "fact"}}).items
    assert hits
    assert {hit.kind for hit in hits} == {"fact"}


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_filter_holds_for_neighbours_sources_and_the_second_look(
    app: App, owner: Principal, derived: list[UUID], budget: str
) -> None:
    kept = {"or": [{"session_id": {"eq": "s1"}}, {"kind": {"eq": "fact"}}]}
    for n in (3, 14, 25):
        for hit in ask(app, owner, n, budget, filter=kept, limit=50).items:
            assert hit.kind == "fact" or hit.source.session_id == "s1"


def test_equal_questions_get_equal_answers(app: App, owner: Principal, derived: list[UUID]) -> None:
    for budget in BUDGETS:
        first, second = (ask(app, owner, 17, budget) for _ in range(2))
        assert [(h.memory_id, h.score) for h in first.items] == [(h.memory_id, h.score) for h in second.items]
        assert first.route == second.route


def test_the_past_knows_nothing_of_what_came_later(
    app: App, owner: Principal, turns: list[UUID], derived: list[UUID]
) -> None:
    hits = ask(app, owner, 5, "auto", at=2, limit=50).items
    assert hits
    assert {hit.memory_id for hit in hits} <= set(turns[:20])
