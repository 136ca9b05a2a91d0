"""The provider adapter: the prefix goes out byte for byte, the hints with it, and reported hits come back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from memos.encoders.openai_compatible import OpenAICompatible
from memos.errors import Unavailable
from tests.encoders.engine_servers import served

PLAN = "What is remembered:\n- [2024-01-02] tabs\tand  spaces stay\n"


class Provider:
    def __init__(self, status: int = 200, content: Any = None) -> None:
        self.status = status
        self.content = content or {
            "choices": [{"message": {"role": "assistant", "content": "yes"}}],
            "usage": {"prompt_tokens": 1200, "prompt_tokens_details": {"cached_tokens": 1024}},
        }
        self.asked: list[tuple[str, Any]] = []

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        self.asked.append((path, body))
        return self.status, self.content


def ask(provider: Provider, **hints: str) -> Any:
    with served(provider) as url, httpx.Client(base_url=f"{url}/v1") as client:
        return OpenAICompatible(client, "some-model").complete(PLAN, "Well?", max_tokens=5, **hints)


def test_prefix_hints_and_counts() -> None:
    provider = Provider()
    done = ask(provider, prompt_cache_key="k" * 64)
    assert (done.text, done.prompt_tokens, done.cached_tokens) == ("yes", 1200, 1024)
    path, body = provider.asked[0]
    assert path == "/v1/chat/completions"
    assert body["messages"][0] == {"role": "system", "content": PLAN}
    assert body["messages"][1]["content"] == "Well?"
    assert body["prompt_cache_key"] == "k" * 64
    assert "cache_salt" not in body


def test_a_provider_that_reports_no_cache_is_believed_to_say_nothing() -> None:
    done = ask(Provider(content={"choices": [{"message": {"content": None}}], "usage": {"prompt_tokens": True}}))
    assert (done.text, done.prompt_tokens, done.cached_tokens) == ("", None, None)


@pytest.mark.parametrize(
    "provider",
    [
        Provider(status=500),
        Provider(status=429, content={"error": "slow down"}),
        Provider(content={"choices": []}),
        Provider(content=b"not json"),
        Provider(content=[1]),
    ],
)
def test_failures_are_told_as_unavailable(provider: Provider) -> None:
    with pytest.raises(Unavailable):
        ask(provider)
