from __future__ import annotations

from typing import Any

import pytest

from benchmarks.client import ApiError, MemosClient


def test_write_and_read_back(api_url: str, api_key: str) -> None:
    with MemosClient(api_url, api_key) as client:
        cube = client.create_cube("one")["id"]
        messages = [
            {"role": "user", "content": "The kettle is blue", "external_id": "t1"},
            {"role": "user", "content": "The door is green", "external_id": "t2"},
        ]
        added = client.add_messages(cube, "s1", messages)
        assert [external for _, external in added.memories] == ["t1", "t2"]
        reply = client.search(cube, "which kettle", limit=1)
        assert [hit.memory_id for hit in reply.hits] == [added.memories[0][0]]
        assert reply.elapsed_ms > 0
        context = client.context(cube, "which kettle", budget_tokens=100)
        assert context.excerpts[0][0] == added.memories[0][0]
        assert context.tokens <= 100
        client.edit_memory(cube, added.memories[0][0], "The kettle is red")
        assert client.get_memory(cube, added.memories[0][0])["content"] == "The kettle is red"
        client.delete_cube(cube)
        with pytest.raises(ApiError, match="404 not_found"):
            client.search(cube, "which kettle")


def test_a_problem_becomes_an_error_with_its_code(api_url: str) -> None:
    with MemosClient(api_url, "wrong") as client, pytest.raises(ApiError) as caught:
        client.create_cube("one")
    assert (caught.value.status, caught.value.code) == (401, "unauthenticated")


def test_unknown_fields_are_refused_and_not_retried(api_url: str, api_key: str) -> None:
    with MemosClient(api_url, api_key) as client:
        cube = client.create_cube("one")["id"]
        with pytest.raises(ApiError, match="422"):
            client.search(cube, "anything", limits=3)


def test_a_write_waits_out_back_pressure(api_url: str, api_key: str, fake_api: Any) -> None:
    fake_api.busy_writes = 2
    with MemosClient(api_url, api_key) as client:
        cube = client.create_cube("one")["id"]
        added = client.add_memories(cube, [{"kind": "fact", "content": "Salt is white"}])
        assert len(added.memories) == 1
        assert client.retried_writes == 2


def test_waiting_for_jobs_needs_two_idle_polls(api_url: str, api_key: str, fake_api: Any) -> None:
    fake_api.queued_polls = 3
    with MemosClient(api_url, api_key) as client:
        client.wait_for_jobs(timeout_s=10, poll_s=0.01)
    polls = [path for _, path, _ in fake_api.requests]
    assert [path for path in polls if "queued" in path][-2:] == ["/v1/jobs?state=queued&limit=1"] * 2
    assert sum("queued" in path for path in polls) >= 3


def test_waiting_for_jobs_gives_up(api_url: str, api_key: str, fake_api: Any) -> None:
    fake_api.queued_polls = 10**9
    with MemosClient(api_url, api_key) as client, pytest.raises(TimeoutError):
        client.wait_for_jobs(timeout_s=0.05, poll_s=0.01)
