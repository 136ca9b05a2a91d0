from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.longmemeval_data import chat_time, load


def entry(question_id: str) -> dict[str, Any]:
    """A haystack of ours in the shape of the format: out of order, one session twice, one empty turn."""
    return {
        "question_id": question_id,
        "question_type": "single-session-user",
        "question": "Which lantern did I paint?",
        "answer": "the copper one",
        "question_date": "2024/06/09 (Sun) 10:00",
        "haystack_dates": ["2024/06/08 (Sat) 09:00", "2024/06/01 (Sat) 09:00", "2024/06/07 (Fri) 09:00"],
        "haystack_session_ids": ["twice", "answer_1", "twice"],
        "haystack_sessions": [
            [{"role": "user", "content": "Tell me of volcanoes"}, {"role": "assistant", "content": " "}],
            [
                {"role": "user", "content": "I painted the copper lantern", "has_answer": True},
                {"role": "assistant", "content": "Well done", "has_answer": False},
            ],
            [{"role": "user", "content": "Tell me of volcanoes"}],
        ],
        "answer_session_ids": ["answer_1"],
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "own.json.xz"
    path.write_bytes(lzma.compress(json.dumps([entry("q1"), entry("q2_abs")]).encode()))
    return path


def test_dates() -> None:
    assert chat_time("2023/05/30 (Tue) 22:42") == datetime(2023, 5, 30, 22, 42, tzinfo=UTC)


def test_sessions_are_fed_by_date_and_told_apart(data: Path) -> None:
    question, abstaining = load(data)
    assert abstaining.abstains
    assert not question.abstains
    assert [name for name, _ in question.sessions] == ["answer_1", "twice", "twice~2"]
    assert [turn.session_id for turn in question.turns] == ["answer_1", "answer_1", "twice", "twice"]
    assert question.answer_turns == {"answer_1:0"}
    assert question.answer_sessions == {"answer_1"}
    assert question.empty_turns == 1
    assert question.turns[1].created_at == datetime(2024, 6, 1, 9, 0, 1, tzinfo=UTC)


def test_end_to_end(data: Path, run_benchmark: Callable[..., dict[str, Any]], fake_api: Any) -> None:
    document = run_benchmark("longmemeval", "--data", str(data))
    overall = document["figures"]["quality"]["overall"]
    assert overall["questions"] == 1
    assert overall["session all@5"] == overall["turn all@10"] == 1
    assert any("1 of 2 questions ask for abstention" in note for note in document["notes"])
    assert fake_api.cubes == {}
    (asked,) = [body for _, path, body in fake_api.requests if path.endswith("/search")]
    assert asked["now"] == "2024-06-09T10:00:00+00:00"
    assert "lantern" not in json.dumps(document)
