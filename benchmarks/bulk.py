"""Filling cubes at volume, behind a port: through HTTP by default, by something faster when one is named.

A faster loader may write rows directly and derive vectors by perturbing real ones; it has to say so in its
`description`, which is printed with the figures. It is named as `package.module:factory`; the factory takes
the Service and the database URL (or None) and returns a BulkLoader.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, Protocol

from benchmarks.client import MemosClient
from benchmarks.corpus import Memory, edited
from benchmarks.report import Step
from benchmarks.server import Service


class BulkLoader(Protocol):
    """Puts memories of the synthetic corpus into an existing cube."""

    @property
    def description(self) -> str:
        """One sentence for the report: by which way rows and vectors come to be."""
        ...

    def load(self, cube_id: str, memories: Iterable[Memory], step: Step) -> None:
        """Store each memory as a turn with external id `m<number>`, in order; `step` counts memories."""
        ...

    def revise(self, cube_id: str, memories: Iterable[Memory], versions: int, step: Step) -> None:
        """Give each memory, stored before by `load`, `versions` further versions; `step` counts versions."""
        ...


class HttpBulkLoader:
    """The slow and honest way: every text passes through the API and is embedded by the service."""

    description = "through HTTP, every text and every edit embedded by the service"

    def __init__(self, client: MemosClient) -> None:
        self._client = client
        self._ids: dict[tuple[str, int], str] = {}

    def load(self, cube_id: str, memories: Iterable[Memory], step: Step) -> None:
        for session_id, grouped in groupby(memories, key=lambda memory: memory.session_id):
            session = list(grouped)
            added = self._client.add_messages(cube_id, session_id, [memory.message() for memory in session])
            for memory, (memory_id, _) in zip(session, added.memories, strict=True):
                self._ids[cube_id, memory.number] = memory_id
            step(len(session))

    def revise(self, cube_id: str, memories: Iterable[Memory], versions: int, step: Step) -> None:
        for memory in memories:
            memory_id = self._ids[cube_id, memory.number]
            for version in range(1, versions + 1):
                self._client.edit_memory(cube_id, memory_id, edited(memory, version))
                step()


def open_loader(spec: str, service: Service, client: MemosClient, database_url: str | None) -> BulkLoader:
    """`http`, or the loader that `package.module:factory` returns."""
    if spec == "http":
        return HttpBulkLoader(client)
    factory: Callable[[Service, str | None], BulkLoader] = named(spec)
    return factory(service, database_url)


def named(spec: str) -> Any:
    """The object that `package.module:name` names; ValueError when the form is another."""
    module, separator, name = spec.partition(":")
    if not separator:
        raise ValueError(f"expected package.module:name, not {spec!r}")
    return getattr(importlib.import_module(module), name)
