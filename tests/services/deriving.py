"""What tests of derived memories share: one cube, and the few things done to it again and again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from memos.rules.access import Principal
from memos.rules.header import Kind
from memos.services import branch, consolidate, extract, read, recall, remember
from memos.services.remember import ItemIn, MessageIn
from memos.services.views import MemoryView
from memos.store import cubes, memories
from memos.store.jobs import Job
from memos.store.transaction import Transaction
from memos.wiring import App
from tests.services.running import fact, head, make_cube, run, write

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Cube:
    """A fresh cube and its owner."""

    app: App
    who: Principal
    name: str
    id: UUID

    @classmethod
    def make(cls, app: App, who: Principal, policy: dict[str, Any] | None = None) -> Cube:
        name = f"derived-{next(_numbers)}"
        return cls(app, who, name, make_cube(app, who, name, START, policy))

    def with_settings(self, **settings: Any) -> Cube:
        """The same cube under other settings."""
        changed = replace(self.app, settings=self.app.settings.model_copy(update=settings))
        return replace(self, app=changed)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        with self.app.database.transaction(self.who.tenant_id, read_only=True) as tx:
            yield tx

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        with self.app.database.transaction(self.who.tenant_id) as tx:
            yield tx

    # ------------------------------------------------------------ writing

    def say(
        self, *texts: str, session: str = "s1", at: datetime = START, role: str = "user", name: str | None = None
    ) -> list[UUID]:
        """Turns of one speaker, a minute apart."""
        messages = [
            MessageIn(role, text, name=name, created_at=at + timedelta(minutes=place))
            for place, text in enumerate(texts)
        ]
        return self.talk(messages, session)

    def talk(self, messages: Sequence[MessageIn], session: str = "s1", branch: str = "main") -> list[UUID]:
        prepared = remember.prepare_messages(
            self.app.embedder, self.name, session_id=session, messages=messages, branch=branch, now=START
        )
        with self.writing() as tx:
            return [m.id for m in remember.write(tx, self.who, prepared, now=START).memories]

    def learn(self, *texts: str, at: datetime = START, **fields: Any) -> list[UUID]:
        """Facts written as such, one request each, a minute apart."""
        ids: list[UUID] = []
        for place, text in enumerate(texts):
            moment = at + timedelta(minutes=place)
            ids += self.put(fact(text, created_at=moment, **fields), now=moment)
        return ids

    def put(self, *items: ItemIn, now: datetime = START) -> list[UUID]:
        return write(self.app, self.who, self.name, items, now)

    # ------------------------------------------------------------ working

    def extract(self, branch: str = "main", *, again: bool = False) -> Job:
        with self.writing() as tx:
            job = extract.request(tx, self.who, self.name, branch=branch, again=again)
        return run(self.app, self.who, job.id)

    def consolidate(self) -> Job:
        with self.writing() as tx:
            job = consolidate.request(tx, self.who, self.name, branch="main")
        return run(self.app, self.who, job.id)

    def rollback(self, to: int) -> int:
        with self.writing() as tx:
            return branch.rollback(tx, self.who, self.name, to=to, branch="main", now=START).revision

    # ------------------------------------------------------------ looking

    @property
    def head(self) -> int:
        return head(self.app, self.who, self.name)

    def memories(self, kind: str | None = None, **asked: Any) -> list[MemoryView]:
        defaults: dict[str, Any] = {
            "state": None, "tag": None, "session_id": None, "branch": "main", "at": None, "as_of": None, "limit": 200,
            "cursor": None,
        }  # fmt: skip
        with self.reading() as tx:
            return read.list_memories(tx, self.who, self.name, kind=kind, **(defaults | asked)).items

    def facts(self, **asked: Any) -> dict[str, MemoryView]:
        """By text."""
        return {m.content or "": m for m in self.memories(Kind.FACT, **asked)}

    def current(self) -> set[str]:
        """The texts of the facts that hold now."""
        return {
            text for text, m in self.facts().items() if m.valid_to is None and m.state in ("generated", "activated")
        }

    def get(self, memory_id: UUID, at: int | None = None) -> MemoryView:
        with self.reading() as tx:
            return read.get_memory(tx, self.who, self.name, memory_id, branch="main", at=at)

    def sources(self, memory_id: UUID) -> set[UUID]:
        with self.reading() as tx:
            found = read.provenance(tx, self.who, self.name, memory_id, branch="main", at=None)
        return {link.memory_id for link in found.sources}

    def search(self, query: str, **asked: Any) -> list[str]:
        wanted: dict[str, Any] = {"now": START + 365 * DAY, "granularity": "fact"} | asked
        answer = recall.search_cubes(
            self.app.recall, self.who, [self.name], recall.SearchQuery(query, **wanted), clock=START
        )
        return [hit.content for hit in answer.items]

    def state(self, at: int | None = None) -> dict[UUID, bytes]:
        """What every memory says, as fingerprints."""
        with self.reading() as tx:
            return {
                m: row.fingerprint for m, row in memories.state_at(tx, cubes.view(tx, self.name, "main", at)).items()
            }
