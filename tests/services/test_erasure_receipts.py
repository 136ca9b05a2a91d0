"""The receipt of an erasure holds offline, and only as it was signed."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from memos.rules import receipts
from memos.rules.access import Principal
from memos.rules.header import sha256
from memos.rules.receipts import BadReceipt
from memos.services import signing
from memos.services.remember import utc_now
from memos.store import erasure
from memos.wiring import App
from tests.services.erasing import EDITED, SECRET, forget, public_keys
from tests.services.running import fact, make_cube, write

_numbers = itertools.count(1)


@pytest.fixture
def cube(app: App, owner: Principal) -> str:
    name = f"erasing-{next(_numbers)}"
    make_cube(app, owner, name, utc_now())
    return name


def test_a_receipt_that_was_touched_does_not_hold(app: App, owner: Principal, cube: str) -> None:
    [first, second] = write(app, owner, cube, [fact(SECRET), fact(EDITED)], utc_now())
    receipt, another, keys = forget(app, owner, cube, first), forget(app, owner, cube, second), public_keys(app, owner)
    verified = receipts.verify(json.loads(json.dumps(receipt)), keys)
    assert (verified.memories, verified.versions, verified.cube_id) == (1, 1, receipt["cube_id"])
    assert receipts.verify(receipt, keys["keys"][0]) == verified
    for part in receipt:
        if part == "signature":
            touched = receipt | {"signature": another["signature"]}
        else:
            touched = receipt | {part: another[part] if another[part] != receipt[part] else "x"}
        with pytest.raises(BadReceipt):
            receipts.verify(touched, keys)
    with pytest.raises(BadReceipt):
        receipts.verify(receipt, {"keys": [receipts.key_json(bytes(32))]})
    with pytest.raises(BadReceipt):
        receipts.verify(receipt, {"keys": [receipts.key_json(bytes(32)) | {"key_id": receipt["key_id"]}]})


def test_the_command_checks_a_receipt_without_any_service(
    app: App, owner: Principal, cube: str, tmp_path: Path
) -> None:
    [target] = write(app, owner, cube, [fact(SECRET)], utc_now())
    receipt = forget(app, owner, cube, target)
    (tmp_path / "receipt.json").write_text(json.dumps(receipt, indent=2))
    (tmp_path / "key.json").write_text(json.dumps(public_keys(app, owner)))
    (tmp_path / "touched.json").write_text(json.dumps(receipt | {"erased_at": "2020-01-01"}))

    def verify(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "memos.cli", "verify-receipt", name, "--key", "key.json"]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    fine = verify("receipt.json")
    assert fine.returncode == 0, fine.stderr
    assert "The receipt holds" in fine.stdout
    for name, complaint in (("touched.json", "signature does not fit"), ("absent.json", "cannot be read")):
        refused = verify(name)
        assert refused.returncode == 1
        assert complaint in refused.stderr


def test_the_tombstones_are_keyed_and_speak_of_the_chain(app: App, owner: Principal, cube: str) -> None:
    [target] = write(app, owner, cube, [fact(SECRET)], utc_now())
    receipt = forget(app, owner, cube, target)
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        [version] = erasure.versions(tx, UUID(receipt["cube_id"]), [target])
    keys = signing.keyring(app.settings)

    def leaf(key: bytes) -> str:
        made = receipts.tombstone(key, owner.tenant_id, version_cube, target, version.version, version.commitment)
        return made.digest.hex()

    version_cube = UUID(receipt["cube_id"])
    assert receipt["tombstones"]["leaves"] == [[str(target), 1, leaf(keys.tombstones)]]
    assert leaf(bytes(32)) != leaf(keys.tombstones)
    assert sha256(SECRET).hex() not in json.dumps(receipt)
