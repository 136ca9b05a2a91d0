"""Moving a cube to another model, for the tests of what comes of it."""

from __future__ import annotations

from memos.services import reembed
from memos.services.remember import utc_now
from tests.services.deriving import Cube
from tests.services.running import run


def moved(cube: Cube, model: str) -> None:
    with cube.writing() as tx:
        job = reembed.request(tx, cube.app.spaces, cube.who, cube.name, model, activate=True, now=utc_now())
    assert run(cube.app, cube.who, job.id).state == "succeeded"
