from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from memos.encoders.built_file import built_file
from memos.errors import Misconfigured


class Builder:
    """Writes one content and counts how often it was asked to."""

    def __init__(self, content: bytes = b"built") -> None:
        self.content = content
        self.calls = 0

    def __call__(self, out: Path) -> None:
        self.calls += 1
        out.write_bytes(self.content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "not yet there" / "graph.onnx"


def test_it_is_built_once_and_read_afterwards(path: Path) -> None:
    build = Builder()

    assert [built_file(path, build) for _ in range(3)] == [b"built"] * 3
    assert build.calls == 1
    assert path.read_bytes() == b"built"


def test_many_starting_together_build_once(path: Path) -> None:
    build, start = Builder(), Barrier(8)

    def run(_: int) -> bytes:
        start.wait()
        return built_file(path, build)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(run, range(8))) == [b"built"] * 8
    assert build.calls == 1


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("graph.onnx", b"buil"),
        ("graph.onnx", b""),
        ("graph.onnx", None),
        ("graph.onnx.sha256", b"0" * 64),
        ("graph.onnx.sha256", b"\xff\xfe"),
        ("graph.onnx.sha256", b""),
        ("graph.onnx.sha256", None),
    ],
)
def test_damage_is_seen_and_repaired(path: Path, file: str, content: bytes | None) -> None:
    built_file(path, Builder())
    damaged = path.parent / file
    damaged.unlink() if content is None else damaged.write_bytes(content)
    again = Builder()

    assert built_file(path, again) == b"built"
    assert again.calls == 1
    assert built_file(path, again) == b"built"
    assert again.calls == 1


def test_a_build_that_fails_leaves_nothing_and_can_be_repeated(path: Path) -> None:
    def fail(out: Path) -> None:
        out.write_bytes(b"half")
        raise Misconfigured("the builder had enough")

    with pytest.raises(Misconfigured, match="had enough"):
        built_file(path, fail)

    assert [left.name for left in path.parent.iterdir()] == ["graph.onnx.lock"]
    assert built_file(path, Builder()) == b"built"


def test_drafts_of_killed_builders_are_removed(path: Path) -> None:
    path.parent.mkdir()
    for abandoned in ("graph.onnx.999.tmp", "graph.onnx.999.tmp.sha256"):
        (path.parent / abandoned).write_bytes(b"half")

    built_file(path, Builder())

    left = sorted(found.name for found in path.parent.iterdir())
    assert left == ["graph.onnx", "graph.onnx.lock", "graph.onnx.sha256"]


def test_a_builder_that_writes_nothing_is_an_error(path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be built"):
        built_file(path, lambda _: None)
