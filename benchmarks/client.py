"""A thin caller of the REST API: one kept-alive connection pool, replies as small values, times taken here.

Only names of API.md are used. A reply's `elapsed_ms` runs from before the request is built until its body is
read, so it is what a caller waits, JSON included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx

Json = dict[str, Any]

# How often a write that met back-pressure (429) is tried again before the benchmark gives up.
WRITE_ATTEMPTS = 20


class ApiError(RuntimeError):
    """The service answered with a problem document; `code` is the stable name of API.md."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Added:
    """What a write stored: memory ids in the order of the input, each with the caller's own id if any."""

    memories: tuple[tuple[str, str | None], ...]
    jobs: tuple[str, ...]
    elapsed_ms: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result; `sources` are the memories a derived one was made from, `why` what each part added."""

    memory_id: str
    kind: str
    content: str
    score: float
    state: str
    sources: tuple[str, ...]
    why: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class SearchReply:
    hits: tuple[Hit, ...]
    route: Json
    elapsed_ms: float


@dataclass(frozen=True, slots=True)
class ContextReply:
    """A packed context; `excerpts` are (memory id, the part of it that was packed)."""

    text: str
    tokens: int
    excerpts: tuple[tuple[str, str], ...]
    dropped: int
    elapsed_ms: float


class MemosClient:
    """Synchronous and not shared between threads: each thread of a benchmark opens its own."""

    def __init__(self, url: str, key: str, *, timeout_s: float = 120.0) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None),
        )
        self.retried_writes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # -- Cubes

    def create_cube(self, name: str, *, policy: Mapping[str, Any] | None = None) -> Json:
        body: Json = {"name": name}
        if policy:
            body["policy"] = dict(policy)
        return self.call("POST", "/v1/cubes", body)

    def delete_cube(self, cube: str) -> None:
        self.call("DELETE", f"/v1/cubes/{cube}")

    # -- Writing

    def add_messages(self, cube: str, session_id: str, messages: Sequence[Json]) -> Added:
        return self._write(f"/v1/cubes/{cube}/messages", {"session_id": session_id, "messages": list(messages)})

    def add_document(self, cube: str, text: str, **fields: Any) -> Added:
        return self._write(f"/v1/cubes/{cube}/documents", {"text": text, **fields})

    def add_memories(self, cube: str, items: Sequence[Json]) -> Added:
        return self._write(f"/v1/cubes/{cube}/memories", {"items": list(items)})

    def get_memory(self, cube: str, memory_id: str) -> Json:
        return self.call("GET", f"/v1/cubes/{cube}/memories/{memory_id}")

    def edit_memory(self, cube: str, memory_id: str, content: str) -> Json:
        return self.call("PATCH", f"/v1/cubes/{cube}/memories/{memory_id}", {"content": content})

    # -- Reading

    def search(self, cube: str, query: str, **options: Any) -> SearchReply:
        started = time.perf_counter()
        reply = self.call("POST", f"/v1/cubes/{cube}/search", {"query": query, **options})
        elapsed_ms = (time.perf_counter() - started) * 1000
        return SearchReply(tuple(_hit(item) for item in reply["items"]), reply.get("route", {}), elapsed_ms)

    def context(self, cube: str, query: str, *, budget_tokens: int, **options: Any) -> ContextReply:
        body = {"query": query, "budget_tokens": budget_tokens, **options}
        started = time.perf_counter()
        reply = self.call("POST", f"/v1/cubes/{cube}/context", body)
        elapsed_ms = (time.perf_counter() - started) * 1000
        excerpts = tuple((str(item["memory_id"]), str(item["excerpt"])) for item in reply["items"])
        return ContextReply(reply["text"], reply["tokens"], excerpts, len(reply["dropped"]), elapsed_ms)

    # -- Jobs

    def has_jobs(self, state: str) -> bool:
        return bool(self.call("GET", f"/v1/jobs?state={state}&limit=1")["items"])

    def wait_for_jobs(
        self, *, timeout_s: float, poll_s: float = 0.5, waiting: Callable[[], None] = lambda: None
    ) -> float:
        """Return after how many seconds no job was queued or running.

        Asks until two polls in a row find nothing, because one job may put the next. Raises TimeoutError past
        `timeout_s`.
        """
        started = time.monotonic()
        idle_polls = 0
        while True:
            idle_polls = 0 if self.has_jobs("queued") or self.has_jobs("running") else idle_polls + 1
            if idle_polls == 2:
                return time.monotonic() - started
            if time.monotonic() - started > timeout_s:
                raise TimeoutError(f"jobs were still queued or running after {timeout_s:.0f} s")
            waiting()
            time.sleep(poll_s)

    # -- The wire

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """One request; an ApiError for any answer that is not a success."""
        response = self._http.request(method, path, json=body)
        if response.is_success:
            return dict(response.json()) if response.content else {}
        raise _error(response)

    def _write(self, path: str, body: Json) -> Added:
        for attempt in range(1, WRITE_ATTEMPTS + 1):
            started = time.perf_counter()
            response = self._http.post(path, json=body)
            elapsed_ms = (time.perf_counter() - started) * 1000
            if response.is_success:
                reply = response.json()
                pairs = tuple((str(stored["id"]), stored.get("external_id")) for stored in reply["memories"])
                return Added(pairs, tuple(str(job) for job in reply["jobs"]), elapsed_ms)
            if response.status_code != httpx.codes.TOO_MANY_REQUESTS or attempt == WRITE_ATTEMPTS:
                raise _error(response)
            # Back-pressure is an answer and not a failure: wait as told, and count it for the report.
            self.retried_writes += 1
            time.sleep(float(response.headers.get("Retry-After", "1")))
        raise AssertionError("the loop above returns or raises")


def _hit(item: Json) -> Hit:
    return Hit(
        memory_id=str(item["memory_id"]),
        kind=item["kind"],
        content=item["content"],
        score=float(item["score"]),
        state=item["state"],
        sources=tuple(str(source) for source in item.get("sources") or ()),
        why=item.get("why"),
    )


def _error(response: httpx.Response) -> ApiError:
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    return ApiError(response.status_code, problem.get("code", "unknown"), problem.get("detail", response.text[:300]))
