"""The whole version machinery against a plain in-memory model, step by step, wherever Hypothesis takes it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from memos.errors import Conflict, MergeConflict
from memos.rules.access import Principal
from memos.rules.header import Kind
from memos.services import administer, branch, read, remember, revise
from memos.store import cubes
from memos.wiring import App

START = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = [f"the {thing} is {colour}" for thing in ("door", "boat", "coat") for colour in ("red", "blue")]
State = dict[UUID, tuple[str, str]]  # memory -> (text, live | archived)


@dataclass
class Line:
    """A branch in the model: its state after each of its revisions, and the revisions it descends from."""

    states: dict[int, State] = field(default_factory=dict)
    head: int = 0
    fork: int = 0

    @property
    def now(self) -> State:
        return self.at(self.head)

    def at(self, number: int) -> State:
        known = [n for n in self.states if n <= number]
        return self.states[max(known)] if known else {}


class History(RuleBasedStateMachine):
    """Each rule does the same to the service and to the model; the invariant compares every branch."""

    app: App
    owner: Principal
    numbers: Iterator[int]
    memories = Bundle("memories")

    @initialize()
    def begin(self) -> None:
        self.name = f"cube-{next(self.numbers)}"
        self.clock = START
        self.lines = {"main": Line(states={0: {}})}
        self.parents: dict[int, tuple[int, ...]] = {0: ()}
        self.where: dict[int, str] = {0: "main"}
        self.tags: dict[str, int] = {}
        with self.app.database.transaction(self.owner.tenant_id) as tx:
            administer.create_cube(tx, self.owner, name=self.name, description="", policy={}, now=START)

    # ------------------------------------------------------------ what can be done

    @rule(target=memories, on=st.integers(0, 3), text=st.sampled_from(TEXTS))
    def add(self, on: int, text: str) -> UUID:
        name = self._branch(on)
        item = remember.ItemIn(kind=Kind.FACT, content=text)
        prepared = remember.prepare_items(self.app.embedder, self.name, items=[item], branch=name, now=self._tick())
        with self.app.database.transaction(self.owner.tenant_id) as tx:
            written = remember.write(tx, self.owner, prepared, now=self.clock)
        [memory] = written.memories
        line = self.lines[name]
        if line.now.get(memory.id) == (text, "live"):
            assert written.revision == line.head
            assert memory.outcome == "repeated"
        else:
            self._record(name, written.revision, {**line.now, memory.id: (text, "live")})
        return memory.id

    @rule(on=st.integers(0, 3), memory=memories, text=st.sampled_from(TEXTS))
    def edit(self, on: int, memory: UUID, text: str) -> None:
        name = self._branch(on)
        line = self.lines[name]
        if memory not in line.now:
            return
        prepared = revise.prepare_change(
            self.app.database, self.app.embedder, self.owner, self.name, memory, {"content": text}, name
        )
        with self.app.database.transaction(self.owner.tenant_id) as tx:
            if line.now[memory][1] == "archived":
                before = line.head
                try:
                    revise.change(tx, self.owner, prepared, now=self._tick())
                except Conflict:
                    assert self._head(name) == before
                    return
            else:
                revise.change(tx, self.owner, prepared, now=self._tick())
        self._record(name, self._head(name), {**line.now, memory: (text, line.now[memory][1])})

    @rule(on=st.integers(0, 3), memory=memories)
    def archive(self, on: int, memory: UUID) -> None:
        name = self._branch(on)
        line = self.lines[name]
        if memory not in line.now or line.now[memory][1] == "archived":
            return
        with self.app.database.transaction(self.owner.tenant_id) as tx:
            revise.archive(tx, self.owner, self.name, memory, branch=name, now=self._tick())
        self._record(name, self._head(name), {**line.now, memory: (line.now[memory][0], "archived")})

    @rule(on=st.integers(0, 3), memory=memories, pick=st.integers(0, 9))
    def restore(self, on: int, memory: UUID, pick: int) -> None:
        name = self._branch(on)
        with self.app.database.transaction(self.owner.tenant_id) as tx:
            history = read.history(tx, self.owner, self.name, memory, limit=100, cursor=None).items
            earlier = [v for v in history if not v.removed]
            version = earlier[pick % len(earlier)]
            revise.restore(tx, self.owner, self.name, memory, version=version.version, branch=name, now=self._tick())
        assert version.content is not None
        self._record(name, self._head(name), {**self.lines[name].now, memory: (version.content, "live")})

    @precondition(lambda self: len(self.lines) < 4)
    @rule(on=st.integers(0, 3), back=st.integers(0, 5))
    def fork(self, on: int, back: int) -> None:
        base = self._branch(on)
        number = self._earlier(base, back)
        name = f"branch-{len(self.lines)}"
        with self.app.database.transaction(self.owner.tenant_id) as tx:
            made = branch.create_branch(tx, self.owner, self.name, name=name, from_=number, base=base, now=self._tick())
        assert made.fork_revision == number
        line = self.lines[base]
        states = {n: state for n, state in line.states.items() if n <= number}
        self.lines[name] = Line(states=states, head=number, fork=number)

    @rule(on=st.integers(0, 3), back=st.integers(0, 5))
    def rollback(self, on: int, back: int) -> None:
        name = self._branch(on)
        number = self._earlier(name, back)
        with self.app.database.transaction(self.owner.tenant_id) as tx:
            revision = branch.rollback(tx, self.owner, self.name, to=number, branch=name, now=self._tick())
        self._record(name, revision.revision, self.lines[name].at(number))

    @rule(a=st.integers(0, 3), b=st.integers(0, 3), strategy=st.sampled_from(["fail", "ours", "theirs"]))
    def merge(self, a: int, b: int, strategy: str) -> None:
        source, target = self._branch(a), self._branch(b)
        if source == target:
            return
        base = self._common(source, target)
        ours, theirs = self.lines[target].now, self.lines[source].now
        merged, conflicts = dict(ours), set()
        for memory in {*base, *ours, *theirs}:
            was, mine, new = base.get(memory), ours.get(memory), theirs.get(memory)
            if new in (mine, was):
                continue
            if mine != was:
                conflicts.add(memory)
                if strategy != "theirs":
                    continue
            if new is None:
                merged.pop(memory)
            else:
                merged[memory] = new
        with self.app.database.transaction(self.owner.tenant_id) as tx:
            dry = branch.merge(
                tx, self.owner, self.name, source=source, target=target, strategy=strategy, dry_run=True, now=self.clock
            )
        assert {c.memory_id for c in dry.conflicts} == conflicts
        before = self._head(target)
        try:
            with self.app.database.transaction(self.owner.tenant_id) as tx:
                done = branch.merge(
                    tx, self.owner, self.name, source=source, target=target, strategy=strategy, dry_run=False,
                    now=self._tick(),
                )  # fmt: skip
        except MergeConflict:
            assert strategy == "fail"
            assert conflicts
            assert self._head(target) == before
            return
        assert done.revision is not None
        self._record(target, done.revision, merged, merged_from=self.lines[source].head)

    @rule(on=st.integers(0, 3), back=st.integers(0, 5))
    def tag(self, on: int, back: int) -> None:
        number = self._earlier(self._branch(on), back)
        if number == 0:
            return
        name = f"tag-{len(self.tags)}"
        with self.app.database.transaction(self.owner.tenant_id) as tx:
            branch.create_tag(tx, self.owner, self.name, name=name, revision=number, now=self._tick())
        self.tags[name] = number

    @rule(on=st.integers(0, 3), back=st.integers(0, 8))
    def read_the_past(self, on: int, back: int) -> None:
        name = self._branch(on)
        number = self._earlier(name, back)
        assert self._read(name, number) == self.lines[name].at(number)

    @precondition(lambda self: self.tags)
    @rule(pick=st.integers(0, 9))
    def read_a_tag(self, pick: int) -> None:
        name = sorted(self.tags)[pick % len(self.tags)]
        number = self.tags[name]
        line = self.where[number]
        assert self._read(line, name) == self.lines[line].at(number)

    # ------------------------------------------------------------ what must hold

    @invariant()
    def every_branch_agrees(self) -> None:
        if not hasattr(self, "lines"):
            return
        for name, line in self.lines.items():
            assert self._head(name) == line.head
            assert self._read(name, None) == line.now, name

    # ------------------------------------------------------------ how the model keeps up

    def _branch(self, pick: int) -> str:
        return sorted(self.lines)[pick % len(self.lines)]

    def _tick(self) -> datetime:
        self.clock += timedelta(seconds=1)
        return self.clock

    def _earlier(self, name: str, back: int) -> int:
        known = sorted(n for n in self.lines[name].states)
        return known[max(0, len(known) - 1 - back)]

    def _record(self, name: str, number: int, state: State, merged_from: int | None = None) -> None:
        line = self.lines[name]
        self.parents[number] = tuple(n for n in (line.head, merged_from) if n)
        self.where[number] = name
        line.states[number], line.head = dict(state), number

    def _ancestry(self, number: int) -> set[int]:
        found, todo = set(), [number]
        while todo:
            current = todo.pop()
            if current and current not in found:
                found.add(current)
                todo += self.parents[current]
        return found

    def _common(self, source: str, target: str) -> State:
        shared = self._ancestry(self.lines[source].head) & self._ancestry(self.lines[target].head)
        if not shared:
            return {}
        number = max(shared)
        return self.lines[self.where[number]].at(number)

    def _head(self, name: str) -> int:
        with self.app.database.transaction(self.owner.tenant_id, read_only=True) as tx:
            return cubes.view(tx, self.name, name).branch.head_revision

    def _read(self, name: str, at: int | str | None) -> State:
        with self.app.database.transaction(self.owner.tenant_id, read_only=True) as tx:
            found = read.list_memories(
                tx, self.owner, self.name, kind=None, state=None, tag=None, session_id=None, branch=name, at=at,
                as_of=None, limit=200, cursor=None,
            )  # fmt: skip
        return {m.id: (m.content or "", "archived" if m.state == "archived" else "live") for m in found.items}


def test_history_agrees_with_a_plain_model(app: App, owner: Principal) -> None:
    History.app, History.owner, History.numbers = app, owner, itertools.count(1)
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
