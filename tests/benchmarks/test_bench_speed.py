from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.arms import WARM_UP_ROUNDS, Arm, compare, summarise
from benchmarks.bulk import HttpBulkLoader, named, open_loader
from benchmarks.client import MemosClient
from benchmarks.corpus import Memory, memories
from benchmarks.floor import database_url, embedded_url
from benchmarks.report import Step
from benchmarks.server import Service


class CountingLoader:
    """A loader that stores nothing, as a named one would be supplied."""

    description = "by counting"

    def load(self, cube_id: str, memories: Iterable[Memory], step: Step) -> None:
        step(sum(1 for _ in memories))

    def revise(self, cube_id: str, memories: Iterable[Memory], versions: int, step: Step) -> None:
        step(versions * sum(1 for _ in memories))


def make_loader(service: Service, database: str | None) -> CountingLoader:
    return CountingLoader()


def test_arms_take_turns_and_never_share_a_question() -> None:
    asked: list[tuple[str, str]] = []
    numbers = itertools.count()
    arms = [Arm(name, lambda question, name=name: asked.append((name, question))) for name in "abc"]  # type: ignore[misc]
    taken = compare(arms, lambda n: [str(next(numbers)) for _ in range(n)], rounds=4, step=lambda amount=1: None)
    assert {name: len(times) for name, times in taken.items()} == {"a": 4, "b": 4, "c": 4}
    assert len({question for _, question in asked}) == len(asked) == 3 * (4 + WARM_UP_ROUNDS)
    firsts = [name for name, _ in asked[::3]]
    assert set(firsts) == {"a", "b", "c"}


def test_ratios_are_of_medians() -> None:
    before = summarise("small", {"floor": [1.0, 1.0, 9.0], "search": [2.0, 2.0, 2.0]})
    after = summarise("large", {"floor": [2.0], "search": [3.0]}, before=before)
    assert before["search"].to_floor == 2
    assert before["floor"].to_floor is None
    assert before["search"].to_before is None
    assert (after["search"].to_floor, after["search"].to_before) == (1.5, 1.5)


def test_the_http_loader_posts_whole_sessions_and_edits(api_url: str, api_key: str, fake_api: Any) -> None:
    steps: list[int] = []

    def step(amount: int = 1) -> None:
        steps.append(amount)

    with MemosClient(api_url, api_key) as client:
        cube = client.create_cube("c")["id"]
        loader = HttpBulkLoader(client)
        loader.load(cube, memories("a", 150), step)
        assert steps == [100, 50]
        assert len(fake_api.cubes[cube]) == 150
        loader.revise(cube, memories("a", 2), 3, step)
    assert len(steps) == 2 + 6
    changed = [one["content"] for one in fake_api.cubes[cube].values() if "Update 3" in one["content"]]
    assert len(changed) == 2


def test_a_loader_is_named_by_module_and_factory(api_url: str, api_key: str) -> None:
    service = Service(api_url, api_key)
    with MemosClient(api_url, api_key) as client:
        assert isinstance(open_loader("http", service, client, None), HttpBulkLoader)
    assert named("benchmarks.corpus:memory")("a", 1).number == 1
    with pytest.raises(ValueError, match=r"package\.module:name"):
        named("benchmarks.corpus")


def test_the_database_is_the_named_one_or_the_embedded_one(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("MEMOS_BENCH_DATABASE_URL", raising=False)
    elsewhere = Service("http://x", "k")
    assert database_url(elsewhere, None) is None
    assert database_url(elsewhere, "postgresql://given") == "postgresql://given"
    (tmp_path / "postgres").mkdir()
    state = tmp_path / "postgres" / "state.json"
    state.write_text(json.dumps({"password": "pw", "port": 5439, "created": True}))
    assert embedded_url(state) == "postgresql://memos:pw@127.0.0.1:5439/memos"
    assert database_url(Service("http://x", "k", 1, tmp_path), None) == embedded_url(state)


def test_speed_end_to_end_without_a_floor(run_benchmark: Callable[..., dict[str, Any]], fake_api: Any) -> None:
    options = "--sizes 200,300 --queries 3 --versioned 200 --versions 1 --other-cubes 2 --other-size 100"
    document = run_benchmark("speed", *options.split(), "--add-batches", "1", "--no-floor")
    scenarios = {row["scenario"] for row in document["figures"]["latency"]}
    assert scenarios == {
        "200 memories",
        "300 memories",
        "200 memories, 1 edits each",
        "200 memories, 2 other cubes of 100",
        "300 memories, 2 other cubes of 100",
    }
    assert all(row["latency"]["count"] == 3 for row in document["figures"]["latency"])
    goals = {goal["name"] for goal in document["goals"]}
    assert "search, 300 memories / 200 memories" in goals
    assert "search after the edits / before" in goals
    assert not any("floor" in name for name in goals)
    assert any("--no-floor" in note for note in document["notes"])
    assert document["figures"]["adding"]["bare_embedder_turns_per_s"] is None
    asked = [body["query"] for _, _, body in fake_api.requests if "query" in body]
    assert len(asked) == len(set(asked)) == 5 * (4 * (3 + WARM_UP_ROUNDS) + 1)


def test_a_service_without_context_is_measured_without_it(
    run_benchmark: Callable[..., dict[str, Any]], fake_api: Any
) -> None:
    fake_api.offers_context = False
    options = "--sizes 200 --queries 2 --scenarios sizes --no-floor"
    document = run_benchmark("speed", *options.split())
    assert {row["arm"] for row in document["figures"]["latency"]} == {
        "search auto",
        "search low",
        "search auto, filtered",
    }
    assert sum("no /context" in note for note in document["notes"]) == 1


def test_speed_needs_a_floor_or_a_word_against_it(api_url: str, api_key: str, tmp_path: Path, monkeypatch: Any) -> None:
    from benchmarks.cli import main

    monkeypatch.delenv("MEMOS_BENCH_DATABASE_URL", raising=False)
    with pytest.raises(SystemExit, match="--no-floor"):
        main(["speed", "--url", api_url, "--key", api_key, "--out", str(tmp_path), "--sizes", "200"])
