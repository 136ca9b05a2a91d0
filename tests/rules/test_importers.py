"""What other systems write down becomes items of ours, one by one, and nothing is dropped in silence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.errors import Invalid
from memos.rules import importers
from memos.rules.importers.foreign import Foreign, moment


def read(system: str, *values: Any) -> list[Foreign]:
    return list(importers.read(system, "\n".join(json.dumps(value) for value in values).encode()))


MEM0 = {
    "results": [
        {
            "id": "7f0c", "memory": "Ana prefers the window seat", "hash": "d41d", "metadata": {"trip": 3},
            "categories": ["travel", "preferences"], "user_id": "ana", "run_id": "trip-3",
            "created_at": "2025-07-03T10:00:00.123456-07:00", "updated_at": "2025-07-04T10:00:00-07:00",
            "expiration_date": "2027-01-31", "score": 0.4,
        },
        {"id": "8a", "memory": "   "},
        {"id": "9b", "memory": "Dated oddly", "created_at": "last summer"},
        "no object",
        {"memory": "Without an id"},
    ],
    "relations": [
        {"source": "ana", "relationship": "lives_in", "target": "lisbon"},
        {"source": "ana", "relationship": "has", "destination": "a_cat"},
        {"source": "ana"},
    ],
}  # fmt: skip


def test_mem0_memories_and_relations() -> None:
    found = read("mem0", MEM0)
    assert found[0].item == {
        "kind": "fact",
        "content": "Ana prefers the window seat",
        "external_id": "mem0:7f0c",
        "session_id": "trip-3",
        "created_at": "2025-07-03T17:00:00.123456Z",
        "expires_at": "2027-01-31T00:00:00Z",
        "tags": ["travel", "preferences"],
        "metadata": {"trip": 3, "mem0": {"user_id": "ana", "updated_at": "2025-07-04T10:00:00-07:00"}},
    }
    assert [(f.name, f.why) for f in found[1:4]] == [
        ("memory 8a", "has no 'memory', the text"),
        ("memory 9b", "'created_at' or 'expiration_date' is no time in ISO 8601"),
        ("memory 4", "is no object"),
    ]
    assert found[4].item == {"kind": "fact", "content": "Without an id"}
    assert [f.item and f.item["content"] for f in found[5:]] == ["ana lives in lisbon", "ana has a cat", None]


@pytest.mark.parametrize("shape", [lambda e: [e], lambda e: [{"results": e}], lambda e: [{"memories": e}], lambda e: e])
def test_mem0_in_every_shape(shape: Any) -> None:
    entries = [{"id": "1", "memory": "One"}, {"id": "2", "memory": "Two"}]
    assert [f.item and f.item["content"] for f in read("mem0", *shape(entries))] == ["One", "Two"]


LETTA = {
    "agents": [
        {
            "id": "agent-0", "name": "concierge", "block_ids": ["block-0", "block-1"], "system": "You are ...",
            "messages": [
                {"id": "message-0", "role": "system", "content": [{"type": "text", "text": "You are ..."}]},
                {"id": "message-1", "role": "user", "content": [{"type": "text", "text": "I moved to Lisbon."}],
                 "created_at": "2025-07-01T12:00:00+00:00", "name": "Ana"},
                {"id": "message-2", "role": "assistant", "content": [{"type": "text", "text": "(she moved)"}],
                 "tool_calls": [{"id": "c", "type": "function", "function":
                                 {"name": "send_message", "arguments": json.dumps({"message": "How do you like it?"})}}]},
                {"id": "message-3", "role": "user", "content":
                 json.dumps({"type": "user_message", "message": "Very much", "time": "noon"})},
                {"id": "message-4", "role": "user", "content": json.dumps({"type": "heartbeat", "reason": "tick"})},
                {"id": "message-5", "role": "tool", "content": "None"},
                {"id": "message-6", "role": "assistant", "content": [{"type": "reasoning", "reasoning": "hm"}]},
                {"id": "message-7", "role": "user", "content": "when?", "created_at": "noonish"},
            ],
        }
    ],
    "blocks": [
        {"id": "block-0", "label": "human", "value": "Name: Ana", "description": "whom it serves", "limit": 5000},
        {"id": "block-1", "label": "persona", "value": ""},
        {"id": "block-2", "label": "house rules", "value": "No shoes"},
    ],
    "files": [{"id": "file-0", "file_name": "menu.txt", "content": "Soup. Fish."}, {"id": "file-1", "file_name": "x.pdf"}],
    "tools": [{"name": "web_search"}], "groups": [], "sources": [], "mcp_servers": [],
}  # fmt: skip


def test_letta_agent_file() -> None:
    found = {f.name: f for f in read("letta", LETTA)}
    kept = {name: f.item for name, f in found.items() if f.item}
    assert [(item["kind"], item["content"]) for item in kept.values()] == [
        ("profile", "Name: Ana"),
        ("turn", "I moved to Lisbon."),
        ("turn", "How do you like it?"),
        ("turn", "Very much"),
        ("profile", "No shoes"),
        ("passage", "Soup. Fish."),
    ]
    assert kept["message message-1"] == {
        "kind": "turn", "content": "I moved to Lisbon.", "session_id": "letta:concierge", "external_id": "letta:message-1",
        "role": "user", "name": "Ana", "created_at": "2025-07-01T12:00:00Z",
    }  # fmt: skip
    assert kept["block human"]["external_id"] == "letta:concierge:human"
    skipped = {name for name, f in found.items() if f.skipped}
    assert skipped == {
        "message message-0", "block persona", "message message-4", "message message-5", "message message-6", "file x.pdf",
        "tools",
    }  # fmt: skip
    assert found["message message-7"].why == "'created_at' is no time in ISO 8601"


def test_letta_agent_file_of_the_first_kind() -> None:
    first = {
        "agent_type": "memgpt_agent", "name": "concierge", "version": "0.6.47",
        "core_memory": [{"label": "human", "value": "Name: Ana", "created_at": "2025-03-01T00:00:00"}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello there"}], "created_at": "2025-03-01T10:00:00"}],
        "archival_memory": [{"text": "Ana has a cat", "created_at": "2025-03-02T00:00:00"}], "tools": [],
    }  # fmt: skip
    assert [(f.item or {})["kind"] for f in read("letta", first)] == ["profile", "turn", "passage"]
    assert [f.why for f in read("letta", {"name": "x"})] == [
        "is no agent file: it has neither 'agents' nor 'core_memory' and 'messages'"
    ]


def test_langgraph_items() -> None:
    found = read(
        "langgraph",
        [
            {"namespace": ["users", "ana"], "key": "k1", "value": {"memory": "Likes tea", "weight": 2},
             "created_at": "2025-05-01T00:00:00+00:00", "updated_at": "2025-05-02T00:00:00+00:00"},
            {"prefix": "users.ana", "key": "k2", "value": '{"kind": "Memory", "content": {"content": "Plays chess"}}'},
            {"namespace": ["users", "ana"], "key": "k3", "value": {"name": "Ana", "pets": ["cat"], "car": None}},
            {"namespace": ["users"], "key": "k4", "value": {}},
            {"namespace": [], "key": "k5", "value": {"text": "x"}},
            {"namespace": ["users"], "key": "k6", "value": "plain"},
            {"namespace": ["users"], "key": "k7", "value": {"kind": "episode", "text": "The trip"}},
        ],
    )  # fmt: skip
    assert found[0].item == {
        "kind": "fact", "content": "Likes tea", "external_id": "langgraph:users/ana/k1", "created_at": "2025-05-01T00:00:00Z",
        "metadata": {"langgraph": {"namespace": ["users", "ana"], "key": "k1", "updated_at": "2025-05-02T00:00:00Z",
                                   "value": {"weight": 2}}},
    }  # fmt: skip
    assert [f.item and f.item["content"] for f in found[1:]] == [
        "Plays chess", 'name: Ana\npets: ["cat"]', None, None, None, "The trip",
    ]  # fmt: skip
    assert found[3].skipped
    assert [f.why for f in found[4:6]] == ["has no 'namespace' and 'key'", "has a 'value' that is no object"]
    assert (found[6].item or {})["kind"] == "episode"


def test_lines_and_what_is_no_json() -> None:
    assert len(read("langgraph", *[{"namespace": ["a"], "key": str(n), "value": {"text": "x"}} for n in range(3)])) == 3
    for body, word in ((b"", "empty"), (b"{}\nnot json\n", "line 2"), (b"\xff", "line 1")):
        with pytest.raises(Invalid, match=word):
            list(importers.read("mem0", body))
    with pytest.raises(Invalid, match="known: langgraph, letta, mem0"):
        importers.read("zep", b"[]")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2025-07-03", "2025-07-03T00:00:00Z"),
        ("2025-07-03T10:00:00", "2025-07-03T10:00:00Z"),
        (1_751_500_800, "2025-07-03T00:00:00Z"),
        (1_751_500_800_000, "2025-07-03T00:00:00Z"),
        ("", None),
        (None, None),
    ],
)
def test_times_in_any_spelling(value: object, expected: str | None) -> None:
    assert moment(value) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "agents",
                    "blocks",
                    "messages",
                    "role",
                    "content",
                    "text",
                    "id",
                    "memory",
                    "results",
                    "namespace",
                    "key",
                    "value",
                    "created_at",
                    "core_memory",
                    "files",
                    "block_ids",
                    "tool_calls",
                    "function",
                    "relations",
                    "label",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from(sorted(importers.READERS)))
def test_whatever_a_file_holds_is_an_item_a_fault_or_a_skip(value: Any, system: str) -> None:
    for foreign in importers.read(system, json.dumps(value).encode()):
        assert foreign.name
        assert (foreign.item is None) == bool(foreign.why)
        if foreign.item is not None:
            assert foreign.item["content"].strip()
