"""Caches are computed once, come back bit for bit, follow the memories they were made of, and say what they are."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest

from memos.encoders.fake_lm import FakeEngine
from memos.encoders.kv_container import opened
from memos.encoders.kv_state import KVState
from memos.errors import Invalid, KVRejected, NotFound
from memos.rules.access import Principal
from memos.rules.activation_plan import shared_prefix
from memos.rules.kv_layout import CHUNK_TOKENS, Group
from memos.rules.kv_policy import Advice
from memos.services import branch, kv_gates, kv_serve, kv_views, revise, work
from memos.services.kv_tier import ref_of
from memos.services.remember import utc_now
from memos.wiring import App
from tests.services.caching import filled_cube, found, plan_of, promise, promoted, queued, restored, served
from tests.services.running import fact, look, make_cube, run, write


def change(app: App, who: Principal, cube: str, memory_id: UUID, **changes: Any) -> None:
    prepared = revise.prepare_change(app.database, app.embedder, who, cube, memory_id, changes, "main")
    with app.database.transaction(who.tenant_id) as tx:
        revise.change(tx, who, prepared, now=utc_now())


# -- Plans


def test_the_plan_is_the_same_bytes_for_the_same_memories(app: App, owner: Principal) -> None:
    cube, ids = filled_cube(app, owner, 5)
    first, second = plan_of(app, owner, cube), plan_of(app, owner, cube)
    assert first.plan == second.plan
    assert first.stored is not None
    assert second.stored is not None
    assert first.stored.id == second.stored.id
    assert [segment.memory_id for segment in first.plan.segments] == [str(memory_id) for memory_id in ids]
    assert first.stored.token_ids == list(app.kv.engine.tokenize(first.plan.text).ids)


def test_a_new_memory_is_appended(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner, 4)
    before = plan_of(app, owner, cube).plan
    write(app, owner, cube, [fact("The last thing that was said.")], utc_now())
    after = plan_of(app, owner, cube).plan
    assert after.text.startswith(before.text)
    assert after.source_digest != before.source_digest


def test_a_header_change_moves_nothing(app: App, owner: Principal) -> None:
    """Recalls and priorities make new versions; what a prompt begins with does not change by them."""
    cube, ids = filled_cube(app, owner, 3)
    before = plan_of(app, owner, cube).plan
    change(app, owner, cube, ids[0], priority=0.9)
    assert plan_of(app, owner, cube).plan == before


def test_what_is_not_for_everybody_stays_out(app: App, owner: Principal) -> None:
    """A plan is shared by all who may read the cube, so it holds nothing that some of them may not."""
    cube, _ = filled_cube(app, owner, 2)
    write(app, owner, cube, [fact("The PIN is on the fridge.", sensitivity="secret"), fact("Open to all.")], utc_now())
    text = plan_of(app, owner, cube).plan.text
    assert "PIN" not in text
    assert "Open to all" in text


def test_a_plan_keeps_to_its_budget(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner, 12)
    made = plan_of(app, owner, cube, budget_tokens=500)
    assert made.stored is not None
    assert 300 < len(made.stored.token_ids) <= 500
    assert made.left_out == 12 - len(made.plan.segments) > 0


def test_a_model_nobody_runs_gets_a_plan_of_text(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner, 2)
    made = plan_of(app, owner, cube, model="some-provider/model")
    assert made.stored is None
    assert made.plan.text == plan_of(app, owner, cube).plan.text
    with app.database.transaction(owner.tenant_id) as tx:
        view = kv_views.plan_view(tx, app.kv, made, "some-provider/model")
    assert (view["token_ids"], view["plan_id"], view["kv"]) == (None, None, "none")
    assert len(view["prompt_cache_key"]) == len(view["cache_salt"]) == 64


def test_a_branch_has_a_plan_of_its_own_and_shares_chunks(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner, 8)
    promoted(app, owner, cube)
    with app.database.transaction(owner.tenant_id) as tx:
        branch.create_branch(tx, owner, cube, name="side", from_=None, base="main", now=utc_now())
    write(app, owner, cube, [fact("Only on the side.")], utc_now(), branch="side")
    result = promoted(app, owner, cube, branch="side")
    assert result["reused_tokens"] >= CHUNK_TOKENS
    assert result["built_tokens"] < result["n_tokens"]


# -- Building, lookup, restore


def test_what_is_restored_answers_bit_for_bit_like_what_was_prefilled(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner)
    result = promoted(app, owner, cube)
    made = plan_of(app, owner, cube)
    assert made.stored is not None
    assert result["built_tokens"] == result["n_tokens"] == len(made.stored.token_ids) > 2 * CHUNK_TOKENS
    match = found(app, owner, cube, plan_id=made.stored.id)
    assert match.matched_tokens == result["n_tokens"]
    assert found(app, owner, cube, token_ids=made.stored.token_ids).pieces == match.pieces
    engine = app.kv.engine
    question = engine.tokenize("When does Ana leave?").ids
    fresh = engine.logits(engine.restore(engine.build(made.stored.token_ids)), question)
    again = engine.logits(engine.restore(restored(app, owner, match)), question)
    assert np.array_equal(fresh, again)


def test_serving_twice_gives_the_same_bytes(app: App, owner: Principal) -> None:
    """A cache in use is a copy: going on from it never touches what is stored."""
    cube, _ = filled_cube(app, owner, 4)
    promoted(app, owner, cube)
    made = plan_of(app, owner, cube)
    assert made.stored is not None
    match = found(app, owner, cube, plan_id=made.stored.id)
    engine = app.kv.engine
    answers = set()
    for _ in range(2):
        state = restored(app, owner, match)
        answers.add(engine.generate(engine.restore(state), engine.tokenize("When?").ids, 8))
    assert len(answers) == 1


def test_a_question_behind_the_prefix_finds_all_of_it(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner)
    result = promoted(app, owner, cube)
    made = plan_of(app, owner, cube)
    assert made.stored is not None
    longer = [*made.stored.token_ids, *app.kv.engine.tokenize(" And then?").ids]
    assert found(app, owner, cube, token_ids=longer).matched_tokens == result["n_tokens"]
    shorter = made.stored.token_ids[: CHUNK_TOKENS + 9]
    assert found(app, owner, cube, token_ids=shorter).matched_tokens == CHUNK_TOKENS
    other = [5, *made.stored.token_ids[1:]]
    nothing = found(app, owner, cube, token_ids=other)
    assert (nothing.matched_tokens, nothing.pieces, nothing.advice) == (0, (), Advice.PREFILL)


def test_only_the_window_of_the_sliding_layers_is_fetched(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner, 12)
    promoted(app, owner, cube)
    made = plan_of(app, owner, cube)
    assert made.stored is not None
    match = found(app, owner, cube, plan_id=made.stored.id)
    groups = [piece.found.group.value for piece in match.pieces]
    n_chunks = -(-match.matched_tokens // CHUNK_TOKENS)
    assert groups.count("full") == n_chunks
    assert groups.count("swa") <= 2
    assert [piece.chunk.start for piece in match.pieces] == sorted(piece.chunk.start for piece in match.pieces)


def test_building_again_computes_nothing(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner)
    promoted(app, owner, cube)
    again = promoted(app, owner, cube)
    assert (again["built_tokens"], again["bytes"], again["prefill_s"]) == (0, 0, 0.0)


def test_two_workers_building_one_plan_do_it_once(app: App, owner: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    cube, _ = filled_cube(app, owner)
    wanted = [promise(app, owner, cube).id for _ in range(2)]
    built: list[int] = []
    prefill = FakeEngine.build

    def counted(engine: FakeEngine, token_ids: Sequence[int], past: KVState | None = None) -> KVState:
        built.append(len(token_ids))
        return prefill(engine, token_ids, past)

    monkeypatch.setattr(kv_gates, "measured", lambda *_: {})
    monkeypatch.setattr(FakeEngine, "build", counted)
    threads = [threading.Thread(target=work.run_job, args=(app, owner.tenant_id, job_id)) for job_id in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs = [look(app, owner, job_id) for job_id in wanted]
    assert [job.state for job in jobs] == ["succeeded", "succeeded"]
    assert min(job.result["built_tokens"] for job in jobs if job.result) == 0
    assert len(built) == 1


# -- Codecs


def test_each_object_carries_what_its_codec_was_measured_to_do(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner)
    result = promoted(app, owner, cube, codecs=["int8", "raw"])
    made = plan_of(app, owner, cube)
    assert made.stored is not None
    match = found(app, owner, cube, plan_id=made.stored.id)
    assert {piece.found.codec for piece in match.pieces} == {result["codec"]}
    for piece in match.pieces:
        assert piece.found.gate is not None
        assert set(piece.found.gate) == {"kl", "top1", "delta_nll", "max_dlogit", "windows", "tokens"}
    state = restored(app, owner, match)
    assert state.end == result["n_tokens"]


def test_a_codec_beyond_its_gate_is_passed_over(app: App, owner: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tenant's own measurement decides; the next codec of the wish list is taken."""
    cube, _ = filled_cube(app, owner)

    def bad(engine: object, token_ids: object, codecs: Sequence[str]) -> dict[str, kv_gates.Gate]:
        return {codec: kv_gates.Gate({"kl": 1.0}, ["KL 1 is above 0.01"]) for codec in codecs if codec == "int4"}

    monkeypatch.setattr(kv_gates, "measured", bad)
    result = promoted(app, owner, cube, codecs=["int4", "raw"])
    assert result["codec"] == "raw"
    assert result["codecs"]["int4"]["refused"]


# -- Memories that change


def test_an_edit_costs_what_came_after_it(app: App, owner: Principal) -> None:
    cube, ids = filled_cube(app, owner, 12)
    promoted(app, owner, cube)
    before = plan_of(app, owner, cube)
    change(app, owner, cube, ids[6], content="Note 6 was wrong: there is no ferry at all, said Ana.")
    after = plan_of(app, owner, cube)
    assert before.stored is not None
    assert after.stored is not None
    with app.database.transaction(owner.tenant_id) as tx:
        view = kv_views.plan_view(tx, app.kv, after, "fake")
    assert view["kv"] == "partial"
    shared = shared_prefix(before.stored.token_ids, after.stored.token_ids)
    assert view["kv_tokens"] == shared // CHUNK_TOKENS * CHUNK_TOKENS >= CHUNK_TOKENS
    assert after.plan.segments[-1].memory_id == str(ids[6])
    assert view["rebuild_job"] is not None
    result = run(app, owner, view["rebuild_job"]).result
    assert result is not None
    assert result["reused_tokens"] == view["kv_tokens"]
    match = found(app, owner, cube, plan_id=after.stored.id)
    assert match.matched_tokens == result["n_tokens"]
    engine, question = app.kv.engine, app.kv.engine.tokenize("So when?").ids
    fresh = engine.logits(engine.restore(engine.build(after.stored.token_ids)), question)
    assert np.array_equal(fresh, engine.logits(engine.restore(restored(app, owner, match)), question))


def test_by_the_clock_a_promoted_plan_follows_its_branch(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner, 6)
    promoted(app, owner, cube)
    assert work.plan_caches(app.database) == 0
    write(app, owner, cube, [fact("And one more thing.")], utc_now())
    assert work.plan_caches(app.database) == 1
    [build] = queued(app, owner, "kv.build")
    result = run(app, owner, build.id).result
    assert result is not None
    assert result["reused_tokens"] > 0
    assert work.plan_caches(app.database) == 0


def test_without_being_asked_nothing_is_built(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner)
    for _ in range(3):
        made = plan_of(app, owner, cube)
        with app.database.transaction(owner.tenant_id) as tx:
            assert kv_views.plan_view(tx, app.kv, made, "fake")["rebuild_job"] is None


def test_a_cube_that_keeps_caches_gets_them_with_the_second_use(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner, policy={"activation": {"kv": True, "codecs": ["raw"]}})
    jobs = []
    for _ in range(2):
        made = plan_of(app, owner, cube)
        with app.database.transaction(owner.tenant_id) as tx:
            jobs.append(kv_views.plan_view(tx, app.kv, made, "fake")["rebuild_job"])
    assert jobs[0] is None
    assert jobs[1] is not None
    result = run(app, owner, jobs[1]).result
    assert result is not None
    assert result["codec"] == "raw"


# -- Who may see what


def test_another_tenants_lookups_find_nothing(app: App, owner: Principal, other_tenant: UUID) -> None:
    """Not by the cube, not by the plan, not by the key; and equal texts of two tenants have no address in common."""
    cube, _ = filled_cube(app, owner, 4)
    promoted(app, owner, cube)
    made = plan_of(app, owner, cube)
    assert made.stored is not None
    match = found(app, owner, cube, plan_id=made.stored.id)
    foreign = replace(owner, tenant_id=other_tenant)
    make_cube(app, foreign, cube, utc_now())
    with app.database.transaction(other_tenant) as tx:
        app.kv.register(tx)
    with pytest.raises(NotFound):
        found(app, foreign, cube, plan_id=made.stored.id)
    assert found(app, foreign, cube, token_ids=made.stored.token_ids).matched_tokens == 0
    with pytest.raises(NotFound):
        served(app, foreign, match)
    roots = {app.kv.root(tenant, made.stored.cube_id, app.kv.model_key) for tenant in (owner.tenant_id, other_tenant)}
    assert len(roots) == 2


def test_a_key_bound_to_another_cube_finds_nothing(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner, 4)
    promoted(app, owner, cube)
    made = plan_of(app, owner, cube)
    assert made.stored is not None
    match = found(app, owner, cube, plan_id=made.stored.id)
    bound = replace(owner, cube_ids=frozenset({uuid4()}))
    for attempt in (
        lambda: found(app, bound, cube, plan_id=made.stored.id),
        lambda: served(app, bound, match),
        lambda: plan_of(app, bound, cube),
    ):
        with pytest.raises(NotFound):
            attempt()


def test_a_plan_of_another_cube_is_refused(app: App, owner: Principal) -> None:
    cube, _ = filled_cube(app, owner, 2)
    other, _ = filled_cube(app, owner, 2)
    made = plan_of(app, owner, cube)
    assert made.stored is not None
    with pytest.raises(Invalid):
        found(app, owner, other, plan_id=made.stored.id)


def test_on_disk_nothing_can_be_read(app: App, owner: Principal) -> None:
    """Not even that it is a tensor file; and a blob moved to another chunk's place does not open there."""
    cube, _ = filled_cube(app, owner)
    promoted(app, owner, cube)
    made = plan_of(app, owner, cube)
    assert made.stored is not None
    match = found(app, owner, cube, plan_id=made.stored.id)
    first, other = (p.found for p in match.pieces if p.found.group is Group.FULL and p.chunk.index < 2)
    with app.kv.blobs(owner.tenant_id).open(ref_of(first.cube_id, first.blob)) as blob:
        sealed = blob.read()
    assert b"safetensors" not in sealed
    assert first.key.hex().encode() not in sealed
    with app.database.transaction(owner.tenant_id) as tx:
        cipher = app.kv.cipher(tx, first.cube_id)
    opened(sealed, kv_serve.label_of(first), cipher)
    for wrong in (other, replace(first, group=Group.SLIDING), replace(first, codec="int8"), replace(first, start=256)):
        with pytest.raises(KVRejected):
            opened(sealed, kv_serve.label_of(wrong), cipher)
