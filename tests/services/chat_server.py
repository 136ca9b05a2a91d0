"""A tiny OpenAI-compatible server: a real socket, and whatever answers a test wants."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Reply = Callable[[str, str], str]


@dataclass
class ChatServer:
    """`reply(instructions, material)` says what the model says; `delay_s` how slow it is; `status` how ill."""

    reply: Reply = lambda instructions, material: ""
    delay_s: float = 0.0
    status: int = 200
    asked: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        assert (method, path) == ("POST", "/v1/chat/completions")
        system, user = (message["content"] for message in body["messages"])
        self.asked.append(user)
        time.sleep(self.delay_s)
        if self.status != 200:
            return self.status, {"error": "ill"}
        text = self.reply(system, user)
        return 200, {
            "choices": [{"message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10},
        }
