"""A new master key: every cache opens as before, no blob is touched, and the old key is not needed any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from memos.errors import Misconfigured
from memos.rules.access import Principal
from memos.services import kv_wrapping, signing
from memos.services.kv_tier import ActivationTier
from memos.store import kv_models
from memos.wiring import App
from tests.services.caching import filled_cube, found, plan_of, promoted, restored, served

OLD, NEW, OTHER = "old-master-key-for-tests", "new-master-key-for-tests", "another-master-key-for-tests"


def tier(app: App, folder: Path, **settings: object) -> ActivationTier:
    """A process of its own on the same caches."""
    told = app.settings.model_copy(update={"data_dir": folder, "kv_dir": app.settings.data_dir / "kv", **settings})  # type: ignore[operator]
    return ActivationTier(told, app.database, data_dir=folder, model_dir=folder, engine=app.kv.engine)


def wrapped(app: App, who: Principal) -> dict[object, bytes]:
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        return dict(kv_models.deks(tx))


def opens(app: App, who: Principal, with_: ActivationTier, cube_id: object) -> bool:
    with app.database.transaction(who.tenant_id, read_only=True) as tx:
        try:
            with_.cipher(tx, cube_id)  # type: ignore[arg-type]
        except Misconfigured:
            return False
    return True


def test_rotating_the_file_while_a_service_runs(app: App, owner: Principal) -> None:
    name, _ = filled_cube(app, owner)
    promoted(app, owner, name)
    match = found(app, owner, name, plan_id=plan_of(app, owner, name).stored.id)  # type: ignore[union-attr]
    before, bytes_before = wrapped(app, owner), [chunk.data for chunk in served(app, owner, match)]
    folder = app.settings.data_dir
    assert folder is not None
    old_file = (folder / "master-key").read_bytes()
    for _ in range(2):  # the second time the key of the first is forgotten
        done = kv_wrapping.rotate(app.database, app.settings)
        assert (done.changed, done.current) == (len(before), 0)
        assert [chunk.data for chunk in served(app, owner, match)] == bytes_before
    after = wrapped(app, owner)
    assert after.keys() == before.keys()
    assert all(after[cube_id] != before[cube_id] for cube_id in before)
    assert old_file not in {(folder / name).read_bytes() for name in ("master-key", "master-key.previous")}
    assert (folder / "master-key").stat().st_mode & 0o777 == 0o600
    (folder / "master-key.previous").unlink()
    assert restored(app, owner, match).end == match.matched_tokens
    assert kv_wrapping.rewrap(app.database, app.settings) == kv_wrapping.Rewrapped(0, len(before))


def test_rotating_a_key_from_the_environment(app: App, owner: Principal, tmp_path: Path) -> None:
    name, _ = filled_cube(app, owner)
    promoted(app, owner, name)
    cube_id = found(app, owner, name, plan_id=plan_of(app, owner, name).stored.id).pieces[0].found.cube_id  # type: ignore[union-attr]
    kept = signing.master_keys(app.settings)
    assert opens(app, owner, app.kv, cube_id)
    newer = app.settings.model_copy(update={"master_key": SecretStr(NEW)})
    with pytest.raises(Misconfigured, match="MEMOS_PREVIOUS_MASTER_KEY"):
        kv_wrapping.rotate(app.database, newer)
    with pytest.raises(Misconfigured, match="unwrapped"):  # neither key is the one they are wrapped with
        kv_wrapping.rotate(app.database, newer.model_copy(update={"previous_master_key": SecretStr(OTHER)}))
    assert not opens(app, owner, tier(app, tmp_path, master_key=SecretStr(NEW)), cube_id)
    secret = (app.settings.data_dir / "master-key").read_text().strip()  # type: ignore[operator]
    both = newer.model_copy(update={"previous_master_key": SecretStr(secret)})
    assert kv_wrapping.rotate(app.database, both).changed == len(wrapped(app, owner))
    assert opens(app, owner, tier(app, tmp_path, master_key=SecretStr(NEW)), cube_id)
    assert not opens(app, owner, tier(app, tmp_path, master_key=SecretStr(OLD)), cube_id)
    # And back, so that the other processes of this module find their caches.
    back = app.settings.model_copy(update={"master_key": SecretStr(secret), "previous_master_key": SecretStr(NEW)})
    kv_wrapping.rotate(app.database, back)
    assert signing.master_keys(app.settings)[0] == kept[0]
    assert opens(app, owner, app.kv, cube_id)
