"""The model that cubes are of when nothing else is said is written down, and no other one passes for it."""

from __future__ import annotations

import pytest

from memos.encoders.fake_embedder import FakeEmbedder
from memos.errors import Misconfigured
from memos.rules.access import Principal
from memos.store import home_space
from memos.wiring import App
from tests.services.deriving import Cube
from tests.services.reembedding import moved


def test_a_model_becomes_the_home_only_when_every_cube_has_moved_to_it(
    app: App, owner: Principal, owner_url: str
) -> None:
    other = FakeEmbedder(48)
    home_space.settle(owner_url, app.embedder.name, app.embedder.fingerprint)
    Cube.make(app, owner)  # holds nothing yet, and is in nobody's way
    home_space.settle(owner_url, other.name, other.fingerprint)
    home_space.settle(owner_url, app.embedder.name, app.embedder.fingerprint)
    cubes = [Cube.make(app, owner) for _ in range(4)]
    for cube in cubes:
        cube.learn("The kettle is red")

    for cube in cubes:
        with pytest.raises(Misconfigured, match=f"{cube.name}.*Set MEMOS_EMBEDDER={app.embedder.name} again"):
            home_space.settle(owner_url, other.name, other.fingerprint)
        home_space.settle(owner_url, app.embedder.name, app.embedder.fingerprint)
        moved(cube, other.name)

    home_space.settle(owner_url, other.name, other.fingerprint)
    with pytest.raises(Misconfigured, match="restore its files"):
        home_space.settle(owner_url, other.name, "another fingerprint")
