"""The language model port: instructions and material in, text out, and what it cost.

A model is never needed: whoever asks one can do the same job with rules, and does when the model is down, slow or
talks nonsense. What it says is checked by the caller; here only the conversation with its server is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from memos.encoders.json_http import ask_json, count_in
from memos.errors import Unavailable
from memos.metering import meters
from memos.settings import Settings


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said. Token counts are the server's own, 0 where it gives none."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


class LanguageModel(Protocol):
    @property
    def name(self) -> str:
        """Which model answers, as kept with what it wrote."""

    def answer(self, instructions: str, material: str, *, max_tokens: int) -> Answer:
        """Follow `instructions` on `material`, deterministically where the model allows it.

        Raises `Unavailable` when no usable answer came in time.
        """


@dataclass(slots=True)
class Meter:
    """Counts what is asked of a model. `price_in` and `price_out` are dollars per million tokens."""

    model: LanguageModel
    price_in: float = 0.0
    price_out: float = 0.0
    calls: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return self.model.name

    def answer(self, instructions: str, material: str, *, max_tokens: int) -> Answer:
        """As the model's own; a failed call is counted and its error passed on."""
        started = time.perf_counter()
        self.calls += 1
        try:
            answer = self.model.answer(instructions, material, max_tokens=max_tokens)
        except Unavailable:
            self.failures += 1
            meters().llm_calls.labels("failed").inc()
            raise
        finally:
            self.seconds += (elapsed_s := time.perf_counter() - started)
            meters().llm_seconds.inc(elapsed_s)
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        meters().llm_calls.labels("answered").inc()
        meters().llm_tokens.labels("read").inc(answer.prompt_tokens)
        meters().llm_tokens.labels("written").inc(answer.completion_tokens)
        meters().llm_dollars.inc(self._dollars(answer.prompt_tokens, answer.completion_tokens))
        return answer

    def report(self) -> dict[str, float | int | str]:
        """For a job's result: calls, tokens, seconds and cost."""
        cost = self._dollars(self.prompt_tokens, self.completion_tokens)
        return {
            "model": self.name,
            "calls": self.calls,
            "failures": self.failures,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "seconds": round(self.seconds, 3),
            "cost_usd": round(cost, 6),
        }

    def _dollars(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / 1_000_000


class OpenAIChat:
    """Any server with `POST /chat/completions` in OpenAI's shape. `client` has the base URL, authorization, timeout."""

    def __init__(self, client: httpx.Client, model: str) -> None:
        self._client = client
        self.name = model

    def answer(self, instructions: str, material: str, *, max_tokens: int) -> Answer:
        """One call, temperature 0. A connection that fails at once is tried a second time; a timeout is not."""
        body = {
            "model": self.name,
            "messages": [
                {"role": "system", "content": instructions},
                {"role": "user", "content": material},
            ],
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        said = ask_json(self._client, "POST", "/chat/completions", body)
        try:
            text = said["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise Unavailable("the language model answered without a message") from error
        if not isinstance(text, str) or not text.strip():
            raise Unavailable("the language model answered with nothing")
        return Answer(
            text,
            count_in(said, "usage", "prompt_tokens") or 0,
            count_in(said, "usage", "completion_tokens") or 0,
        )

    def close(self) -> None:
        self._client.close()


@dataclass(slots=True)
class FakeModel:
    """Says what it was told to, in order, or what a function of the material gives; then it is unavailable."""

    answers: Iterable[str] | Callable[[str], str] = ()
    name: str = "fake"
    asked: list[str] = field(default_factory=list)
    _left: deque[str] = field(init=False)

    def __post_init__(self) -> None:
        self._left = deque(() if callable(self.answers) else self.answers)

    def answer(self, instructions: str, material: str, *, max_tokens: int) -> Answer:
        """Counts words as tokens."""
        self.asked.append(material)
        if callable(self.answers):
            text = self.answers(material)
        elif self._left:
            text = self._left.popleft()
        else:
            raise Unavailable("the fake has no more answers")
        return Answer(text, len(f"{instructions} {material}".split()), min(len(text.split()), max_tokens))


def language_model(settings: Settings) -> OpenAIChat | None:
    """The model an operator named in `MEMOS_LLM_URL` and `MEMOS_LLM_MODEL`, or None. The caller closes it."""
    if not settings.llm_url or not settings.llm_model:
        return None
    headers = {}
    if settings.llm_key is not None:
        headers["Authorization"] = f"Bearer {settings.llm_key.get_secret_value()}"
    client = httpx.Client(
        base_url=settings.llm_url,
        headers=headers,
        timeout=httpx.Timeout(settings.llm_timeout_s, connect=min(5.0, settings.llm_timeout_s)),
        transport=httpx.HTTPTransport(retries=1),
    )
    return OpenAIChat(client, settings.llm_model)
