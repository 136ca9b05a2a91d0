from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.conflict import is_replaced, judge
from benchmarks.conflict_data import Question, label, load, read_facts

CONTEXT = """Some facts of ours:
0. The harbour master of Quill is Ada Finch.
1. Tobit plays the position of sweeper.
2. The harbour master of Quill is Otto Crane Jr..
3. The harbour master of Vane is Ada Finch.
4. The harbour master of Quill was founded by Otto Crane Jr..
"""


def test_facts_are_read_in_order_with_their_numbers() -> None:
    facts = read_facts(CONTEXT)
    assert [fact.number for fact in facts] == [0, 1, 2, 3, 4]
    assert facts[2].text == "The harbour master of Quill is Otto Crane Jr.."


def test_the_newest_and_the_stale_of_a_slot_are_told_apart() -> None:
    facts = read_facts(CONTEXT)
    question = label(7, "Who is the harbour master of Quill?", ["Otto Crane Jr."], facts)
    assert question == Question(7, "Who is the harbour master of Quill?", 2, frozenset({0}))
    alone = label(8, "What position does Tobit play?", ["sweeper"], facts)
    assert (alone.newest, alone.stale) == (1, frozenset())
    other = label(9, "Who is the harbour master of Vane?", ["Ada Finch"], facts)
    assert (other.newest, other.stale) == (3, frozenset())


def test_an_answer_that_no_fact_ends_in_has_no_newest() -> None:
    assert label(0, "Who rows?", ["row"], read_facts(CONTEXT)).newest is None


def test_judging_a_ranking() -> None:
    question = Question(0, "?", 2, frozenset({0, 1}))
    memories = {0: "old", 1: "older", 2: "new"}
    assert judge(question, ["x", "new", "old"], memories, 1.0).passed
    assert judge(question, ["new"], memories, 1.0).passed
    assert not judge(question, ["older", "new", "old"], memories, 1.0).passed
    assert not judge(question, ["x", "y"], memories, 1.0).passed
    assert judge(question, ["x", "new", "old"], memories, 1.0).stale_rank == 3
    assert not judge(Question(0, "?", None, frozenset()), ["new"], memories, 1.0).passed


@pytest.mark.parametrize(
    ("memory", "replaced"),
    [
        ({"state": "activated", "valid_to": None}, False),
        ({"state": "activated", "valid_to": "2024-01-01T00:00:00Z"}, True),
        ({"state": "merged"}, True),
    ],
)
def test_what_counts_as_superseded(memory: dict[str, Any], replaced: bool) -> None:
    assert is_replaced(memory) is replaced


@pytest.fixture
def data(tmp_path: Path) -> Path:
    def part(kind: str) -> dict[str, Any]:
        return {
            "context": CONTEXT,
            "questions": ["Who is the harbour master of Quill?", "What position does Tobit play?"],
            "answers": [["Otto Crane Jr."], ["sweeper"]],
            "metadata": {"qa_pair_ids": [f"own_{kind}_no0", f"own_{kind}_no1"]},
        }

    path = tmp_path / "own.json"
    path.write_text(json.dumps([part("mh"), part("sh")]))
    return path


def test_only_the_single_hop_entry_is_read(data: Path, tmp_path: Path) -> None:
    assert len(load(data).questions) == 2
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(data.read_text())[:1]))
    with pytest.raises(ValueError, match="_sh_"):
        load(other)


def test_end_to_end(data: Path, run_benchmark: Callable[..., dict[str, Any]], fake_api: Any) -> None:
    document = run_benchmark("conflict", "--data", str(data), "--batch", "2")
    figures = document["figures"]
    assert (figures["questions"], figures["contested"], figures["stale_facts"]) == (2, 1, 1)
    assert figures["passed"] == 2  # the fake prefers the newer among equals
    assert figures["stale_marked"] == 0
    posted = [body["items"] for _, path, body in fake_api.requests if path.endswith("/memories")]
    assert [len(items) for items in posted] == [2, 2, 1]
    assert [item["external_id"] for items in posted for item in items] == [f"fact-{n}" for n in range(5)]
    assert "valid_from" not in posted[0][0]
    assert "Quill" not in json.dumps(document)
