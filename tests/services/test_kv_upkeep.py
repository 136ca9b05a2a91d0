"""The activation tier keeps its promises when something goes wrong: erasure, crashes, full disks, small budgets."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from memos.encoders.kv_codecs import encode_chunk
from memos.encoders.kv_container import ChunkLabel
from memos.errors import Misconfigured, NotFound, StorageFull
from memos.rules.access import Principal
from memos.rules.kv_layout import CHUNK_TOKENS, Group
from memos.services import erase, kv_erase, kv_feedback, kv_gates, kv_gc, kv_keep, kv_verify, read, work
from memos.services.erase import Wanted
from memos.services.kv_lookup import Found
from memos.services.kv_tier import ActivationTier, ref_of
from memos.services.remember import utc_now
from memos.store import kv_chunks, kv_models, kv_plans, kv_taint
from memos.store.blobs import FilesystemBlobs
from memos.store.kv_chunks import StoredObject
from memos.wiring import App, build_app
from tests.services.caching import filled_cube, found, job, plan_of, promise, promoted, restored, served
from tests.services.running import fact, look, run, write


def cached(app: App, who: Principal, n: int = 10, **wishes: Any) -> tuple[str, list[UUID], Found]:
    """A cube whose plan is held as KV, its memories, and the lookup of the plan."""
    cube, ids = filled_cube(app, who, n)
    promoted(app, who, cube, **wishes)
    return cube, ids, match(app, who, cube)


def match(app: App, who: Principal, cube: str) -> Found:
    stored = plan_of(app, who, cube).stored
    assert stored is not None
    return found(app, who, cube, plan_id=stored.id)


def listing(app: App, who: Principal, cube_id: UUID) -> set[str]:
    return {item.ref.sha256 for item in app.kv.blobs(who.tenant_id).listing(str(cube_id))}


def forget(app: App, who: Principal, cube: str, *memory_ids: UUID) -> dict[str, Any]:
    with app.database.transaction(who.tenant_id) as tx:
        promised = erase.request(tx, who, cube, Wanted(memory_ids), now=utc_now())
    run(app, who, promised.job_id)
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        return erase.get_receipt(tx, who, promised.receipt_id)


# -- Erasure


def test_erasing_a_memory_takes_every_cache_at_or_after_it(app: App, owner: Principal) -> None:
    cube, ids, before = cached(app, owner, 12)
    cube_id = before.pieces[0].found.cube_id
    stored = plan_of(app, owner, cube).stored
    assert stored is not None
    with app.database.transaction(owner.tenant_id) as tx:
        spans = kv_plans.members(tx, stored.id)
    first_tainted = spans[6].start // CHUNK_TOKENS
    assert first_tainted >= 1
    receipt = forget(app, owner, cube, ids[6])
    assert receipt["probes"]["activation_tier"] == {"asked": 1, "found": 0}
    assert receipt["rows"]["kv_chunks"] > 0
    assert receipt["rows"]["kv_plans"] == 1
    kept = {p.found.blob.hex() for p in before.pieces if p.chunk.index < first_tainted}
    with app.database.transaction(owner.tenant_id) as tx:
        left = kv_chunks.objects_of(tx, cube_id)
    assert {o.start // CHUNK_TOKENS for o in left} == set(range(first_tainted))
    assert listing(app, owner, cube_id) == {o.blob.hex() for o in left} >= kept
    for piece in before.pieces:
        if piece.chunk.index >= first_tainted:
            with pytest.raises(NotFound):
                served(app, owner, replace(before, pieces=(piece,)))
    # What is left is what the next plan begins with.
    assert promoted(app, owner, cube)["reused_tokens"] == first_tainted * CHUNK_TOKENS


def test_erasing_reaches_caches_of_old_editions(app: App, owner: Principal) -> None:
    """Chunks of a plan that is long stale still hold what the memory said then."""
    cube, ids, _ = cached(app, owner, 6)
    write(app, owner, cube, [fact("A later memory.")], utc_now())
    promoted(app, owner, cube)
    cube_id = match(app, owner, cube).pieces[0].found.cube_id
    forget(app, owner, cube, ids[0])
    assert listing(app, owner, cube_id) == set()
    with app.database.transaction(owner.tenant_id) as tx:
        assert kv_plans.of_cubes(tx, cube_id) == []
        assert kv_taint.found(tx, cube_id, [ids[0]]) == 0


def test_blobs_nobody_names_go_before_a_receipt_is_signed(app: App, owner: Principal) -> None:
    """A writer that died between file and row left them; the erased memory may be in them."""
    cube, ids, before = cached(app, owner, 6)
    cube_id = before.pieces[0].found.cube_id
    orphan = app.kv.blobs(owner.tenant_id).put(str(cube_id), [b"left behind"])
    forget(app, owner, cube, ids[5])
    assert orphan.sha256 not in listing(app, owner, cube_id)


def test_an_erasure_that_finds_a_cache_left_is_undone(
    app: App, owner: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube, ids, _ = cached(app, owner, 4)
    monkeypatch.setattr(kv_erase, "delete_unnamed", lambda *_: 0)
    cube_id = match(app, owner, cube).pieces[0].found.cube_id
    app.kv.blobs(owner.tenant_id).put(str(cube_id), [b"left behind"])
    with app.database.transaction(owner.tenant_id) as tx:
        promised = erase.request(tx, owner, cube, Wanted([ids[0]]), now=utc_now())
    work.run_job(app, owner.tenant_id, promised.job_id)
    error = look(app, owner, promised.job_id).error
    assert error is not None
    assert error["code"] == "still_there"
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        assert read.get_memory(tx, owner, cube, ids[0], branch="main", at=None).content


def test_what_was_computed_before_an_erasure_is_not_kept_after_it(app: App, owner: Principal) -> None:
    """A worker that was prefilling meanwhile comes too late: its plan is gone, and so is its right to keep anything."""
    cube, ids = filled_cube(app, owner, 4)
    stored = plan_of(app, owner, cube).stored
    assert stored is not None
    blobs = app.kv.blobs(owner.tenant_id)
    with app.database.transaction(owner.tenant_id) as tx:
        cipher = app.kv.cipher(tx, stored.cube_id, make=True)
    label = ChunkLabel(bytes(32), stored.model_key, Group.FULL, "raw", 0, 64)
    kv = app.kv.engine.build(stored.token_ids[:64]).groups[Group.FULL]
    data = encode_chunk(kv, app.kv.engine.identity.spec, label)
    sealed = kv_keep.put(blobs, cipher, stored.cube_id, label, data, state="verified")
    forget(app, owner, cube, ids[0])
    with pytest.raises(NotFound), app.database.transaction(owner.tenant_id) as tx:
        kv_keep.keep(tx, blobs, stored, [], [sealed])
    assert listing(app, owner, stored.cube_id) == set()


# -- Crashes


def test_a_crash_between_file_and_row_leaves_nothing(
    app: App, owner: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube, _ = filled_cube(app, owner, 6)
    promise_id = promise(app, owner, cube).id

    def die(*_: object) -> None:
        raise RuntimeError("the worker dies here")

    with monkeypatch.context() as patched:
        patched.setattr(kv_keep, "keep", die)
        work.run_job(app, owner.tenant_id, promise_id)
    stored = plan_of(app, owner, cube).stored
    assert stored is not None
    assert listing(app, owner, stored.cube_id)
    assert found(app, owner, cube, plan_id=stored.id).matched_tokens == 0
    monkeypatch.setattr(kv_gc, "GRACE", timedelta(seconds=-1))
    result = job(app, owner, "kv.gc").result
    assert result is not None
    assert (result["blobs"] > 0, result["dangling_rows"]) == (True, 0)
    assert listing(app, owner, stored.cube_id) == set()


def test_a_row_whose_blob_is_gone_is_no_chunk(app: App, owner: Principal) -> None:
    """Lost on disk, it is not found when asked for; and the collector finds those nobody asked for."""
    cube, _, before = cached(app, owner, 8)
    blobs = app.kv.blobs(owner.tenant_id)
    last, other = before.pieces[-1].found, before.pieces[0].found
    for lost in (last, other):
        assert blobs.delete(ref_of(lost.cube_id, lost.blob))
    with pytest.raises(NotFound):
        served(app, owner, before)
    result = job(app, owner, "kv.gc").result
    assert result is not None
    assert result["dangling_rows"] == 1
    assert match(app, owner, cube).matched_tokens == 0
    assert promoted(app, owner, cube)["built_tokens"] > 0
    restored(app, owner, match(app, owner, cube))


def test_a_blob_that_was_changed_on_disk_is_not_served(app: App, owner: Principal) -> None:
    cube, _, before = cached(app, owner, 4)
    piece = before.pieces[0].found
    path = next(Path(app.settings.data_dir or "").rglob(piece.blob.hex()))
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(bytes(changed))
    with pytest.raises(NotFound):
        served(app, owner, before)
    assert match(app, owner, cube).matched_tokens < before.matched_tokens


def test_a_full_disk_says_so_and_memories_go_on(app: App, owner: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    cube, ids = filled_cube(app, owner, 4)
    job_id = promise(app, owner, cube).id

    def full(store: FilesystemBlobs, draft: Path, parts: Iterable[bytes]) -> str:
        raise StorageFull(f"no room for KV blobs: {errno.ENOSPC}")

    with monkeypatch.context() as patched:
        patched.setattr(FilesystemBlobs, "_write", full)
        assert work.run_job(app, owner.tenant_id, job_id) == "queued"
    error = look(app, owner, job_id).error
    assert error is not None
    assert (error["code"], error["failure"]) == ("storage_full", "transient")
    write(app, owner, cube, [fact("Written on a full disk.")], utc_now())
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        assert read.get_memory(tx, owner, cube, ids[0], branch="main", at=None).content
    assert match(app, owner, cube).matched_tokens == 0


# -- Budgets


def test_over_budget_what_is_used_least_goes_first_and_leaves_before_roots(app: App, owner: Principal) -> None:
    hot, _, hot_match = cached(app, owner, 8)
    cached(app, owner, 8)
    keys = [p.chunk.key for p in hot_match.pieces]
    with app.database.transaction(owner.tenant_id) as tx:
        kv_feedback.record_outcome(tx, owner, cube=hot, model="fake", keys=keys, loaded=True, used_tokens=700, ttft_ms=5.0,
                                   category="api", now=utc_now())  # fmt: skip
        used = kv_chunks.bytes_used(tx, None)
        one = max(sum(s.sizes.values()) for s in kv_chunks.standings(tx, hot_match.pieces[0].found.cube_id))
        kv_models.set_budget(tx, owner.tenant_id, used - one)
    result = job(app, owner, "kv.evict").result
    assert result is not None
    assert result["freed_bytes"] >= one
    with app.database.transaction(owner.tenant_id) as tx:
        assert kv_chunks.bytes_used(tx, None) <= used - one
        kv_models.set_budget(tx, owner.tenant_id, 10**12)
        standing = kv_chunks.standings(tx, None)
    there = {s.key for s in standing}
    assert all(s.start == 0 or s.parent_key in there for s in standing)
    assert match(app, owner, hot).matched_tokens == hot_match.matched_tokens
    restored(app, owner, match(app, owner, hot))


def test_a_pinned_plan_stays(app: App, owner: Principal) -> None:
    cube, _, before = cached(app, owner, 4, pin=True)
    with app.database.transaction(owner.tenant_id) as tx:
        kv_feedback.set_budget(tx, owner, cube, 0, now=utc_now())
    job(app, owner, "kv.evict")
    assert match(app, owner, cube).matched_tokens == before.matched_tokens


def test_a_chunk_is_demoted_before_it_is_deleted(app: App, owner: Principal) -> None:
    """Into the smallest codec that was measured for the model and is within its gate."""
    cube, _, before = cached(app, owner, 4)
    cube_id, key = before.pieces[0].found.cube_id, app.kv.model_key
    fine = kv_gates.Gate({"kl": 1e-6, "top1": 1.0}, []).as_json()
    with app.database.transaction(owner.tenant_id) as tx:
        known = dict(kv_models.find(tx, key).gates)
        kv_models.set_gate(tx, key, "int8", fine)
        kv_models.set_gate(tx, key, "int4", {**fine, "refused": ["KL"]})
        kv_models.set_gate(tx, key, "bf16", {**fine, "refused": ["KL"]})
        kv_feedback.set_budget(tx, owner, cube, int(kv_chunks.bytes_used(tx, cube_id) * 0.6), now=utc_now())
    result = job(app, owner, "kv.evict").result
    assert result is not None
    assert result["demoted"] > 0
    after = match(app, owner, cube)
    assert "int8" in {piece.found.codec for piece in after.pieces}
    restored(app, owner, after)
    assert listing(app, owner, cube_id) == {o.blob.hex() for o in objects(app, owner, cube_id)}
    with app.database.transaction(owner.tenant_id) as tx:
        for codec in ("int8", "int4", "bf16"):
            kv_models.set_gate(tx, key, codec, known.get(codec, fine))


def objects(app: App, who: Principal, cube_id: UUID) -> list[StoredObject]:
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        return kv_chunks.objects_of(tx, cube_id)


# -- Samples, costs, keys


def test_a_sample_of_what_is_stored_is_computed_again(app: App, owner: Principal) -> None:
    """Somebody who can write to the store and has the key still cannot make a wrong cache last."""
    cube, _, before = cached(app, owner, 4)
    piece = before.pieces[0].found
    engine = app.kv.engine
    forged = engine.build([7] * piece.n_tokens).groups[piece.group]
    label = ChunkLabel(piece.key, piece.model_key, piece.group, piece.codec, piece.start, piece.n_tokens)
    with app.database.transaction(owner.tenant_id) as tx:
        cipher = app.kv.cipher(tx, piece.cube_id)
        kv_chunks.drop(tx, piece)
        blobs = app.kv.blobs(owner.tenant_id)
        sealed = kv_keep.put(blobs, cipher, piece.cube_id, label, encode_chunk(forged, engine.identity.spec, label),
                             state="verified")  # fmt: skip
        assert kv_chunks.insert_object(tx, sealed.new)
    for _ in range(20):
        result = job(app, owner, kv_verify.VERIFY).result
        assert result is not None
        if result["refused"]:
            break
    assert result["refused"] == 1
    assert match(app, owner, cube).matched_tokens < before.matched_tokens


def test_costs_are_measured_and_advice_follows(app: App, owner: Principal) -> None:
    cube, _, before = cached(app, owner, 4)
    assert before.est.basis == "default"
    result = job(app, owner, "kv.calibrate").result
    assert result is not None
    assert result["prefill"]["linear_s"] > 0
    assert set(result["load"]["decode_bytes_per_s"]) == {"raw", "bf16", "int8", "int4"}
    after = match(app, owner, cube)
    assert (after.est.basis, after.advice.value) == ("calibrated", "load")
    assert after.est.load_ms < after.est.prefill_ms


def test_without_the_master_key_nothing_opens(app: App, owner: Principal) -> None:
    _, _, before = cached(app, owner, 4)
    settings = app.settings.model_copy(update={"master_key": SecretStr("another master key of this length")})
    thief = ActivationTier(settings, app.database, data_dir=app.settings.data_dir or Path(), model_dir=Path())
    with pytest.raises(Misconfigured), app.database.transaction(owner.tenant_id) as tx:
        thief.cipher(tx, before.pieces[0].found.cube_id)


def test_the_master_key_is_a_file_of_its_own_for_nobody_else(app: App, owner: Principal) -> None:
    cached(app, owner, 2)
    path = (app.settings.data_dir or Path()) / "master-key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() != (path.parent / "secret").read_bytes()


def test_everything_works_with_blobs_in_postgres(app: App, owner: Principal) -> None:
    settings = app.settings.model_copy(update={"kv_blobs": "postgres"})
    other = build_app(settings, embedder=app.embedder)
    try:
        cube, ids, before = cached(other, owner, 8)
        state = restored(other, owner, before)
        assert state.end == before.matched_tokens
        cube_id = before.pieces[0].found.cube_id
        assert listing(other, owner, cube_id) == {o.blob.hex() for o in objects(other, owner, cube_id)}
        receipt = forget(other, owner, cube, ids[0])
        assert receipt["rows"]["kv_blobs"] >= 0
        assert listing(other, owner, cube_id) == set()
    finally:
        other.close()
