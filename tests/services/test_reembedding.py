"""A cube changes its model while it is read and written: nothing is lost, nothing mixed, and there is a way back."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from memos.encoders.fake_embedder import FakeEmbedder
from memos.encoders.padded_embedder import PaddedEmbedder
from memos.errors import Conflict, Forbidden, Invalid, Misconfigured
from memos.rules.access import Principal, Scope
from memos.services import doctor_truth, erase, recall, reembed, remember, work
from memos.services.erase import Wanted
from memos.services.findings import Verdict
from memos.services.reembed import SpaceView
from memos.services.remember import utc_now
from memos.store import spaces
from memos.store.jobs import Job
from memos.store.spaces import SpaceChanged
from memos.wiring import App
from tests.services.deriving import START, Cube
from tests.services.packaging import answers, packed, remove, unpacked
from tests.services.running import fact, look, run

OTHER = "fake:48"


@pytest.fixture
def cube(app: App, owner: Principal) -> Cube:
    cube = Cube.make(app, owner)
    cube.say("Anna Berg lives in Lisbon.", "Anna works for Acme Corp.", name="Rex Holm")
    cube.learn(*(f"Plant number {n} grows in the garden" for n in range(80)))
    cube.extract()
    answers(app, owner, cube.name)
    app.recalls.flush()  # the first recall changes a state, and must not look like a difference below
    return cube


def promised(cube: Cube, model: str = OTHER, *, activate: bool) -> Job:
    with cube.writing() as tx:
        return reembed.request(tx, cube.app.spaces, cube.who, cube.name, model, activate=activate, now=utc_now())


def spaces_of(cube: Cube) -> dict[str, SpaceView]:
    with cube.reading() as tx:
        return {space.model: space for space in reembed.list_spaces(tx, cube.who, cube.name)}


def change_over(cube: Cube, model: str) -> Job:
    with cube.writing() as tx:
        job = reembed.activate(tx, cube.who, cube.name, spaces_of(cube)[model].id, now=utc_now())
    return run(cube.app, cube.who, job.id)


def put(cube: Cube, text: str) -> Any:
    """A write as the doors do it."""
    embedder = cube.app.spaces.of(cube.who.tenant_id, cube.name)
    prepared = remember.prepare_items(embedder, cube.name, items=[fact(text)], branch="main", now=START)
    with cube.writing() as tx:
        return remember.write(tx, cube.who, prepared, now=START)


def norms(cube: Cube) -> set[int]:
    """How many of the last sixteen coordinates any vector of the cube uses: none in the narrower space."""
    with cube.reading() as tx:
        rows = tx.rows("SELECT h.embedding FROM heads h JOIN memory_versions v ON v.tenant_id = :tenant AND v.id = h.version_id "
                       "WHERE h.tenant_id = :tenant AND v.cube_id = :cube", cube=cube.id)  # fmt: skip
    return {int(np.any(row["embedding"].to_numpy()[48:])) for row in rows}


def sound(app: App) -> None:
    assert [f for f in doctor_truth.examine(app.database, repair=False) if f.verdict is not Verdict.OK] == []


def test_a_cube_moves_to_another_model_and_back(app: App, owner: Principal, cube: Cube) -> None:
    before = answers(app, owner, cube.name)
    job = run(app, owner, promised(cube, activate=False).id)
    assert job.result == {"embedded": spaces_of(cube)[OTHER].total, "active": False}
    assert spaces_of(cube)[OTHER].state == "ready"
    assert answers(app, owner, cube.name) == before  # two spaces at once; the former one is read
    put(cube, "Written while both were there")

    moved = change_over(cube, OTHER)
    assert (moved.result or {})["embedded"] == 1  # what was written meanwhile
    assert {m: s.state for m, s in spaces_of(cube).items()} == {"fake:64": "kept", OTHER: "active"}
    assert norms(cube) == {0}
    assert "Written while both were there" in cube.search("Written while both were there")
    expected = (
        PaddedEmbedder(FakeEmbedder(48), 64).embed(["Anna lives"])[0]
        @ PaddedEmbedder(FakeEmbedder(48), 64).embed(["x"])[0]
    )
    assert expected == pytest.approx(FakeEmbedder(48).embed(["Anna lives"])[0] @ FakeEmbedder(48).embed(["x"])[0])
    put(cube, "Written in the new space")
    embedder = app.spaces.of(owner.tenant_id, cube.name)
    turns = [remember.MessageIn("user", "Nora Quist lives in Oslo.", created_at=START)]
    said = remember.prepare_messages(embedder, cube.name, session_id="s2", messages=turns, branch="main", now=START)
    with cube.writing() as tx:
        remember.write(tx, owner, said, now=START)
    cube.extract()  # jobs embed in the cube's space too
    assert norms(cube) == {0}
    sound(app)

    change_over(cube, "fake:64")
    assert {m: s.state for m, s in spaces_of(cube).items()} == {"fake:64": "active", OTHER: "kept"}
    assert norms(cube) == {1}
    assert "Written in the new space" in cube.search("Written in the new space")
    sound(app)


def test_after_the_way_back_answers_are_what_they_were(app: App, owner: Principal, cube: Cube) -> None:
    before, past = answers(app, owner, cube.name), answers(app, owner, cube.name, at=5)
    run(app, owner, promised(cube, activate=True).id)
    there = answers(app, owner, cube.name)
    assert there != before
    change_over(cube, "fake:64")
    assert answers(app, owner, cube.name) == before
    assert answers(app, owner, cube.name, at=5) == past


def test_what_was_embedded_before_the_change_over_is_not_written_after_it(
    app: App, owner: Principal, cube: Cube
) -> None:
    late = remember.prepare_items(app.embedder, cube.name, items=[fact("Too late")], branch="main", now=START)
    run(app, owner, promised(cube, activate=True).id)
    with pytest.raises(SpaceChanged), cube.writing() as tx:
        remember.write(tx, owner, late, now=START)
    assert "Too late" not in cube.facts()
    put(cube, "Too late")
    assert norms(cube) == {0}


def test_searches_during_a_change_over_never_mix_models(app: App, owner: Principal, cube: Cube) -> None:
    """A reader asks without pause; every answer is the one of the one space or of the other."""
    home = answers(app, owner, cube.name)
    job = promised(cube, activate=True)
    seen, over, failed = [], threading.Event(), []

    def ask() -> None:
        try:
            while not over.is_set():
                seen.append(answers(app, owner, cube.name))
        except Exception as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    reader = threading.Thread(target=ask)
    reader.start()
    run(app, owner, job.id)
    over.set()
    reader.join()
    there = answers(app, owner, cube.name)
    assert not failed
    scores = {tuple(tuple(hit[:4] for hit in question) for question in answer) for answer in [home, there]}
    for answer in seen:
        for question, (one, other) in zip(answer, zip(home, there, strict=True), strict=True):
            assert [h[:4] for h in question] in ([h[:4] for h in one], [h[:4] for h in other])
    assert len(scores) == 2


def test_one_search_over_cubes_of_two_models(app: App, owner: Principal, cube: Cube) -> None:
    other = Cube.make(app, owner)
    other.learn("Roses grow in the garden")
    run(app, owner, promised(cube, activate=True).id)
    for _ in range(2):  # the second time the models are known beforehand
        found = recall.search_cubes(
            app.recall,
            owner,
            [cube.name, other.name],
            recall.SearchQuery("what grows in the garden", limit=100),
            clock=START,
        )
        assert {hit.cube for hit in found.items} == {cube.id, other.id}


def test_erasure_reaches_both_spaces(app: App, owner: Principal, cube: Cube) -> None:
    [target] = cube.put(fact("A secret of the cellar"))
    run(app, owner, promised(cube, activate=False).id)
    with cube.writing() as tx:
        erased = erase.request(tx, owner, cube.name, Wanted([target]), now=utc_now())
    run(app, owner, erased.job_id)
    with cube.reading() as tx:
        assert not tx.scalar(
            "SELECT count(*) FROM staged_vectors s JOIN contents c ON c.tenant_id = s.tenant_id AND c.id = s.content_id "
            "WHERE s.tenant_id = :tenant AND c.erased_at IS NOT NULL"
        )
    change_over(cube, OTHER)
    sound(app)


def test_a_package_of_a_moved_cube_names_its_model(app: App, owner: Principal, cube: Cube) -> None:
    run(app, owner, promised(cube, activate=True).id)
    package = packed(cube, vectors=True)
    assert b'"model":{"name":"fake:48"' in package.splitlines()[0]
    remove(cube)
    assert unpacked(app, owner, package).embedded == spaces_texts(cube)
    sound(app)


def spaces_texts(cube: Cube) -> int:
    with cube.reading() as tx:
        return spaces.texts(tx, cube.id)


def test_what_cannot_be(app: App, owner: Principal, cube: Cube) -> None:
    with pytest.raises(Conflict, match="already"):
        promised(cube, "fake:64", activate=True)
    with pytest.raises(Invalid, match="no embedder is called"):
        promised(cube, "nonsense", activate=True)
    with pytest.raises(Invalid, match="make room first"):
        promised(cube, "fake:128", activate=True)
    with pytest.raises(Misconfigured):
        PaddedEmbedder(FakeEmbedder(128), 64)
    with pytest.raises(Forbidden), cube.writing() as tx:
        weak = Principal(owner.tenant_id, "x", owner.key_id, frozenset({Scope.WRITE}))
        reembed.request(tx, app.spaces, weak, cube.name, OTHER, activate=True, now=utc_now())
    run(app, owner, promised(cube, activate=True).id)
    for model, word in ((OTHER, "in use"),):
        with pytest.raises(Conflict, match=word), cube.writing() as tx:
            reembed.drop(tx, owner, cube.name, spaces_of(cube)[model].id, now=utc_now())
    with cube.writing() as tx:
        reembed.drop(tx, owner, cube.name, spaces_of(cube)["fake:64"].id, now=utc_now())
    assert set(spaces_of(cube)) == {OTHER}


def test_a_job_that_died_goes_on_where_it_was(
    app: App, owner: Principal, cube: Cube, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = promised(cube, activate=True)
    stage, calls = spaces.stage, iter(range(10**6))

    def dies(*args: Any) -> None:
        if next(calls) == 1:
            raise ConnectionError
        stage(*args)

    monkeypatch.setattr(spaces, "stage", dies)
    assert work.run_job(app, owner.tenant_id, job.id) == "queued"
    assert spaces_of(cube)[OTHER].staged == reembed.BATCH
    with cube.writing() as tx:
        tx.run("UPDATE jobs SET run_after = now() WHERE tenant_id = :tenant AND id = :id", id=job.id)
    run(app, owner, job.id)
    result = look(app, owner, job.id).result or {}
    assert result["moved"] == result["embedded"] + reembed.BATCH
