"""A database is made wider with what is in it, and its cubes then move to a wider model while they are in use."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

from memos.errors import Conflict, Misconfigured
from memos.services import doctor_truth
from memos.services.findings import Verdict
from memos.settings import Settings
from memos.store.schema import migrate
from memos.store.widening import widen
from memos.wiring import App, build_app
from tests.conftest import OWNER_KEY, Servers
from tests.services.deriving import Cube
from tests.services.packaging import answers
from tests.services.reembedding import moved

NARROW, WIDE = 64, 96
Build = Callable[[int | None], App]


@pytest.fixture
def build(owner_url: str, servers: Servers) -> Iterator[Build]:
    """The service on one database, with the narrow model and vectors of some width."""
    built: list[App] = []

    def make(width: int | None) -> App:
        settings = Settings(
            database_url=SecretStr(owner_url),
            redis_url=SecretStr(servers.redis_url),
            embedder=f"fake:{NARROW}",
            vector_width=width,
            data_dir=servers.root,
        )
        built.append(build_app(settings))
        return built[-1]

    yield make
    for app in built:
        app.close()


def test_a_database_is_widened_and_a_cube_moves_to_a_wider_model_and_back(build: Build, owner_url: str) -> None:
    narrow = build(None)
    owner = narrow.database.authenticate(OWNER_KEY)
    cube = Cube.make(narrow, owner)
    cube.learn(*(f"Plant number {n} grows in the garden" for n in range(40)))
    moved(cube, "fake:48")  # so that vectors of an earlier space are kept
    moved(cube, f"fake:{NARROW}")
    answers(narrow, owner, cube.name)
    narrow.recalls.flush()  # the first recall changes a state, and must not look like a difference below
    before = answers(narrow, owner, cube.name)
    with pytest.raises(Misconfigured, match="make room first"):
        narrow.spaces.model(f"fake:{WIDE}")
    with pytest.raises(Conflict, match="stop API"):
        widen(owner_url, WIDE)
    narrow.close()

    assert widen(owner_url, WIDE) == NARROW
    assert widen(owner_url, WIDE) == WIDE  # again: nothing to do
    with pytest.raises(Misconfigured, match="not narrower"):
        widen(owner_url, NARROW)
    with pytest.raises(Misconfigured, match="MEMOS_VECTOR_WIDTH=96"):
        migrate(owner_url, NARROW)
    migrate(owner_url, WIDE)

    wide = build(WIDE)
    cube = Cube(wide, owner, cube.name, cube.id)
    assert answers(wide, owner, cube.name) == before
    moved(cube, f"fake:{WIDE}")
    assert answers(wide, owner, cube.name) != before
    assert "Plant number 7 grows in the garden" in cube.search("Plant number 7")
    moved(cube, "fake:48")
    moved(cube, f"fake:{NARROW}")
    assert answers(wide, owner, cube.name) == before
    assert [f for f in doctor_truth.examine(wide.database, repair=False) if f.verdict is not Verdict.OK] == []
