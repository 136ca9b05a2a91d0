"""The calls the demo makes, one method each: all there is to using the API."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from memos.demo.service import Service
from memos.errors import Unavailable

Json = dict[str, Any]


class Client:
    """A cube of a service. Raises `Unavailable` with the service's own words when a call is refused."""

    def __init__(self, service: Service, cube: str) -> None:
        self._http = httpx.Client(
            base_url=service.url, headers={"Authorization": f"Bearer {service.key}"}, timeout=httpx.Timeout(60.0)
        )
        self._cube = f"/v1/cubes/{cube}"
        self.name = cube

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def create(self, description: str) -> Json:
        return self._call("POST", "/v1/cubes", {"name": self.name, "description": description})

    def remember(self, session_id: str, messages: Sequence[Json]) -> Json:
        """Turns of a conversation; searchable when this returns."""
        return self._call("POST", f"{self._cube}/messages", {"session_id": session_id, "messages": list(messages)})

    def remember_document(self, document: Json) -> Json:
        return self._call("POST", f"{self._cube}/documents", document)

    def remember_fact(self, content: str) -> Json:
        return self._call("POST", f"{self._cube}/memories", {"items": [{"kind": "fact", "content": content}]})

    def remember_facts(self, contents: Sequence[str]) -> Json:
        items = [{"kind": "fact", "content": content} for content in contents]
        return self._call("POST", f"{self._cube}/memories", {"items": items})

    def search(self, query: str, **options: Any) -> Json:
        return self._call("POST", f"{self._cube}/search", {"query": query, **options})

    def edit(self, memory_id: str, content: str, reason: str) -> Json:
        return self._call("PATCH", f"{self._cube}/memories/{memory_id}", {"content": content, "reason": reason})

    def cube(self) -> Json:
        return self._call("GET", self._cube)

    def diff(self, before: int, after: int) -> Json:
        return self._call("GET", f"{self._cube}/diff?from={before}&to={after}")

    def rollback(self, to: int, reason: str) -> Json:
        return self._call("POST", f"{self._cube}/rollback", {"to": to, "reason": reason})

    def revisions(self) -> list[Json]:
        found: list[Json] = self._call("GET", f"{self._cube}/revisions?limit=5")["items"]
        return found

    def in_cube(self, method: str, path: str, body: Json | None = None) -> Json:
        """Any call below the cube: `in_cube("POST", "extract", {})`."""
        return self._call(method, f"{self._cube}/{path}", body)

    def at(self, path: str) -> Json:
        """Anything that is read: `at("/v1/receipts/key")`."""
        return self._call("GET", path)

    def context(self, query: str, budget_tokens: int) -> Json:
        return self._call("POST", f"{self._cube}/context", {"query": query, "budget_tokens": budget_tokens})

    def entities(self, part: str) -> list[Json]:
        found: list[Json] = self._call("GET", f"{self._cube}/entities?q={quote(part)}")["items"]
        return found

    def entity(self, entity_id: str) -> Json:
        return self._call("GET", f"{self._cube}/entities/{entity_id}")

    def graph(self, center: str) -> Json:
        return self._call("GET", f"{self._cube}/graph?center={quote(center)}")

    def walk(self, query: str, **options: Any) -> Json:
        return self._call("POST", f"{self._cube}/graph/walk", {"query": query, **options})

    def start(self, work: str) -> Json:
        """A job of the cube's: `extract`, `consolidate`."""
        return self._call("POST", f"{self._cube}/{work}", {})

    def job(self, job_id: str) -> Json:
        return self._call("GET", f"/v1/jobs/{job_id}")

    def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise Unavailable(f"{self._http.base_url} does not answer: {error}") from error
        if answer.is_error:
            raise Unavailable(f"{method} {path} was answered {answer.status_code}: {answer.text[:500]}")
        found: Json = answer.json()
        return found
