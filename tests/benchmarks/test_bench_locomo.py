from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.client import Hit
from benchmarks.credit import ranked_turns
from benchmarks.locomo_data import load, session_time

# Two friends of ours, in the shape of the format and with none of its texts.
SAMPLE = {
    "sample_id": "own-1",
    "conversation": {
        "speaker_a": "Ilse",
        "speaker_b": "Bram",
        "session_1_date_time": "9:05 am on 3 March, 2024",
        "session_1": [
            {"speaker": "Ilse", "dia_id": "D1:1", "text": "My zeppelin model has arrived."},
            {
                "speaker": "Bram",
                "dia_id": "D1:2",
                "text": "Look!",
                "blip_caption": "a purple canoe on a roof",
            },
        ],
        "session_2_date_time": "12:30 pm on 10 March, 2024",
        "session_2": [
            {"speaker": "Bram", "dia_id": "D2:1", "text": "I sold the accordion to Pim."},
            {"speaker": "Ilse", "dia_id": "D2:2", "text": "Pity, you played so well."},
        ],
        "session_3_date_time": "1:00 pm on 11 March, 2024",
    },
    "qa": [
        {
            "question": "What zeppelin arrived?",
            "answer": "a",
            "category": 4,
            "evidence": ["D1:1"],
            "label_error": None,
        },
        {
            "question": "Who bought the accordion?",
            "answer": "b",
            "category": 1,
            "evidence": ["D2:01; D1:2"],
            "label_error": "AMBIGUOUS",
        },
        {"question": "Where is the canoe?", "answer": "c", "category": 4, "evidence": ["D1:2", "D9:9"]},
        {"question": "Nothing to find", "answer": "d", "category": 3, "evidence": []},
        {"question": "Never said", "category": 5, "adversarial_answer": "e", "evidence": ["D1:1"]},
    ],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "own.json"
    path.write_text(json.dumps([SAMPLE]))
    return path


def test_session_times_are_read_as_utc() -> None:
    assert session_time("1:56 pm on 8 May, 2023") == datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    assert session_time("12:09 am on 13 September, 2023") == datetime(2023, 9, 13, 0, 9, tzinfo=UTC)


def test_turns_become_messages(data: Path) -> None:
    (conversation,) = load(data)
    assert [len(session) for session in conversation.sessions] == [2, 2]
    first, photo = conversation.sessions[0]
    assert first.message() == {
        "role": "user",
        "name": "Ilse",
        "content": "My zeppelin model has arrived.",
        "external_id": "D1:1",
        "created_at": "2024-03-03T09:05:00+00:00",
    }
    assert photo.session_id == "session_1"
    assert photo.message()["content"] == "Look! [shares a photo: a purple canoe on a roof]"
    assert photo.message()["metadata"] == {"blip_caption": "a purple canoe on a roof"}
    assert photo.message()["role"] == "assistant"
    assert photo.message()["created_at"] == "2024-03-03T09:05:01+00:00"
    assert conversation.asked_at > conversation.turns[-1].created_at


def test_captions_can_be_left_out_of_the_text(data: Path) -> None:
    (conversation,) = load(data, captions=False)
    assert conversation.sessions[0][1].content == "Look!"
    assert "metadata" in conversation.sessions[0][1].message()


def test_labels_are_cleaned_and_what_is_left_out_is_counted(data: Path) -> None:
    (conversation,) = load(data)
    assert [(q.number, q.category, sorted(q.evidence)) for q in conversation.questions] == [
        (0, 4, ["D1:1"]),
        (1, 1, ["D1:2", "D2:1"]),
        (2, 4, ["D1:2"]),
    ]
    assert conversation.questions[1].label_error == "AMBIGUOUS"
    assert conversation.unanswerable == 1
    assert conversation.unknown_evidence == 1


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(TypeError, match="no list"):
        load(path)


def hit(memory_id: str, *sources: str) -> Hit:
    return Hit(memory_id, "turn", "", 1.0, "generated", sources)


def test_derived_memories_earn_nothing_unless_their_sources_count() -> None:
    turns = {"m1": "D1:1", "m2": "D1:2", "m3": "D1:3"}
    hits = [hit("f1", "m2", "m1"), hit("m1"), hit("f2", "elsewhere"), hit("m3")]
    assert ranked_turns(hits, turns, sources=False) == ["memory:f1", "D1:1", "memory:f2", "D1:3"]
    assert ranked_turns(hits, turns, sources=True) == ["D1:2", "D1:1", "memory:f2", "D1:3"]


def test_locomo_end_to_end(data: Path, run_benchmark: Callable[..., dict[str, Any]], fake_api: Any) -> None:
    document = run_benchmark("locomo", "--data", str(data))
    quality = document["figures"]["quality"]
    assert quality["all questions"]["overall"]["questions"] == 3
    assert quality["without known label errors"]["overall"]["questions"] == 2
    assert quality["all questions"]["4 single-hop"]["R@5"] == 1
    assert quality["all questions"]["2 temporal"]["R@5"] is None
    assert document["figures"]["turns"] == 4
    assert any("known label error" in note for note in document["notes"])
    assert {goal["name"] for goal in document["goals"]} >= {"recall@10", "MRR"}
    assert "key" not in document["settings"]
    assert "zeppelin" not in json.dumps(document)  # ids only: results may be kept where texts may not
    assert fake_api.cubes == {}  # removed at the end
    asked = [body for _, path, body in fake_api.requests if path.endswith("/search")]
    assert {body["limit"] for body in asked} == {50}
    assert {body["now"] for body in asked} == {"2024-03-11T12:30:01+00:00"}


def test_locomo_credits_sources_when_told(
    data: Path, run_benchmark: Callable[..., dict[str, Any]], fake_api: Any
) -> None:
    fake_api.wrap_facts = True
    strict = run_benchmark("locomo", "--data", str(data))
    assert strict["figures"]["quality"]["all questions"]["overall"]["R@50"] == 0


def test_context_end_to_end(data: Path, run_benchmark: Callable[..., dict[str, Any]]) -> None:
    document = run_benchmark("context", "--data", str(data), "--budget-tokens", "20")
    overall = document["figures"]["quality"]["all questions"]["overall"]
    assert overall["whole turns only"] == overall["evidence recall"] > 0
    assert document["figures"]["max_tokens"] <= 20
    assert 0 < document["figures"]["share_of_conversation"] < 1


def test_ablate_shares_a_replay_and_passes_fields_on(
    data: Path, tmp_path: Path, run_benchmark: Callable[..., dict[str, Any]], fake_api: Any
) -> None:
    variants = tmp_path / "variants.json"
    variants.write_text(
        json.dumps({"auto": {}, "low": {"search": {"budget": "low"}}, "plain": {"policy": {"extract": False}}})
    )
    document = run_benchmark("ablate", "--data", str(data), "--variants", str(variants))
    assert list(document["figures"]["quality"]) == ["auto", "low", "plain"]
    assert list(fake_api.policies.values()) == [None, {"extract": False}]
    budgets = {body.get("budget") for _, path, body in fake_api.requests if path.endswith("/search")}
    assert budgets == {None, "low"}
