"""Adapter for providers that keep their KV to themselves: give them a stable prefix and hints, read what it saved.

The plan's text is the system message, byte for byte the same until a memory changes, and `prompt_cache_key` sends
requests with the same prefix to the same cache. How many prompt tokens came from it is read from
`usage.prompt_tokens_details.cached_tokens`; that is the only truth about a hit there is.
"""

from __future__ import annotations

from typing import Any

import httpx

from memos.encoders.causal_lm import Completion
from memos.encoders.json_http import ask_json, count_in
from memos.errors import Unavailable


class OpenAICompatible:
    """`client` has the base URL up to and including `/v1`, the authorization header and a timeout."""

    def __init__(self, client: httpx.Client, model: str) -> None:
        self._client = client
        self._model = model

    def complete(
        self,
        prefix_text: str,
        question: str,
        *,
        max_tokens: int,
        prompt_cache_key: str | None = None,
        cache_salt: str | None = None,
    ) -> Completion:
        """Ask a question behind a plan's text.

        `prompt_cache_key` is for providers, `cache_salt` for vLLM; pass only what the server at hand understands.

        Raises:
            Unavailable: the provider failed or answered in another shape.
        """
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [
                {"role": "system", "content": prefix_text},
                {"role": "user", "content": question},
            ],
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        hints = {"prompt_cache_key": prompt_cache_key, "cache_salt": cache_salt}
        body |= {name: value for name, value in hints.items() if value is not None}
        answer = ask_json(self._client, "POST", "/chat/completions", body)
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise Unavailable("the provider answered without a message") from error
        return Completion(
            text=text if isinstance(text, str) else "",
            prompt_tokens=count_in(answer, "usage", "prompt_tokens"),
            cached_tokens=count_in(answer, "usage", "prompt_tokens_details", "cached_tokens"),
        )
