"""One JSON request to an engine's server, with every way it can fail told in one way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from memos.errors import Unavailable


def ask_json(client: httpx.Client, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The JSON object a server answers with.

    Raises:
        Unavailable: no answer, a status other than 2xx, or something that is not a JSON object.
    """
    try:
        answer = client.request(method, path, json=None if body is None else dict(body))
    except httpx.HTTPError as error:
        raise Unavailable(f"{client.base_url}{path} does not answer: {error}") from error
    if not answer.is_success:
        raise Unavailable(f"{client.base_url}{path} answered {answer.status_code}: {answer.text[:200]}")
    try:
        content = answer.json()
    except ValueError as error:
        raise Unavailable(f"{client.base_url}{path} did not answer with JSON") from error
    if not isinstance(content, dict):
        raise Unavailable(f"{client.base_url}{path} did not answer with a JSON object")
    return content


def count_in(content: Mapping[str, Any], *path: str) -> int | None:
    """A whole number somewhere in an answer; None where a server left it out or put something else."""
    value: Any = content
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
