"""An erasure shuts every door, takes what hangs on it and no more, and history still verifies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from memos.errors import ErasedContent, Frozen, NotFound
from memos.rules.access import Principal
from memos.rules.header import Draft, Kind, Source
from memos.services import branch, doctor_truth, erase, read, recall, revise, work
from memos.services.encode import encode
from memos.services.erase import Wanted
from memos.services.findings import Verdict
from memos.services.remember import utc_now
from memos.store import cubes, erasure, memories, usage
from memos.store.revision_writer import RevisionWriter
from memos.wiring import App
from tests.conftest import OWNER_KEY
from tests.services.deriving import DAY, START, Cube
from tests.services.erasing import EDITED, SECRET, derive, forget
from tests.services.running import fact, head, look, make_cube, write

_numbers = itertools.count(1)


@pytest.fixture
def cube(app: App, owner: Principal) -> str:
    name = f"erasing-{next(_numbers)}"
    make_cube(app, owner, name, utc_now())
    return name


@pytest.fixture(scope="module")
def client(app: App) -> Iterator[TestClient]:
    with TestClient(create_app(app), headers={"Authorization": f"Bearer {OWNER_KEY}"}) as opened:
        yield opened


def test_every_door_is_shut(app: App, owner: Principal, cube: str) -> None:
    target, other = write(app, owner, cube, [fact(SECRET, external_id="x1"), fact("the coat is blue")], utc_now())
    before = head(app, owner, cube)
    with app.database.transaction(owner.tenant_id) as tx:
        branch.create_branch(tx, owner, cube, name="exp", from_=None, base="main", now=utc_now())
    prepared = revise.prepare_change(app.database, app.embedder, owner, cube, target, {"content": EDITED}, "exp")
    with app.database.transaction(owner.tenant_id) as tx:
        revise.change(tx, owner, prepared, now=utc_now())
    receipt = forget(app, owner, cube, target)
    assert {(r["branch"], r["removed"]) for r in receipt["revisions"]} == {("main", 1), ("exp", 1)}

    for name, at in (("main", None), ("main", before), ("exp", None), ("exp", before)):
        with app.database.transaction(owner.tenant_id, read_only=True) as tx:
            with pytest.raises(NotFound):
                read.get_memory(tx, owner, cube, target, branch=name, at=at)
            listed = read.list_memories(
                tx, owner, cube, kind=None, state=None, tag=None, session_id=None, branch=name, at=at, as_of=None, limit=100,
                cursor=None,
            )  # fmt: skip
            assert [m.id for m in listed.items] == [other]
            assert [v.memory_id for v in memories.stream(tx, cubes.view(tx, cube, name, at))] == [other]
        for text in (SECRET, EDITED, "quorvantium"):
            asked = recall.SearchQuery(text, branch=name, at=at, limit=50)
            answer = recall.search_cubes(app.recall, owner, [cube], asked, clock=utc_now())
            assert {hit.memory_id for hit in answer.items} <= {other}
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        history = read.history(tx, owner, cube, target, limit=10, cursor=None).items
        changes = branch.diff(tx, owner, cube, from_=0, to=before, branch="main")
    assert [(v.content, v.external_id, v.erased) for v in history] == [(None, None, True)] * len(history)
    assert len(history) == receipt["erased"]["versions"]
    assert [m.id for m in changes.added] == [other]
    with app.database.transaction(owner.tenant_id) as tx, pytest.raises(NotFound):
        revise.restore(tx, owner, cube, target, version=9, branch="main", now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx, pytest.raises(NotFound):
        erase.request(tx, owner, cube, Wanted([target]), now=utc_now())


def test_going_back_does_not_bring_it_back(app: App, owner: Principal, cube: str) -> None:
    target, other = write(app, owner, cube, [fact(SECRET), fact("the coat is blue")], utc_now())
    number = head(app, owner, cube)
    forget(app, owner, cube, target)
    with app.database.transaction(owner.tenant_id) as tx:
        branch.rollback(tx, owner, cube, to=number, branch="main", now=utc_now())
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        shown = memories.state_at(tx, cubes.view(tx, cube))
    assert set(shown) == {other}
    assert [f for f in doctor_truth.examine(app.database, repair=False) if f.verdict is Verdict.FAIL] == []


def test_the_closure_goes_down_and_to_duplicates_but_not_up(app: App, owner: Principal, cube: str) -> None:
    source, survivor, folded, same = write(
        app,
        owner,
        cube,
        [fact("a source"), fact("a duplicate"), fact("a duplicate, folded"), fact("bystander")],
        utc_now(),
    )
    made = derive(app, owner, cube, "made of the duplicate and the source", [survivor, source])
    with app.database.transaction(owner.tenant_id) as tx:
        writer = RevisionWriter(tx, cube, "main", now=utc_now())
        row = memories.get(tx, writer.view, folded)
        assert row is not None
        writer.change(row, replace(row.draft(), state="merged", action="merge", merged_into=survivor))
        writer.finish(kind="consolidate", author=None, reason="")
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        told = erase.preview(tx, owner, cube, Wanted([folded]))
    assert {(r.memory_id, r.why) for r in told.memories} == {
        (folded, "asked"), (survivor, "duplicate"), (made, "derived"),
    }  # fmt: skip
    assert told.sources_left == [source]
    receipt = forget(app, owner, cube, folded)
    assert receipt["erased"]["memories"] == 3
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        assert set(memories.state_at(tx, cubes.view(tx, cube))) == {source, same}


def test_a_dry_run_writes_nothing_and_tells_what_would_stay(app: App, owner: Principal, cube: str) -> None:
    target = write(app, owner, cube, [fact(SECRET, external_id="one")], utc_now())[0]
    twin = write(app, owner, cube, [fact(SECRET, external_id="two")], utc_now())[0]
    before = head(app, owner, cube)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        told = erase.preview(tx, owner, cube, Wanted(filter={"external_id": {"eq": "one"}}))
    assert (told.asked, told.taken, [r.memory_id for r in told.memories], told.same_text) == (1, 1, [target], [twin])
    assert head(app, owner, cube) == before


def test_what_is_frozen_anywhere_stands_against_it(app: App, owner: Principal, cube: str) -> None:
    [target] = write(app, owner, cube, [fact(SECRET)], utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        revise.set_state(tx, owner, cube, target, to="frozen", branch="main", now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        branch.create_branch(tx, owner, cube, name="exp", from_=None, base="main", now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        revise.set_state(tx, owner, cube, target, to="generated", branch="main", now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx, pytest.raises(Frozen):
        erase.request(tx, owner, cube, Wanted([target]), now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        revise.set_state(tx, owner, cube, target, to="generated", branch="exp", now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        promised = erase.request(tx, owner, cube, Wanted([target]), now=utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        revise.set_state(tx, owner, cube, target, to="frozen", branch="main", now=utc_now())
    assert work.run_job(app, owner.tenant_id, promised.job_id) == "failed"
    assert (look(app, owner, promised.job_id).error or {})["code"] == "frozen"
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        with pytest.raises(NotFound):
            erase.get_receipt(tx, owner, promised.receipt_id)
        assert read.get_memory(tx, owner, cube, target, branch="main", at=None).content == SECRET


def test_a_probe_that_finds_something_undoes_everything(
    app: App, owner: Principal, cube: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let one table be forgotten: the erasure must notice, and not happen."""
    [target] = write(app, owner, cube, [fact(SECRET)], utc_now())
    with app.database.transaction(owner.tenant_id) as tx:
        usage.recalled(tx, cubes.find(tx, cube).id, {target: 1}, utc_now())
        promised = erase.request(tx, owner, cube, Wanted([target]), now=utc_now())
    monkeypatch.setattr(erasure, "WIPES", {t: s for t, s in erasure.WIPES.items() if t != "usage"})
    assert work.run_job(app, owner.tenant_id, promised.job_id) != "succeeded"
    assert (look(app, owner, promised.job_id).error or {})["code"] == "still_there"
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        assert read.get_memory(tx, owner, cube, target, branch="main", at=None).content == SECRET


def test_what_was_made_of_it_meanwhile_is_refused(app: App, owner: Principal, cube: str) -> None:
    """A worker that read the text before the erasure must not save what it made of it after."""
    [target] = write(app, owner, cube, [fact(SECRET)], utc_now())
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        row = memories.get(tx, cubes.view(tx, cube), target)
    assert row is not None
    forget(app, owner, cube, target)
    now = utc_now()
    draft = Draft(Kind.FACT, "He has a cellar", now, origin="derived", sources=(Source(row.memory_id, row.version),))
    [encoded] = encode(app.embedder, [draft])
    with pytest.raises(Exception, match="has been erased"), app.database.transaction(owner.tenant_id) as tx:
        writer = RevisionWriter(tx, cube, "main", now=now)
        writer.add(draft, encoded)
        writer.finish(kind="extract", author=None, reason="")
    with pytest.raises(NotFound), app.database.transaction(owner.tenant_id) as tx:
        writer = RevisionWriter(tx, cube, "main", now=now)
        writer.restate(None, row, "rollback")
        writer.finish(kind="extract", author=None, reason="")


@pytest.mark.parametrize("refuse", [True, False])
def test_the_same_text_may_come_back_unless_the_policy_refuses(app: App, owner: Principal, refuse: bool) -> None:
    name = f"back-{next(_numbers)}"
    make_cube(app, owner, name, utc_now(), {"refuse_erased": refuse})
    [target, other] = write(app, owner, name, [fact(SECRET), fact("the coat is blue")], utc_now())
    receipt = forget(app, owner, name, target)
    assert receipt["return_refused"] is refuse
    if refuse:
        for text in (SECRET, f"  {SECRET.upper()} "):
            with pytest.raises(ErasedContent):
                write(app, owner, name, [fact("harmless"), fact(text)], utc_now())
        prepared = revise.prepare_change(app.database, app.embedder, owner, name, other, {"content": SECRET}, "main")
        with pytest.raises(ErasedContent), app.database.transaction(owner.tenant_id) as tx:
            revise.change(tx, owner, prepared, now=utc_now())
    else:
        assert write(app, owner, name, [fact(SECRET)], utc_now()) != [target]


def test_a_refused_fact_is_not_made_again_of_another_text(app: App, owner: Principal) -> None:
    cube = Cube.make(app, owner, {"refuse_erased": True})
    cube.say("I live in Porto.", "I work at Galp.", name="Ana")
    cube.extract()
    facts = {memory.content: memory.id for memory in cube.memories("fact")}
    [porto] = [text for text in facts if text and "Porto" in text]
    forget(app, owner, cube.name, facts[porto])
    cube.say("I live in Porto.", "I have a boat.", session="s2", name="Ana", at=START + DAY)
    cube.extract()
    after = {memory.content for memory in cube.memories("fact")}
    assert porto not in after
    assert any(text and "boat" in text for text in after)
    assert any(text and "Galp" in text for text in after)
